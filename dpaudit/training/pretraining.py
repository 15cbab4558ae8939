"""The public stage before a private training: ordinary mini-batches, the trainer's own losses, no clipping, no noise.

It sees public data alone, so it costs no privacy. Its steps follow from recipe and seed: a stage that was stopped goes
on bit for bit, and anyone may repeat it.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from dpaudit.dp.devices import CPU
from dpaudit.dp.objective import batch_length
from dpaudit.dp.precision import at_precision, plain_float32
from dpaudit.dp.processes import current
from dpaudit.dp.tensors import beside, trainable
from dpaudit.dp.whole_batch import WholeBatch
from dpaudit.errors import DpauditError, InputError
from dpaudit.optimisation import Weights
from dpaudit.plugins import PerExampleTrainer, RecordLosses
from dpaudit.runs import write_atomically
from dpaudit.training.checkpoint import save_model
from dpaudit.training.learner import Learner

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from dpaudit.dp.precision import Precision
    from dpaudit.dp.tensors import Batch, Gradients
    from dpaudit.plugins import BatchTrainer, Dataset
    from dpaudit.progress import Progress
    from dpaudit.recipes.recipe import Pretrain, Recipe
    from dpaudit.rng import Rng
    from dpaudit.training.declared import AnyTrainer

__all__ = ["Epochs", "PublicStage", "frozen", "mean_gradients", "pretrain"]


@dataclass(frozen=True, kw_only=True)
class PublicStage:
    """What the public stage is made of. folder: where it leaves model.safetensors, losses.jsonl and its checkpoint.

    device: where it computes.
    """

    folder: Path
    recipe: Recipe
    settings: Pretrain
    trainer: AnyTrainer
    data: Dataset
    public: Rng
    device: torch.device = CPU

    def model(self) -> nn.Module:
        """Return the model before its first step; InputError for a frozen module that it has not."""
        model = self.trainer.build(self.public.child("model", "start")).to(self.device)
        return frozen(model, self.settings.frozen)

    def learner(self) -> Learner:
        """Return the model with its optimizer; a recipe that names no optimizer here gets the trainer's own."""
        changes = {"optimizer": self.settings.optimizer, "weights": Weights()}
        return Learner.of(self.recipe.model_copy(update=changes), self.trainer, self.settings.steps, self.model())


def frozen(model: nn.Module, names: Sequence[str]) -> nn.Module:
    """Return the model without gradients for these modules; InputError names one that it has not."""
    modules = dict(model.named_modules())
    for index, name in enumerate(names):
        if name not in modules or not name:
            known = ", ".join(child for child, _ in model.named_children())
            raise InputError(f"start.pretrain.frozen.{index}", name, f"a module of the model, such as {known}")
        modules[name].requires_grad_(requires_grad=False)
    return model


def pretrain(stage: PublicStage, progress: Progress) -> tuple[list[float], float]:
    """Train, or go on where it stopped; return the mean loss of every step and the seconds spent on it.

    Of several processes the first alone works, and the others wait.
    """
    learner, state = stage.learner(), stage.folder / "checkpoint" / "state.safetensors"
    done, seconds = learner.restore(state) if state.exists() else (0, 0.0)
    losses, epochs = _Losses(stage.folder / "losses.jsonl", done), Epochs(stage.data.ids(), stage.public.child("order"))
    steps, every, begun = stage.settings.steps, stage.recipe.runs.checkpoint_every, time.monotonic() - seconds
    state.parent.mkdir(parents=True, exist_ok=True)
    with progress.task("train public stage", steps) as task:
        for step in range(done, steps):
            loss, gradients = _step(stage, learner.model, epochs.batch(step, stage.settings.batch_size), step)
            learner.learn(step, gradients)
            losses.add(loss)
            if (step + 1) % every == 0 or step + 1 == steps:
                losses.write()
                learner.save(state, step=step + 1, seconds=time.monotonic() - begun)
                current().stay()
            task.advance(step + 1, f"loss {loss:.3f}")
    save_model(stage.folder / "model.safetensors", learner.model.state_dict())
    return losses.every, time.monotonic() - begun


