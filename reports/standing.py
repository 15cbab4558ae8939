"""What a bound may be used for: whether it decides, stands beside, or must not be taken for a certificate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dpaudit.results import Bound

__all__ = ["STANDINGS", "Standing", "by_standing", "standing"]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A group of bounds that mean the same to a reader. `short` fits a line of a terminal."""

    short: str
    title: str
    meaning: str

    @property
    def decides(self) -> bool:
        """Return whether bounds of this group can make the verdict VIOLATED."""
        return self is DECIDES


DECIDES = Standing(
    short="decides",
    title="Deciding",
    meaning="Certified, and listed in the recipe before any answer was opened. Only these can make the verdict "
    "VIOLATED.",
)
BESIDE = Standing(
    short="beside",
    title="Certified, beside the verdict",
    meaning="Each is valid on its own, but none was listed to decide. The largest of several does not hold at its "
    "stated confidence.",
)
EXPLORATORY = Standing(
    short="exploratory",
    title="Exploratory",
    meaning="Chosen or computed after answers were opened, which the stated confidence does not pay for. Never "
    "decides.",
)
INDEPENDENCE = Standing(
    short="conditional",
    title="Not certified: holds only under independence",
    meaning="Valid only if canaries do not influence one another's scores. Nothing in this audit establishes that.",
)
ESTIMATE = Standing(
    short="estimate",
    title="Not certified: estimates",
    meaning="A best guess at ε, which may be too high. No confidence goes with it.",
)
STANDINGS = (DECIDES, BESIDE, EXPLORATORY, INDEPENDENCE, ESTIMATE)


def standing(bound: Bound) -> Standing:
    """Return the group of a bound. What is not certified never decides, whatever else is said of it."""
    if bound.guarantee == "estimate":
        return ESTIMATE
    if bound.guarantee == "under_independence":
        return INDEPENDENCE
    if bound.exploratory:
        return EXPLORATORY
    return DECIDES if bound.decides else BESIDE


def by_standing(bounds: Iterable[Bound]) -> list[Bound]:
    """Return the bounds, deciding ones first; within a group the largest epsilon first."""
    return sorted(bounds, key=lambda bound: (STANDINGS.index(standing(bound)), -bound.epsilon))
