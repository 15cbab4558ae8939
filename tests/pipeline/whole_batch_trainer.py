"""A trainer of whole batches for tests: a linear autoencoder of 4 x 4 pixels whose batch is clipped as one to C.

Two such sums are up to 2 C apart. It says so, or something else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dpaudit.dp.clipping import clip_factors
from dpaudit.dp.tensors import Batch, Gradients, trainable
from dpaudit.models.initialisation import seeded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.optim import Optimizer

    from dpaudit.data.examples import Examples
    from dpaudit.mechanism import Adjacency
    from dpaudit.rng import Rng


@dataclass(frozen=True, kw_only=True)
class Whole:
    """says: the sensitivity that it declares, in C. honest: whether it keeps quiet about a wrong one."""

    says: float = 2.0
    honest: bool = True
    image_size: int = 4

    @property
    def modality(self) -> frozenset[str]:
        return frozenset({"image"})

    def build(self, rng: Rng) -> nn.Module:
        with seeded(rng):
            return nn.Sequential(nn.Linear(48, 4), nn.Tanh(), nn.Linear(4, 48))

    def collate(self, examples: Examples, rng: Rng) -> Batch:  # noqa: ARG002 (nothing of it is random)
        return {"pixels": torch.tensor(examples.images).reshape(len(examples), 48).float() / 255}

    def record_losses(self, model: nn.Module, batch: Batch) -> Tensor:
        apart = model(batch["pixels"]) - batch["pixels"]
        losses: Tensor = (apart - apart.mean(0)).square().mean(1) + apart.square().mean(1)
        return losses

    def embed(self, model: nn.Module, images: Tensor) -> Tensor:
        features: Tensor = next(model.children())(images.reshape(len(images), 48).float() / 255)
        return features

    def optimizer(self, parameters: Sequence[nn.Parameter], steps: int) -> Optimizer:  # noqa: ARG002
        return torch.optim.SGD(parameters, lr=0.5)

    def learning_rate(self, step: int, steps: int) -> float:  # noqa: ARG002
        return 0.5

    def bounded_sum(self, model: nn.Module, batch: Batch, clip: float) -> Gradients:
        return clipped(self.gradient(model, batch), clip)

    def gradient(self, model: nn.Module, batch: Batch) -> Gradients:
        """Return the gradient of the summed loss."""
        parameters = trainable(model)
        found = torch.autograd.grad(self.record_losses(model, batch).sum(), list(parameters.values()))
        return dict(zip(parameters, found, strict=True))

    def sensitivity(self, clip: float, adjacency: Adjacency) -> float:  # noqa: ARG002 (the same under each)
        return self.says * clip

    def unsound(self, adjacency: Adjacency) -> str | None:  # noqa: ARG002
        return None if self.honest else "a whole batch that is clipped to C moves by 2 C, not by C"

    def neighbouring_sums(
        self,
        model: nn.Module,
        batch: Batch | None,
        clip: float,
        adjacency: Adjacency,  # noqa: ARG002
    ) -> tuple[Gradients, Gradients]:
        """Return the sums of a batch of gradient g, |g| = 3 C, and of the same with a record of gradient -2 g."""
        plain = {name: torch.ones_like(tensor) for name, tensor in trainable(model).items()}
        drawn = plain if batch is None else self.gradient(model, batch)
        long = {name: tensor * (3 * clip / norm(drawn)) for name, tensor in drawn.items()}
        return clipped(long, clip), clipped({name: tensor - 2 * tensor for name, tensor in long.items()}, clip)


def norm(gradients: Gradients) -> Tensor:
    return torch.stack([tensor.square().sum() for tensor in gradients.values()]).sum().sqrt()


def clipped(gradients: Gradients, clip: float) -> Gradients:
    factor = clip_factors(norm(gradients).reshape(1), clip)[0]
    return {name: tensor * factor for name, tensor in gradients.items()}