def mean_gradients(
    model: nn.Module, trainer: AnyTrainer, batch: Batch, micro_batch: int, precision: Precision = "float32"
) -> tuple[float, Gradients]:
    """Return the mean loss of a batch and its gradients, taken `micro_batch` records at a time to save memory.

    A trainer of whole batches takes them all together; where it knows no loss per record, the loss counts as 0.
    """
    if not isinstance(trainer, PerExampleTrainer):
        return _mean_of_whole(model, trainer, beside(model, batch))
    losses = at_precision(trainer.losses, precision)
    parameters, count = trainable(model), len(next(iter(batch.values())))
    total, sums = 0.0, {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    for start in range(0, count, micro_batch):
        part = beside(model, {name: tensor[start : start + micro_batch] for name, tensor in batch.items()})
        loss = losses(model, part).sum() / count
        found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, materialize_grads=True)
        for name, gradient in zip(parameters, found, strict=True):
            sums[name] += gradient
        total += float(loss.detach())
    return total, sums


def _mean_of_whole(model: nn.Module, trainer: BatchTrainer, batch: Batch) -> tuple[float, Gradients]:
    count, losses = batch_length(batch), trainer.record_losses if isinstance(trainer, RecordLosses) else None
    whole = WholeBatch(bounded_sum=trainer.bounded_sum, record_losses=losses)
    measured = whole.measured(model, batch, count)
    sums = whole.sums(model, batch, math.inf)
    return measured.loss or 0.0, {name: tensor / count for name, tensor in sums.items()}


def _step(stage: PublicStage, model: nn.Module, ids: NDArray[np.str_], step: int) -> tuple[float, Gradients]:
    batch = stage.trainer.collate(stage.data[ids], stage.public.child("collate", step))
    together, precision = stage.recipe.privacy.physical_batch_size, stage.recipe.compute.precision
    with plain_float32():
        loss, gradients = mean_gradients(model, stage.trainer, batch, together, precision)
    if not math.isfinite(loss):
        raise DpauditError(f"pre-training: the loss of step {step} is {loss}; a smaller learning rate may help")
    return loss, gradients


@dataclass
class Epochs:
    """Mini-batches in which every record comes once, in random order, before any of them comes again.

    >>> from dpaudit.rng import Rng
    >>> epochs = Epochs(np.array(["a", "b", "c"]), Rng.from_seed(0))
    >>> sorted(np.concatenate([epochs.batch(step, 2) for step in range(3)]).tolist())
    ['a', 'a', 'b', 'b', 'c', 'c']
    """

    ids: NDArray[np.str_]
    rng: Rng
    _orders: dict[int, NDArray[np.int64]] = field(default_factory=dict)

    def batch(self, step: int, size: int) -> NDArray[np.str_]:
        """Return the ids of step 0, 1, ..., (size,)."""
        epochs, rows = np.divmod(np.arange(step * size, (step + 1) * size), len(self.ids))
        orders = {epoch: self._order(epoch) for epoch in np.unique(epochs).tolist()}
        self._orders = orders
        return self.ids[[orders[epoch][row] for epoch, row in zip(epochs.tolist(), rows.tolist(), strict=True)]]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if epoch in self._orders:
            return self._orders[epoch]
        return self.rng.child(epoch).numpy().permutation(len(self.ids))


class _Losses:
    """The losses of all steps, and their file: one JSON list for every checkpoint."""

    def __init__(self, path: Path, done: int) -> None:
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines() if done else []
        self.every: list[float] = [loss for line in lines for loss in json.loads(line)][:done]
        self._written = 0  # what lies beyond the checkpoint is written anew

    def add(self, loss: float) -> None:
        self.every.append(loss)

    def write(self) -> None:
        new = json.dumps([round(loss, 6) for loss in self.every[self._written :]]) + "\n"
        if self._written:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(new)
        else:
            write_atomically(self._path, new.encode())
        self._written = len(self.every)
