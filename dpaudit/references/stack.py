"""Many small models trained as one: parameters of K models side by side in every tensor, by torch.func.

A small model's step takes microseconds of arithmetic and a third of a millisecond of Python. Stacked, K models share
the Python. Which is done follows from the model alone, never from timing. What each model draws, clips, adds as noise
and learns is what it would alone, so the weights differ by rounding only.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.func import grad, vmap
from torch.optim import SGD, Adam, AdamW

from dpaudit.dp.clipping import clipping_rule, scaling, tensor_norms
from dpaudit.dp.noise import Noise
from dpaudit.dp.objective import Objective
from dpaudit.dp.precision import plain_float32
from dpaudit.dp.tensors import trainable
from dpaudit.plugins import PerExampleTrainer
from dpaudit.training.checkpoint import save_model
from dpaudit.training.job import initial_model
from dpaudit.training.learner import Learner
from dpaudit.training.train import reference_batch, reference_step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from dpaudit.dp.clipping import ClippingRule
    from dpaudit.dp.step import DpStep
    from dpaudit.dp.tensors import Batch, Gradients
    from dpaudit.progress import Progress
    from dpaudit.references.reference import Reference

__all__ = ["GROUP", "clipped_sums", "group_size", "plain_sums", "train_stacked"]

#: models in a stack, at most: beyond it the gain is small (measured, see docs/references.md)
GROUP = 32
_PARAMETERS = 100_000
_NUMBERS = 50_000_000  # of all record gradients of a stack together, where records are clipped
_LAYERS = (nn.Linear, nn.LayerNorm, nn.Embedding)
_OPTIMIZERS = (SGD, Adam, AdamW)  # whose step on a stacked tensor is the step on each part of it


def group_size(reference: Reference) -> int:
    """Return how many references like this one are trained as one: 1 where they do not qualify.

    They do with a per-example trainer in float32 whose model has at most 100,000 parameters, all trained, all of linear
    layers, layer norms or embeddings, and no buffers, under SGD, Adam or AdamW, without several views of a record.
    Convolutions are left out: stacked they are slower on a CPU than one model after the other.
    """
    job = reference.job
    with torch.device("meta"):
        model = job.trainer.build(job.public)
    count = sum(parameter.numel() for parameter in model.parameters())
    optimizer = Learner.of(job.recipe, job.trainer, job.mechanism.steps, model).optimizer
    qualifies = (
        isinstance(job.trainer, PerExampleTrainer)
        and job.recipe.privacy.augmentations == 1
        and job.recipe.compute.precision == "float32"
        and type(optimizer) in _OPTIMIZERS
        and count <= _PARAMETERS
        and _made_of_known_layers(model)
    )
    if not qualifies:
        return 1
    if not job.mechanism.is_clipped:
        return GROUP
    return max(1, min(GROUP, _NUMBERS // (2 * job.mechanism.batch_size * count)))


def _made_of_known_layers(model: nn.Module) -> bool:
    owners = [module for module in model.modules() if list(module.parameters(recurse=False))]
    every = all(parameter.requires_grad for parameter in model.parameters())
    return every and all(type(module) in _LAYERS for module in owners) and not list(model.buffers())


def train_stacked(references: Sequence[Reference], progress: Progress) -> tuple[float, int]:
    """Train references of one recipe as one and write each one's weights to its folder of work.

    Returns (seconds per reference, parameters of one).
    """
    begun, first = time.monotonic(), references[0].job
    models = [initial_model(reference.job) for reference in references]
    stack = _Stack.of(models, [reference_step(reference.job, reference.seal) for reference in references], references)
    steps = first.mechanism.steps
    with plain_float32(), progress.task(f"train {len(references)} references as one", steps) as task:
        for step in range(steps):
            stack.advance(step)
            task.advance(step + 1)
    for index, reference in enumerate(references):
        reference.job.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        save_model(reference.job.run / "model.safetensors", stack.state(index))
    parameters = sum(parameter.numel() for parameter in models[0].parameters())
    return (time.monotonic() - begun) / len(references), parameters


@dataclass(frozen=True, kw_only=True)
class _Stack:
    """K models in training. objective: one of them, whose own weights are never read."""

    references: Sequence[Reference]
    names: tuple[str, ...]
    objective: Objective
    steps: Sequence[DpStep]
    learner: Learner

    @classmethod
    def of(cls, models: Sequence[nn.Module], steps: Sequence[DpStep], references: Sequence[Reference]) -> _Stack:
        job = references[0].job
        parts = [trainable(model) for model in models]
        joined = nn.ParameterList([torch.stack([part[name].detach() for part in parts]) for name in parts[0]])
        learner = Learner.of(job.recipe, job.trainer, job.mechanism.steps, joined)
        return cls(
            references=references,
            names=tuple(parts[0]),
            objective=Objective(models[0], steps[0].losses),
            steps=steps,
            learner=learner,
        )

    @property
    def parameters(self) -> Gradients:
        """Return name -> (K, ...)."""
        return dict(zip(self.names, (part.detach() for part in self.learner.model.parameters()), strict=True))

    def state(self, index: int) -> dict[str, Tensor]:
        """Return the weights to evaluate of one model."""
        averaged = self.references[index].job.recipe.weights.evaluate == "ema" and self.learner.average is not None
        tensors = self.learner.average.state if averaged and self.learner.average else self.learner.model.state_dict()
        return {name: tensor[index] for name, tensor in zip(self.names, tensors.values(), strict=True)}

    def advance(self, step: int) -> None:
        """Take one step with all models."""
        drawn = [each.drawn(step) for each in self.steps]
        sums = self._sums(step, drawn)
        released = [
            self._noisy(index, step, {name: sums[name][index] for name in self.names}) for index in range(len(drawn))
        ]
        gradients = {str(at): torch.stack([part[name] for part in released]) for at, name in enumerate(self.names)}
        self.learner.learn(step, gradients)

    def _sums(self, step: int, drawn: Sequence[NDArray[np.int64]]) -> Gradients:
        job, parameters = self.references[0].job, self.parameters
        union = np.unique(np.concatenate(drawn))
        if not len(union):
            return {name: torch.zeros_like(tensor) for name, tensor in parameters.items()}
        index, present = _padded([np.searchsorted(union, positions) for positions in drawn])
        batch = {name: tensor[index] for name, tensor in reference_batch(job, union, step).items()}
        if not job.mechanism.is_clipped:
            return plain_sums(self.objective, parameters, batch, present)
        rule = clipping_rule(job.recipe.privacy.clipping)
        return clipped_sums(self.objective, parameters, batch, present, (job.mechanism.clip_norm, rule))

    def _noisy(self, index: int, step: int, sums: Gradients) -> Gradients:
        own = self.steps[index]
        noisy, _ = Noise(std=own.noise_std, secure=own.secure).add(sums, lambda name: own.noise.child(step, name))
        return {name: tensor / own.mechanism.batch_size for name, tensor in noisy.items()}


def _padded(rows: Sequence[NDArray[np.int64]]) -> tuple[Tensor, Tensor]:
    """Return positions (K, B) filled up with 0 to the longest row, and whether each was there, (K, B) float32."""
    longest = max(1, *(len(row) for row in rows))
    index = np.zeros((len(rows), longest), dtype=np.int64)
    present = np.zeros((len(rows), longest), dtype=np.float32)
    for at, row in enumerate(rows):
        index[at, : len(row)] = row
        present[at, : len(row)] = 1
    return torch.from_numpy(index), torch.from_numpy(present)


def plain_sums(objective: Objective, parameters: Gradients, batch: Batch, present: Tensor) -> Gradients:
    """Return the gradient of each model's summed loss, name -> (K, ...). batch: (K, B, ...); present: (K, B), 1 or 0.

    A record that is not present only fills up a row.
    """

    def loss(own: Gradients, records: Batch, there: Tensor) -> Tensor:
        return (objective.at(own, records) * there).sum()

    found: Gradients = vmap(grad(loss))(parameters, batch, present.to(next(iter(parameters.values())).device))
    return found


def clipped_sums(
    objective: Objective, parameters: Gradients, batch: Batch, present: Tensor, clipping: tuple[float, ClippingRule]
) -> Gradients:
    """Return each model's sum of clipped record gradients, name -> (K, ...). clipping: clip norm and rule."""

    def loss(own: Gradients, record: Batch) -> Tensor:
        return objective.at(own, {name: tensor.unsqueeze(0) for name, tensor in record.items()}).squeeze(0)

    gradients: Gradients = vmap(vmap(grad(loss), in_dims=(None, 0)))(parameters, batch)
    flat = {name: tensor.flatten(0, 1) for name, tensor in gradients.items()}
    clip, rule = clipping
    scaled = scaling(rule, {name: tensor_norms(tensor) for name, tensor in flat.items()}, clip)
    present = present.to(next(iter(flat.values())).device)
    sums = {}
    for name, tensor in gradients.items():
        weights = scaled.factors[name].reshape(present.shape) * present
        sums[name] = (weights.reshape(*present.shape, *[1] * (tensor.dim() - 2)) * tensor).sum(1)
    return sums
