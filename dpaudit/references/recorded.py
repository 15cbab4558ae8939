"""Experiments as attacks see them: models of which only scores are left, one of them in the target's place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from dpaudit.calibration import draw_key
from dpaudit.data.examples import Examples
from dpaudit.errors import DpauditError, InputError
from dpaudit.plugins import AttackView, Candidates
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.plugins import Target
    from dpaudit.references.experiments import Experiments

__all__ = ["SIGNAL", "recorded_view"]

#: what the scores of experiments are
SIGNAL = "logit"


def recorded_view(experiments: Experiments, target: int) -> AttackView:
    """Return the view of an attack on one experiment, all others being its references; whom it holds is not in it."""
    models, _, count = experiments.scores.shape
    if not 0 <= target < models:
        raise InputError("--target", target, f"the number of an experiment, 0 to {models - 1}")
    ids = np.array([f"record/{row}" for row in range(count)])
    nothing = Examples(ids=ids, images=np.zeros((count, 3, 1, 1), np.uint8), labels=np.zeros(count, np.int64))
    others = [index for index in range(models) if index != target]
    return AttackView(
        target=_recorded(experiments.scores[target]),
        candidates=Candidates(family="pool", ids=ids, examples=nothing),
        population=nothing.take(slice(0, 0)),
        rng=Rng.from_seed(0),
        references=tuple((_recorded(experiments.scores[index]), experiments.keep[index]) for index in others),
    )


def _recorded(scores: NDArray[np.float64]) -> Target:
    return cast("Target", _Recorded(scores=scores))


@dataclass(frozen=True, repr=False)
class _Recorded:
    """Says the draws of one signal, (draws, n)."""

    scores: NDArray[np.float64]

    def signal(self, name: str, examples: Examples, rng: Rng) -> NDArray[np.float64]:
        """Return the draw that has this key, (n,)."""
        keys = [draw_key(SIGNAL, draw) for draw in range(len(self.scores))]
        if name != SIGNAL or rng not in keys or len(examples) != self.scores.shape[1]:
            raise InputError("signal", name, f"{SIGNAL} in at most {len(keys)} draws: nothing else was recorded")
        return np.asarray(self.scores[keys.index(rng)])

    def __getattr__(self, name: str) -> object:
        raise DpauditError(f"of experiments only scores are left: they cannot say {name}")
