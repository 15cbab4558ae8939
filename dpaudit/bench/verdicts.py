"""Whole verdicts on noise: many attacks and several deciding bounds share alpha, and rarely does one of them accuse.

The promise is epsilon = 0, the only one that noise just keeps: any greater one is harder to refute by chance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from dpaudit.bench.contender import CANARIES, CONFIDENCE, DELTA
from dpaudit.bench.known import NOISE
from dpaudit.bench.wrong import Wrong
from dpaudit.bounds.strategies import FixedGuesses
from dpaudit.errors import InputError
from dpaudit.mechanism import Mechanism
from dpaudit.pipeline.hypotheses import bound_runs, planned_test
from dpaudit.progress import Silent
from dpaudit.results import Promise, Value
from dpaudit.rng import Rng
from dpaudit.scores import LabelledScores
from dpaudit.verdict import decide

if TYPE_CHECKING:
    import numpy as np

    from dpaudit.bounds.max_p import PlannedTest
    from dpaudit.progress import Progress

__all__ = ["ATTACKS", "VerdictsOnNoise", "bench_verdicts"]

ATTACKS = 10
#: the bounds that decide for every attack: method, hypothesis, guesses in and out
_DECIDING = (("one-run", "any", 75), ("one-run-fdp", "any", 50), ("one-run-fdp", "gaussian", 250))
_PROMISE = Promise(
    kind="claim",
    epsilon=0.0,
    delta=DELTA,
    mechanism=Mechanism(
        sampling="full",
        adjacency="add-remove",
        noise_multiplier=1.0,
        sampling_rate=1.0,
        steps=1,
        clip_norm=1.0,
        batch_size=CANARIES,
        dataset_size=CANARIES,
    ),
)


class VerdictsOnNoise(Value):
    """How many audits of pure noise ended VIOLATED. level: of each of the attacks x bounds tests that decide."""

    schema_version: Literal[1] = 1
    attacks: int
    bounds: int
    level: float
    seed: int
    violated: Wrong

    @property
    def holds(self) -> bool:
        """Return whether false verdicts are as rare as promised: at most 5 % but for bad luck."""
        return self.violated.excused


def bench_verdicts(
    audits: int, *, level: float | None = None, seed: int = 0, progress: Progress | None = None
) -> VerdictsOnNoise:
    """Return how often ten attacks with three deciding bounds each accuse noise.

    level: of each test; by default alpha shared out equally, as a recipe does.

    >>> bench_verdicts(2).bounds
    3
    """
    if audits < 1:
        raise InputError("audits", audits, "at least 1")
    level = (1 - CONFIDENCE) / (ATTACKS * len(_DECIDING)) if level is None else level
    tests = [
        (method, planned_test(_PROMISE, method, hypothesis, 1 - level), FixedGuesses(guesses_in=side, guesses_out=side))
        for method, hypothesis, side in _DECIDING
    ]
    stream = Rng.from_seed(seed).child("verdicts").numpy()
    violated = 0
    with (progress or Silent()).task("verdicts on noise", audits) as task:
        for done in range(audits):
            violated += _is_violated(tests, stream)
            task.advance(done + 1)
    return VerdictsOnNoise(
        attacks=ATTACKS, bounds=len(_DECIDING), level=level, seed=seed, violated=Wrong.of(violated, audits)
    )


def _is_violated(tests: list[tuple[str, PlannedTest[Any], FixedGuesses]], stream: np.random.Generator) -> bool:
    """Audit noise once: the coins are tossed once, and every attack has scores of its own."""
    run = NOISE.one_run(stream, CANARIES)
    bounds = []
    for attack in range(ATTACKS):
        scores = NOISE.scores(stream, run.member, 1)
        labelled = LabelledScores(scores=scores, member=run.member)
        for method, planned, chosen in tests:
            bound = bound_runs(planned, method, [labelled], chosen)
            bounds.append(bound.model_copy(update={"attack": f"attack {attack}", "decides": True}))
    return decide(_PROMISE, bounds, (), (), 0.8).word == "VIOLATED"
