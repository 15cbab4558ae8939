"""Every bound on noise and on known mechanisms: how often it is wrong, how tight it is, how long it takes.

An audit is wrong if its bound exceeds the true epsilon: on noise, if it claims any leak at all; on a mechanism, if it
refutes the mechanism's own curve. A claim of 95 % holds if no cell of its row is wrong more often than a chance of 5 %
excuses.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

import numpy as np

from dpaudit.bench.assuming import under_independence
from dpaudit.bench.certified import certified
from dpaudit.bench.contender import CANARIES, CONFIDENCE, DELTA, Claim
from dpaudit.bench.estimates import estimates
from dpaudit.bench.known import COUNTER_EXAMPLE, KNOWN, NOISE
from dpaudit.bench.uncorrected import uncorrected
from dpaudit.bench.wrong import Wrong
from dpaudit.errors import InputError
from dpaudit.progress import Silent
from dpaudit.results import Hypothesis, Value
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpaudit.bench.contender import Contender, Runs
    from dpaudit.bench.known import Known
    from dpaudit.progress import Progress

__all__ = ["AUDITS", "BoundsBench", "Row", "bench_bounds", "contenders", "measure", "measure_all"]

AUDITS = 100
_TIGHT = 200  # audits at most from which a median is taken


class Row(Value):
    """One bound with one strategy.

    trials: what the bound was given. noise: claims of a leak where there is none. coverage: mechanism -> audits whose
    bound exceeded its true epsilon, for the mechanisms inside the hypothesis. epsilon: the median bound on the
    mechanism `ideal`; tightness: the share of the true epsilon that this is; milliseconds: the median time of a bound.
    holds: whether every cell that is claimed to hold does; None where nothing is claimed. fails: the cells that do not.
    """

    method: str
    hypothesis: Hypothesis
    strategy: str
    claim: Claim
    trials: Literal["independent runs", "canaries of one run"]
    runs: int
    noise: Wrong
    coverage: dict[str, Wrong]
    ideal: str
    epsilon: float
    tightness: float
    milliseconds: float
    holds: bool | None
    fails: tuple[str, ...]


class BoundsBench(Value):
    """The table of `dpaudit bench bounds`, and the audits that it rests on."""

    schema_version: Literal[1] = 1
    audits: int
    seed: int
    canaries: int
    delta: float
    confidence: float
    rows: tuple[Row, ...]

    @property
    def broken(self) -> tuple[Row, ...]:
        """Return the certified bounds that do not hold."""
        return tuple(row for row in self.rows if row.claim == "certified" and row.holds is False)


def bench_bounds(audits: int = AUDITS, *, seed: int = 0, progress: Progress | None = None) -> BoundsBench:
    """Measure every bound with every strategy, and the uncorrected practice beside them.

    audits: simulated audits of each cell; slow bounds get fewer, and each cell says how many. The default takes about a
    minute.
    """
    return measure_all("bounds", contenders(), audits, seed=seed, progress=progress)


def contenders() -> tuple[Contender, ...]:
    """Return every bound of `dpaudit.bounds.methods` with its strategies, then the uncorrected practice.

    >>> from dpaudit.bounds.methods import METHODS
    >>> set(METHODS) - {contender.method for contender in contenders()}
    set()
    """
    return (*certified(), *under_independence(), *estimates(), *uncorrected())


def measure_all(
    title: str, candidates: Sequence[Contender], audits: int, *, seed: int = 0, progress: Progress | None = None
) -> BoundsBench:
    """Return one row for each candidate, in order."""
    if audits < 1:
        raise InputError("audits", audits, "at least 1")
    rows = []
    with (progress or Silent()).task(title, len(candidates)) as task:
        for done, candidate in enumerate(candidates):
            task.advance(done, f"{candidate.method}, {candidate.family.hypothesis}, {candidate.strategy}")
            rows.append(measure(candidate, audits, Rng.from_seed(seed)))
        task.advance(len(candidates))
    return BoundsBench(
        audits=audits, seed=seed, canaries=CANARIES, delta=DELTA, confidence=CONFIDENCE, rows=tuple(rows)
    )


def measure(candidate: Contender, audits: int, rng: Rng) -> Row:
    """Return the row of one bound.

    >>> row = measure(contenders()[0], 20, Rng.from_seed(0))
    >>> row.method, row.holds, row.noise.audits, sorted(row.coverage)[:2]
    ('one-run', True, 20, ['counter-example', 'gaussian'])
    """
    family, fewer = candidate.family, max(1, audits // candidate.slow)
    truth = {
        known: parameter
        for known in (NOISE, *KNOWN)
        if (parameter := known.parameter(family.hypothesis, family.delta)) is not None
    }
    noise = _wrong(candidate, NOISE, truth.pop(NOISE), audits if candidate.claim == "certified" else fewer, rng)
    coverage = {known.name: _wrong(candidate, known, parameter, fewer, rng) for known, parameter in truth.items()}
    fails = tuple(name for name, cell in {NOISE.name: noise, **coverage}.items() if not cell.excused)
    ideal = next(iter(truth))
    epsilon, milliseconds = _bounds_on(ideal, candidate, min(max(1, fewer // 4), _TIGHT), rng)
    return Row(
        method=candidate.method,
        hypothesis=family.hypothesis,
        strategy=candidate.strategy,
        claim=candidate.claim,
        trials=candidate.trials,
        runs=candidate.runs,
        noise=noise,
        coverage=coverage,
        ideal=ideal.name,
        epsilon=epsilon,
        tightness=epsilon / family.epsilon(truth[ideal]),
        milliseconds=milliseconds,
        holds=_holds(candidate.claim, fails),
        fails=fails,
    )


def _holds(claim: Claim, fails: tuple[str, ...]) -> bool | None:
    """Return whether the claim holds; one under independence says nothing about canaries that interact."""
    if claim == "estimate":
        return None
    if claim == "under_independence":
        return not set(fails) - {COUNTER_EXAMPLE.name}
    return not fails


def _wrong(candidate: Contender, known: Known, parameter: float, audits: int, rng: Rng) -> Wrong:
    stream = _stream(rng, "wrong", candidate, known)
    wrong = sum(candidate.exceeds(_audit(candidate, known, stream), parameter) for _ in range(audits))
    return Wrong.of(wrong, audits)


def _bounds_on(ideal: Known, candidate: Contender, audits: int, rng: Rng) -> tuple[float, float]:
    """Return the median bound and the median milliseconds that one takes."""
    stream = _stream(rng, "tight", candidate, ideal)
    bounds, seconds = [], []
    for _ in range(audits):
        runs = _audit(candidate, ideal, stream)
        begun = time.perf_counter()
        bounds.append(candidate.epsilon(candidate.family, runs))
        seconds.append(time.perf_counter() - begun)
    return float(np.median(bounds)), 1000 * float(np.median(seconds))


def _stream(rng: Rng, purpose: str, candidate: Contender, known: Known) -> np.random.Generator:
    """Open the stream of one cell, so that no cell depends on which others are measured."""
    names = (candidate.method, candidate.family.hypothesis, candidate.strategy, candidate.claim)
    return rng.child(purpose, *names, known.name).numpy()


def _audit(candidate: Contender, known: Known, stream: np.random.Generator) -> Runs:
    if candidate.trials == "independent runs":
        return [known.independent_runs(stream, CANARIES)]
    return [known.one_run(stream, CANARIES) for _ in range(candidate.runs)]
