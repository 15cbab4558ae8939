"""What an audit is to refute, and by which tests: the question that a plan answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from dpaudit.pipeline.hypotheses import hypothesis_of
from dpaudit.planner import ENOUGH_POWER

if TYPE_CHECKING:
    from dpaudit.results import Hypothesis, Promise

__all__ = ["Aim"]


@dataclass(frozen=True, kw_only=True)
class Aim:
    """What an audit is to refute, and the tests that it may choose from.

    confidence: 1 - the share of alpha of this aim. hypothesis: the one whose bound counts, or `promise`. sharing: how
    many canaries share a coordinate.
    """

    promise: Promise
    attack: str
    confidence: float = 0.95
    methods: tuple[str, ...] = ("one-run-joint",)
    hypothesis: str = "promise"
    enough_power: float = ENOUGH_POWER
    sharing: int = 1

    @property
    def tested(self) -> Hypothesis:
        """Return the hypothesis whose bound counts."""
        return cast("Hypothesis", hypothesis_of(self.promise, self.hypothesis))
