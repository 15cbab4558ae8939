"""Small models trained as one beside one after the other: how many times as fast, and how far the weights differ."""

from __future__ import annotations

import platform
import statistics
import time
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from dpaudit.dp.objective import Objective
from dpaudit.errors import InputError
from dpaudit.progress import Silent
from dpaudit.references.stack import plain_sums
from dpaudit.results import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from dpaudit.dp.tensors import Batch
    from dpaudit.progress import Progress

__all__ = ["StackedBench", "StackedRow", "bench_stacked"]

_RATE = 0.1
_SHAPE = (64, 32, 10)  # inputs, hidden units, classes


class StackedRow(Value):
    """K models. faster: the loop's time over the stack's, the median over rounds; low, high: of the rounds."""

    models: int
    faster: float
    low: float
    high: float
    loop_milliseconds: float
    difference: float


class StackedBench(Value):
    """All rows: a perceptron 64-32-10, `batch` records per model and step, plain SGD."""

    schema_version: Literal[1] = 1
    batch: int
    steps: int
    rounds: int
    machine: dict[str, str]
    rows: tuple[StackedRow, ...]


def bench_stacked(
    models: Sequence[int] = (8, 32, 128),
    *,
    batch: int = 16,
    steps: int = 20,
    rounds: int = 9,
    progress: Progress | None = None,
) -> StackedBench:
    """Return what stacking gains, in turns within one process; both are given their batches as one tensor.

    The loop is plain torch (zero_grad, backward, step), without anything of ours that would slow it down.
    """
    if min(models, default=0) < 1 or min(batch, steps, rounds) < 1:
        raise InputError("models, batch, steps, rounds", (tuple(models), batch, steps, rounds), "at least 1 each")
    rows = []
    with (progress or Silent()).task("train small models", len(models)) as task:
        for done, count in enumerate(models):
            rows.append(_row(count, batch, steps, rounds))
            task.advance(done + 1, f"{count} models")
    machine = {"torch": torch.__version__, "threads": str(torch.get_num_threads()), "machine": platform.platform()}
    return StackedBench(batch=batch, steps=steps, rounds=rounds, machine=machine, rows=tuple(rows))


def _row(count: int, batch: int, steps: int, rounds: int) -> StackedRow:
    data = _data(count, batch)
    pairs = [_round(count, data, steps) for _ in range(rounds + 1)][1:]  # the first one warms up
    ratios = [loop / stack for loop, stack, _ in pairs]
    return StackedRow(
        models=count,
        faster=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
        loop_milliseconds=1000 * statistics.median(loop for loop, _, _ in pairs) / steps,
        difference=max(difference for _, _, difference in pairs),
    )


def _round(count: int, data: Batch, steps: int) -> tuple[float, float, float]:
    """Return the seconds of the loop and of the stack, and the largest difference of a weight."""
    alone, stacked = _models(count), _models(count)
    begun = time.perf_counter()
    _loop(alone, data, steps)
    between = time.perf_counter()
    found = _stack(stacked, data, steps)
    ended = time.perf_counter()
    expected = [{name: own.detach() for name, own in model.named_parameters()} for model in alone]
    difference = max(
        float((found[name][index] - own).abs().max())
        for index, each in enumerate(expected)
        for name, own in each.items()
    )
    return between - begun, ended - between, difference


def _models(count: int) -> list[nn.Module]:
    inputs, hidden, classes = _SHAPE
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return [nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, classes)) for _ in range(count)]


def _data(count: int, batch: int) -> Batch:
    generator = torch.Generator().manual_seed(1)
    return {
        "x": torch.randn((count, batch, _SHAPE[0]), generator=generator),
        "y": torch.randint(_SHAPE[2], (count, batch), generator=generator),
    }


def _losses(model: nn.Module, batch: Batch) -> Tensor:
    return cross_entropy(model(batch["x"]), batch["y"], reduction="none")


def _loop(models: list[nn.Module], data: Batch, steps: int) -> None:
    optimizers = [SGD(model.parameters(), lr=_RATE / len(data["x"][0])) for model in models]
    for _ in range(steps):
        for index, (model, optimizer) in enumerate(zip(models, optimizers, strict=True)):
            optimizer.zero_grad()
            loss = _losses(model, {name: tensor[index] for name, tensor in data.items()}).sum()
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no types there
            optimizer.step()


def _stack(models: list[nn.Module], data: Batch, steps: int) -> dict[str, Tensor]:
    names = [name for name, _ in models[0].named_parameters()]
    parts = [dict(model.named_parameters()) for model in models]
    weights = {name: nn.Parameter(torch.stack([part[name].detach() for part in parts])) for name in names}
    objective, present = Objective(models[0], _losses), torch.ones(data["x"].shape[:2])
    optimizer = SGD(weights.values(), lr=_RATE / len(data["x"][0]))
    for _ in range(steps):
        own = {name: weight.detach() for name, weight in weights.items()}
        for name, gradient in plain_sums(objective, own, data, present).items():
            weights[name].grad = gradient
        optimizer.step()
    return {name: weight.detach() for name, weight in weights.items()}
