"""The linear probe for sets that are too large for L-BFGS: BatchNorm, one linear layer, LARS."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from dpaudit.errors import DpauditError, InputError
from dpaudit.models.initialisation import seeded
from dpaudit.optimisation import Cosine
from dpaudit.probes.linear import wilson
from dpaudit.results import Measurement, ProbeResult

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor
    from torch.optim import Optimizer

    from dpaudit.data.examples import Examples
    from dpaudit.plugins import FeatureSource, ProbeData
    from dpaudit.rng import Rng

__all__ = ["LinearLars"]


@dataclass(frozen=True, kw_only=True)
class LinearLars:
    """Test accuracy of a linear layer behind a BatchNorm without parameters, trained by LARS (You et al. 2017).

    MAE's recipe, which ViP follows: the rate is base_rate * batch_size / 256 after a linear ramp of `warmup` epochs,
    then a half-cosine to 0; momentum 0.9, no weight decay, trust coefficient 0.001 for the matrix, none for the bias.
    A batch of more than there are records is all of them. Features are computed once, so nothing is cropped or
    mirrored, which the recipe does. Nothing is chosen, so nothing is held out. confidence: of the Wilson interval,
    over draws of test records with the fitted probe fixed.

    >>> LinearLars(epochs=30).batch_size
    16384
    """

    epochs: int = 90
    warmup: int = 10
    batch_size: int = 16_384
    base_rate: float = 0.1
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise InputError("epochs", self.epochs, "1 or more")
        if not 0 <= self.warmup < self.epochs:
            raise InputError("warmup", self.warmup, f"0 or more epochs, fewer than the {self.epochs} of all")
        if self.batch_size < 2:
            raise InputError("batch_size", self.batch_size, "2 records or more")
        if not 0 < self.base_rate < math.inf:
            raise InputError("base_rate", self.base_rate, "a positive number")
        if not 0 < self.confidence < 1:
            raise InputError("confidence", self.confidence, "a number between 0 and 1, both excluded")

    def measure(self, features: FeatureSource, data: ProbeData, rng: Rng) -> ProbeResult:
        """Return the test accuracy of every kind of features; all kinds see the same batches."""
        train, test = _labels("train", data.train, 2), _labels("test", data.test, 1)
        measurements = []
        for name, extract in features.items():
            model = self._fitted(_finite(name, extract(data.train)), train, len(data.classes), rng)
            with torch.no_grad():
                said = model(_finite(name, extract(data.test))).argmax(dim=1).numpy()
            right = int((said == test).sum())
            measurements.append(Measurement(features=name, score=wilson(right, len(test), self.confidence)))
        return ProbeResult(
            probe="linear-lars",
            run="",
            metric="accuracy",
            measurements=tuple(measurements),
            train_size=len(train),
            test_size=len(test),
            detail={"epochs": self.epochs, "batch size": self._batch(len(train)), "rate": self._rate(len(train))},
        )

    def _batch(self, records: int) -> int:
        return min(self.batch_size, records)

    def _rate(self, records: int) -> float:
        return self.base_rate * self._batch(records) / 256

    def _fitted(self, x: Tensor, labels: NDArray[np.int64], classes: int, rng: Rng) -> nn.Module:
        """Return the probe after all epochs, in evaluation mode; the last batch of an epoch may be smaller."""
        model, y = _probe(x.shape[1], classes, rng.child("layer")), torch.from_numpy(labels.copy())
        optimizer, size = _lars(model), self._batch(len(x))
        batches = [(start, min(start + size, len(x))) for start in range(0, len(x), size)]
        batches = [(start, end) for start, end in batches if end - start > 1]  # a BatchNorm needs two
        schedule = Cosine(warmup=self.warmup * len(batches), total=None)
        steps = self.epochs * len(batches)
        for epoch in range(self.epochs):
            order = torch.from_numpy(rng.child("epoch", epoch).numpy().permutation(len(x)))
            for place, (start, end) in enumerate(batches):
                for group in optimizer.param_groups:
                    group["lr"] = self._rate(len(x)) * schedule.factor(epoch * len(batches) + place, steps)
                optimizer.zero_grad()
                rows = order[start:end]
                cross_entropy(model(x[rows]), y[rows]).backward()  # type: ignore[no-untyped-call]  # torch has no types there
                optimizer.step()
        return model.eval()


def _probe(width: int, classes: int, rng: Rng) -> nn.Sequential:
    """Return BatchNorm and a linear layer whose weights are drawn from a normal distribution of deviation 0.01."""
    layer = nn.Linear(width, classes)
    with seeded(rng):
        nn.init.trunc_normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return nn.Sequential(nn.BatchNorm1d(width, affine=False, eps=1e-6), layer)


def _lars(model: nn.Sequential) -> Optimizer:
    from timm.optim.lars import Lars  # noqa: PLC0415  # timm takes seconds to import

    layer = model[1]
    groups = [
        {"params": [layer.weight], "always_adapt": True},
        {"params": [layer.bias], "always_adapt": False},
    ]
    optimizer: Optimizer = Lars(groups, lr=0.0, momentum=0.9, weight_decay=0.0, trust_coeff=0.001)
    return optimizer


def _finite(name: str, x: NDArray[np.float32]) -> Tensor:
    if not np.isfinite(x).all():
        raise DpauditError(f"probe linear-lars: features ({name}) are not finite")
    return torch.tensor(x, dtype=torch.float32)


def _labels(part: str, examples: Examples, least: int) -> NDArray[np.int64]:
    if examples.labels is None or len(examples) < least:
        raise InputError(f"probe data, {part}", f"{len(examples)} records", f"{least} labelled records or more")
    return examples.labels
