"""The fine-tuning probe: what a classifier learns when the encoder may be trained on, privately or not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import torch

from dpaudit.accounting.calibrate import calibrate_noise
from dpaudit.dp.engines import engine
from dpaudit.dp.step import DpStep
from dpaudit.dp.tensors import beside, home, trainable
from dpaudit.errors import DpauditError, InputError
from dpaudit.mechanism import Mechanism
from dpaudit.models.classification import class_losses, labels_of
from dpaudit.models.fine_tuned import FineTuned, freeze_unused
from dpaudit.probes.few_shot import over_draws
from dpaudit.probes.linear import wilson
from dpaudit.results import Measurement, ProbeResult
from dpaudit.training.learner import Learner
from dpaudit.training.signals import in_batches

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from dpaudit.data.examples import Examples
    from dpaudit.dp.tensors import Batch
    from dpaudit.plugins import Encoder, FeatureSource, ProbeData
    from dpaudit.results import Interval
    from dpaudit.rng import Rng

__all__ = ["FineTuning"]


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """Test accuracy of a linear layer on an encoder, both trained on the probe's records; the mean of `draws`.

    layers: head leaves the encoder as it is, all trains whatever its features depend on. epsilon, delta: what the
    fine-tuning alone promises of the probe's training records, add-remove; inf = neither clipping nor noise, clip_norm
    is then not read. steps of an expected batch_size, Poisson; learning_rate: of every step of Adam. draws: trainings
    with other batches and noise. confidence: of the interval over these and over draws of test records, together.

    The noise follows from the audit's public seed, so that scores repeat: it says what privacy costs in accuracy, and
    the classifiers are thrown away. One that is released is a run of its own, by the trainer `fine-tune`.

    >>> FineTuning(epsilon=8.0).layers
    'all'
    """

    layers: Literal["head", "all"] = "all"
    epsilon: float = math.inf
    delta: float = 1e-5
    clip_norm: float = 1.0
    steps: int = 150
    batch_size: int = 64
    learning_rate: float = 0.002
    draws: int = 3
    confidence: float = 0.95

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "draws"):
            if getattr(self, name) < 1:
                raise InputError(name, getattr(self, name), "1 or more")
        for name in ("clip_norm", "learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(name, getattr(self, name), "a positive number")
        if not self.epsilon > 0:
            raise InputError("epsilon", self.epsilon, "a number above 0, or .inf")
        for name in ("delta", "confidence"):
            if not 0 < getattr(self, name) < 1:
                raise InputError(name, getattr(self, name), "a number between 0 and 1, both excluded")

    @property
    def reads_encoders(self) -> bool:
        """Return that it trains models, and so asks for more than features."""
        return True

    def mechanism(self, records: int) -> Mechanism:
        """Return what is done to so many training records: DP-SGD of the promised epsilon, or the ordinary one."""
        if self.batch_size > records:
            raise InputError("batch_size", self.batch_size, f"at most {records}, the probe's training records")
        private = math.isfinite(self.epsilon)
        mechanism = Mechanism(
            sampling="poisson",
            adjacency="add-remove",
            noise_multiplier=0.0,
            sampling_rate=self.batch_size / records,
            steps=self.steps,
            clip_norm=self.clip_norm if private else math.inf,
            batch_size=self.batch_size,
            dataset_size=records,
        )
        if not private:
            return mechanism
        noise = calibrate_noise(self.epsilon, self.delta, mechanism)
        return mechanism.model_copy(update={"noise_multiplier": noise})

    def measure(self, features: FeatureSource, data: ProbeData, rng: Rng) -> ProbeResult:
        """Return the test accuracy of every encoder; all of them see the same batches."""
        truth = labels_of(data.test, len(data.classes)).numpy()
        mechanism = self.mechanism(len(data.train))
        detail, measurements = self._promise(mechanism), []
        for name, encoder in features.items():
            tuning = _Tuning(encoder=cast("Encoder", encoder), data=data, mechanism=mechanism, probe=self)
            said = np.stack([tuning.said(name, rng.child("draw", draw)) for draw in range(self.draws)])
            measurements.append(Measurement(features=name, score=self._interval(said == truth)))
            detail[f"parameters trained ({name})"] = tuning.parameters
        return ProbeResult(
            probe="fine-tune",
            run="",
            metric="accuracy, fine-tuned" if mechanism.is_private else "accuracy, fine-tuned without privacy",
            measurements=tuple(measurements),
            train_size=len(data.train),
            test_size=len(truth),
            detail=detail,
        )

    def _promise(self, mechanism: Mechanism) -> dict[str, float | int | str]:
        trained: dict[str, float | int | str] = {"layers": self.layers, "trainings": self.draws}
        if not mechanism.is_private:
            return trained | {"privacy of the fine-tuning": "none, neither clipping nor noise"}
        budget = {"epsilon": self.epsilon, "delta": self.delta, "noise multiplier": mechanism.noise_multiplier}
        of = "the probe's training records, for one of these classifiers alone, had its noise been secret"
        return trained | {"privacy of the fine-tuning": of} | budget

    def _interval(self, right: NDArray[np.bool_]) -> Interval:
        """Return the mean of outcomes (draws, records)."""
        if len(right) == 1:
            return wilson(float(right.sum()), right.size, self.confidence)
        return over_draws(right, self.confidence)


@dataclass(frozen=True, kw_only=True)
class _Tuning:
    """One encoder, and all that its trainings share."""

    encoder: Encoder
    data: ProbeData
    mechanism: Mechanism
    probe: FineTuning

    @property
    def parameters(self) -> int:
        """Return how many numbers are trained."""
        return sum(parameter.numel() for parameter in trainable(self._model()).values())

    def said(self, name: str, rng: Rng) -> NDArray[np.int64]:
        """Return the class of every test record after one training."""
        model = self._trained(rng)
        logits = in_batches(lambda part: self._logits(model, self._batch(model, part)["images"]), self.data.test)
        if not np.isfinite(logits).all():
            raise DpauditError(f"probe fine-tune: {name}: logits are not finite: a smaller learning_rate may help")
        return np.asarray(logits.argmax(axis=1), dtype=np.int64)

    def _trained(self, rng: Rng) -> FineTuned:
        model, records = self._model(), self.data.train
        step = DpStep(
            mechanism=self.mechanism,
            losses=self._losses,
            members=np.ones(len(records), dtype=np.bool_),
            sampling=rng.child("sampling"),
            noise=rng.child("noise"),
            engine=engine("bookkeeping"),
        )
        rate = self.probe.learning_rate
        optimizer = torch.optim.AdamW(list(trainable(model).values()), lr=rate, weight_decay=0.0)
        learner = Learner(model=model, optimizer=optimizer, learning_rate=lambda _: rate, average=None)
        for index in range(self.mechanism.steps):
            learner.learn(index, step(index, model, lambda rows: self._batch(model, records.take(rows))).gradients)
        return model

    def _model(self) -> FineTuned:
        encoder, images = self.encoder.fresh(), torch.zeros(1, *self.data.train.images.shape[1:], dtype=torch.uint8)
        images = images.to(home(encoder))
        if self.probe.layers == "all" and trainable(encoder):
            freeze_unused(encoder, lambda batch: self.encoder.embed(encoder, batch), images)
        else:
            encoder.requires_grad_(False)
        with torch.no_grad():
            width = self.encoder.embed(encoder, images).shape[1]
        return FineTuned(encoder, width=width, classes=len(self.data.classes)).to(images.device)

    def _batch(self, model: FineTuned, records: Examples) -> Batch:
        labels = labels_of(records, len(self.data.classes))
        return beside(model, {"images": torch.tensor(records.images), "labels": labels})

    def _logits(self, model: FineTuned, images: Tensor) -> Tensor:
        logits: Tensor = model(self.encoder.embed(model.encoder, images))
        return logits

    def _losses(self, model: torch.nn.Module, batch: Batch) -> Tensor:
        if not isinstance(model, FineTuned):
            raise DpauditError("probe fine-tune: the model is another one than it made")
        return class_losses(self._logits(model, batch["images"]), batch["labels"])
