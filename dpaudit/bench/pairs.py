"""What Logit-DP's clipped sum costs: norms from the embeddings' derivatives beside gradients of all n^2 pairs.

All steps of a batch take turns in one process; ratios within a round, then their median over rounds.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Literal, cast

import torch
from torch.func import functional_call, grad, vmap

from dpaudit.bench.engine_steps import largest_error
from dpaudit.dp.clipping import clip_factors
from dpaudit.dp.pairs import Towers, clipped_pair_sum, norms_by_jacobians, norms_by_pairs
from dpaudit.dp.tensors import trainable
from dpaudit.environment import environment
from dpaudit.errors import InputError
from dpaudit.models.initialisation import seeded
from dpaudit.models.pair_losses import InfoNCE
from dpaudit.models.pair_towers import PairTowers, small_convolutions
from dpaudit.progress import Silent
from dpaudit.results import Value
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from dpaudit.dp.tensors import Batch, Gradients
    from dpaudit.progress import Progress

__all__ = ["PairsBench", "PairsStep", "bench_pairs"]

_CLIP, _CHUNK = 0.3, 256
_LOSS = InfoNCE(temperature=1.0)
_ORDINARY, _OURS, _ONE_BY_ONE, _GRADIENTS = "ordinary", "dpaudit", "pairs, book-kept", "pair gradients"


class PairsStep(Value):
    """One way to the sum. ratio: times the ordinary step; ours_faster: how many times as long as ours it takes.

    error: largest error beside the sum of pair gradients, over its largest entry; None for the ordinary step.
    """

    name: str
    seconds: float
    ratio: float
    ours_faster: float
    error: float | None


class PairsBench(Value):
    """All ways, on one batch of `pairs` images of 32 pixels through the published network."""

    schema_version: Literal[1] = 1
    pairs: int
    embedding: int
    shared: bool
    rounds: int
    threads: int
    machine: dict[str, str]
    steps: tuple[PairsStep, ...]


def bench_pairs(
    pairs: int = 64,
    *,
    embedding: int = 8,
    shared: bool = True,
    rounds: int = 5,
    progress: Progress | None = None,
) -> PairsBench:
    """Measure one batch of the network of 8, 16 and 32 channels; the towers are one, or one for each side."""
    for name, value in (("pairs", pairs), ("embedding", embedding), ("rounds", rounds)):
        if value < 1:
            raise InputError(name, value, "at least 1")
    steps = _steps(pairs, embedding, shared=shared)
    found = {name: step() for name, step in steps.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    with (progress or Silent()).task(f"{pairs} pairs", rounds) as task:
        for index in range(rounds):
            for name in list(steps) if index % 2 == 0 else list(reversed(steps)):
                begun = time.perf_counter()
                steps[name]()
                times[name].append(time.perf_counter() - begun)
            task.advance(index + 1)
    expected = found[_GRADIENTS]
    return PairsBench(
        pairs=pairs,
        embedding=embedding,
        shared=shared,
        rounds=rounds,
        threads=torch.get_num_threads(),
        machine=environment(),
        steps=tuple(
            PairsStep(
                name=name,
                seconds=statistics.median(times[name]),
                ratio=_median_ratio(times[name], times[_ORDINARY]),
                ours_faster=_median_ratio(times[name], times[_OURS]),
                error=None if name == _ORDINARY else largest_error(found[name], expected),
            )
            for name in steps
        ),
    )


def _steps(pairs: int, embedding: int, *, shared: bool) -> dict[str, Callable[[], Gradients]]:
    with seeded(Rng.from_seed(0)):
        model = PairTowers(lambda: small_convolutions(embedding=embedding), shared=shared)
        batch = {name: torch.randn(pairs, 3, 32, 32) for name in ("first", "second")}

    def clipped(norms: Callable[[nn.Module, Towers, Batch], Tensor] | None, clip: float) -> Callable[[], Gradients]:
        towers = Towers(firsts=_firsts, seconds=_seconds, norms=norms)
        return lambda: clipped_pair_sum(model, towers, batch, _LOSS.slopes, clip).gradients

    return {
        _ORDINARY: clipped(None, float("inf")),
        _OURS: clipped(norms_by_jacobians, _CLIP),
        _ONE_BY_ONE: clipped(norms_by_pairs, _CLIP),
        _GRADIENTS: lambda: _from_gradients(model, batch),
    }


def _from_gradients(model: PairTowers, batch: Batch) -> Gradients:
    """Return the sum from the gradients of all pairs, a few hundred in memory at a time, as the public code does."""
    parameters = {name: each.detach() for name, each in trainable(model).items()}
    n = len(batch["first"])
    with torch.no_grad():
        slopes = _LOSS.slopes((_firsts(model, batch) @ _seconds(model, batch).t()).clamp(-1, 1)).reshape(-1)

    def similarity(parameters: Gradients, first: Tensor, second: Tensor) -> Tensor:
        u = functional_call(model, parameters, (first[None],))
        v = functional_call(
            _Seconds(model), {f"towers.{name}": each for name, each in parameters.items()}, (second[None],)
        )
        similar: Tensor = (u * v).sum()
        return similar

    total = {name: torch.zeros_like(each) for name, each in parameters.items()}
    for part in torch.split(torch.arange(n * n), _CHUNK):
        sides = batch["first"][part // n], batch["second"][part % n]
        gradients = vmap(grad(similarity), in_dims=(None, 0, 0))(parameters, *sides)
        flat = [each.flatten(1) for each in gradients.values()]
        norms = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(each, dim=1) for each in flat]), dim=0)
        weights = slopes[part] * clip_factors(norms, _CLIP)
        for name, each in zip(gradients, flat, strict=True):
            total[name] += (weights @ each).reshape(total[name].shape)
    return total


class _Seconds(torch.nn.Module):
    """The side of the second images, as a module whose parameters can be passed in."""

    def __init__(self, towers: PairTowers) -> None:
        super().__init__()
        self.towers = towers

    def forward(self, images: Tensor) -> Tensor:
        """Return unit vectors, (n, e)."""
        return self.towers.seconds(images)


def _firsts(model: nn.Module, batch: Batch) -> Tensor:
    vectors: Tensor = model(batch["first"])
    return vectors


def _seconds(model: nn.Module, batch: Batch) -> Tensor:
    return cast("PairTowers", model).seconds(batch["second"])


def _median_ratio(these: list[float], those: list[float]) -> float:
    return statistics.median(this / that for this, that in zip(these, those, strict=True))
