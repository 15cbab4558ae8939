"""How far a linear encoder is from the truth, and how that distance falls with epsilon, pairs and steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.special import stdtrit

from dpaudit.accounting.calibrate import calibrate_noise
from dpaudit.data.spiked import Spiked, loadings
from dpaudit.errors import InputError
from dpaudit.mechanism import Mechanism
from dpaudit.models.linear_contrast import linear_gradients, sin_theta
from dpaudit.results import Interval, Measurement, ProbeResult

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dpaudit.plugins import FeatureSource, ProbeData
    from dpaudit.rng import Rng

__all__ = ["SinTheta"]


@dataclass(frozen=True, kw_only=True)
class SinTheta:
    """Sine of the largest angle between a linear encoder's row space and the truth of `spiked`; 0 is best, 1 worst.

    The run's own models come first. Then DP-CLIP's algorithm with linear encoders is run anew for each epsilon,
    each number of pairs and each number of steps, the other two as `epsilon`, `pairs` and `steps` say: `repeats` times
    on fresh data of the same law, so the records of the run are not spent again. clip_norm: of the gradient of a
    batch's mean loss; noise is calibrated to twice that. Interval: Student's, over repeats; the run's own models have
    none. epsilon infinity: no clip and no noise.

    >>> SinTheta(epsilons=(1.0, 8.0), sizes=(), lengths=()).cells()
    [(1.0, 10000, 200), (8.0, 10000, 200)]
    """

    epsilons: tuple[float, ...] = (1.0, 4.0, 8.0, 32.0, math.inf)
    sizes: tuple[int, ...] = (2_000, 50_000)
    lengths: tuple[int, ...] = (50, 800)
    epsilon: float = 8.0
    pairs: int = 10_000
    steps: int = 200
    delta: float = 1e-5
    batch_size: int = 64
    clip_norm: float = 1.0
    step_size: float = 0.01
    penalty: float = 1.0
    repeats: int = 5
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not all(epsilon > 0 for epsilon in (self.epsilon, *self.epsilons)):
            raise InputError("epsilons", self.epsilons, "positive numbers")
        if not all(size >= self.batch_size > 1 for size in (self.pairs, *self.sizes)):
            raise InputError("sizes", self.sizes, f"pairs, at least batch_size = {self.batch_size}, itself 2 or more")
        if not all(length > 0 for length in (self.steps, *self.lengths)):
            raise InputError("lengths", self.lengths, "positive numbers of steps")
        if self.repeats < 2:
            raise InputError("repeats", self.repeats, "at least 2: an interval needs them")
        for name in ("clip_norm", "step_size", "penalty"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(name, getattr(self, name), "a positive number")

    @property
    def reads_truth(self) -> bool:
        """Return that it needs the data set `spiked`, and no labels."""
        return True

    def cells(self) -> list[tuple[float, int, int]]:
        """Return (epsilon, pairs, steps) of every point of the three curves, each once."""
        curves = [(epsilon, self.pairs, self.steps) for epsilon in self.epsilons]
        curves += [(self.epsilon, size, self.steps) for size in self.sizes]
        curves += [(self.epsilon, self.pairs, length) for length in self.lengths]
        return list(dict.fromkeys(curves))

    def measure(self, features: FeatureSource, data: ProbeData, rng: Rng) -> ProbeResult:
        """Return the error of every linear encoder of the run, then the curves."""
        source = data.source
        if not isinstance(source, Spiked):
            raise InputError("probe data", type(source).__name__, "the data set spiked")
        rows = [Measurement(features=name, score=_exactly(error)) for name, error in _own(features, source)]
        rows += [self._point(source, cell, rng.child("curve", at)) for at, cell in enumerate(self.cells())]
        return ProbeResult(
            probe="sin-theta",
            run="",
            metric="sin theta",
            measurements=tuple(rows),
            train_size=0,
            test_size=0,
            detail={"repeats": self.repeats, "batch size of the curves": self.batch_size},
        )

    def _point(self, source: Spiked, cell: tuple[float, int, int], rng: Rng) -> Measurement:
        epsilon, pairs, steps = cell
        noise = self._noise(epsilon, pairs, steps)
        errors = np.array([self._error(source, cell, noise, rng.child(at)) for at in range(self.repeats)])
        deviations = float(stdtrit(self.repeats - 1, (1 + self.confidence) / 2))
        half, mean = deviations * float(errors.std(ddof=1)) / math.sqrt(self.repeats), float(errors.mean())
        score = Interval(value=mean, low=max(0.0, mean - half), high=min(1.0, mean + half), confidence=self.confidence)
        said = "infinity" if math.isinf(epsilon) else f"{epsilon:g}"
        return Measurement(features=f"epsilon {said}, {pairs:,} pairs, {steps:,} steps", score=score)

    def _noise(self, epsilon: float, pairs: int, steps: int) -> float:
        """Return the standard deviation on each coordinate: the calibrated multiplier times 2C."""
        if math.isinf(epsilon):
            return 0.0
        mechanism = Mechanism(
            sampling="poisson",
            adjacency="add-remove",
            noise_multiplier=1.0,
            sampling_rate=self.batch_size / pairs,
            steps=steps,
            clip_norm=self.clip_norm,
            batch_size=self.batch_size,
            dataset_size=pairs,
        )
        return calibrate_noise(epsilon, self.delta, mechanism) * 2 * self.clip_norm

    def _error(self, source: Spiked, cell: tuple[float, int, int], noise: float, rng: Rng) -> float:
        """Return the error of one run of the algorithm on fresh pairs."""
        epsilon, pairs, steps = cell
        draws, d, r = rng.numpy(), source.dimensions, source.rank
        truths = [loadings(rng.child(name), d, r) for name in ("image", "text")]
        shared = math.sqrt(source.signal) * draws.normal(size=(pairs, r))
        x, y = (torch.from_numpy(shared @ truth.T + draws.normal(size=(pairs, d))) for truth in truths)
        image, text = (torch.from_numpy(draws.normal(size=(r, d)) / math.sqrt(d)) for _ in range(2))
        for _ in range(steps):
            rows = torch.from_numpy(np.flatnonzero(draws.random(pairs) < self.batch_size / pairs))
            found = [torch.zeros_like(image), torch.zeros_like(text)]
            if len(rows) > 1:
                found = list(linear_gradients(image, text, x[rows], y[rows], self.penalty))
            norm = math.sqrt(sum(float(part.square().sum()) for part in found))
            factor = 1.0 if math.isinf(epsilon) or norm == 0 else min(1.0, self.clip_norm / norm)
            noisy = [factor * part + noise * torch.from_numpy(draws.normal(size=(r, d))) for part in found]
            image, text = image - self.step_size * noisy[0], text - self.step_size * noisy[1]
        return sin_theta(image.numpy(), truths[0])


def _own(features: FeatureSource, source: Spiked) -> Iterator[tuple[str, float]]:
    """Yield the error of each encoder of the run: what it does to the axes is its matrix, times a constant."""
    axes = source.axes()
    for name, extract in features.items():
        at = extract(axes).astype(np.float64)
        if at.shape[1] == source.rank:
            yield name, sin_theta((at[1:] - at[0]).T, source.truth)


def _exactly(value: float) -> Interval:
    return Interval(value=value, low=value, high=value, confidence=1.0)
