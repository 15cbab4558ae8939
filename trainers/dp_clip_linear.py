"""DP-CLIP with linear encoders on pairs of vectors: the setting in which its paper proves what privacy costs.

Huang et al. 2023 (arXiv 2306.08173). The gradient of the batch's linear contrastive loss is clipped whole, as in
dpaudit.trainers.dp_clip, and for the same reason its sensitivity is 2C under every adjacency.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dpaudit.data.spiked import vectors_of_pixels
from dpaudit.dp.clipping import clip_factors, record_norms
from dpaudit.errors import InputError
from dpaudit.models.initialisation import seeded
from dpaudit.models.linear_contrast import LinearTowers, linear_gradients

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.optim import Optimizer

    from dpaudit.data.examples import Examples
    from dpaudit.dp.tensors import Batch, Gradients
    from dpaudit.mechanism import Adjacency
    from dpaudit.rng import Rng

__all__ = ["DPClipLinear"]

_HUGE, _FARTHER = 100.0, 100.0  # numbers of made-up pairs, beside numbers of size 1, and of the pair that turns them


@dataclass(frozen=True, kw_only=True)
class DPClipLinear:
    """Contrastive learning by two matrices, one clip per batch; sensitivity 2C.

    dimensions, rank: of the data set `spiked`; the encoders map `dimensions` numbers to `rank`. penalty: weight of
    |G^T H|^2 / 2. step_size: of plain gradient descent. as_published: declare a sensitivity of C, which is wrong, and
    is told so.

    >>> DPClipLinear().sensitivity(1.0, "replace-one")
    2.0
    """

    dimensions: int = 20
    rank: int = 2
    penalty: float = 1.0
    step_size: float = 0.01
    as_published: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.rank < self.dimensions:
            raise InputError("rank", self.rank, f"from 1 to {self.dimensions - 1}, below dimensions")
        for name in ("penalty", "step_size"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(name, getattr(self, name), "a positive number")

    @property
    def image_size(self) -> int:
        """Return the side of the images that hold a pair of vectors, in pixels."""
        return math.ceil(math.sqrt(2 * self.dimensions / 3))

    @property
    def modality(self) -> frozenset[str]:
        """Return what it reads of a record: the image, which holds both vectors."""
        return frozenset({"image"})

    def build(self, rng: Rng) -> nn.Module:
        """Return fresh encoders, drawn from `rng` alone."""
        with seeded(rng):
            return LinearTowers(self.dimensions, rank=self.rank)

    def collate(self, examples: Examples, rng: Rng) -> Batch:  # noqa: ARG002 (a contract; nothing is drawn)
        """Return x and y, each (n, dimensions) float32."""
        if examples.images.shape[2] != self.image_size:
            raise InputError("images", examples.images.shape, f"pairs of {self.dimensions} numbers, as of `spiked`")
        both = torch.from_numpy(vectors_of_pixels(examples.images, 2 * self.dimensions))
        return {"x": both[:, : self.dimensions], "y": both[:, self.dimensions :]}

    def bounded_sum(self, model: nn.Module, batch: Batch, clip: float) -> Gradients:
        """Return the gradient of the batch's loss times its pairs, clipped to `clip`; zeros for a pair alone."""
        matrices = dict(model.named_parameters())
        if len(batch["x"]) < 2:
            return {name: torch.zeros_like(matrix) for name, matrix in matrices.items()}
        image, text = (matrices[f"{name}.weight"].detach() for name in ("image", "text"))
        found = linear_gradients(image, text, batch["x"], batch["y"], self.penalty)
        pairs, norm = len(batch["x"]), record_norms(gradient.unsqueeze(0) for gradient in found)
        factor = pairs * float(clip_factors(norm, clip / pairs))
        return {"image.weight": factor * found[0], "text.weight": factor * found[1]}

    def sensitivity(self, clip: float, adjacency: Adjacency) -> float:  # noqa: ARG002 (the same under each)
        """Return 2C under every adjacency; C where the published constant is asked for."""
        return clip if self.as_published else 2 * clip

    def unsound(self, adjacency: Adjacency) -> str | None:  # noqa: ARG002 (the same under each)
        """Return why C is no bound, where C is declared."""
        return "one pair may turn the whole clipped gradient around, which is 2C" if self.as_published else None

    def neighbouring_sums(
        self,
        model: nn.Module,
        batch: Batch | None,  # noqa: ARG002 (the shared pairs are made up too)
        clip: float,
        adjacency: Adjacency,
    ) -> tuple[Gradients, Gradients]:
        """Return the sums of two made-up neighbours: numbers that vary together, until a pair far out comes."""
        like = next(model.parameters()).detach()
        huge = _HUGE * math.sqrt(max(1.0, clip))  # a gradient grows with the square

        def pairs(*rows: tuple[float, float]) -> Batch:
            columns = torch.tensor(rows, dtype=like.dtype, device=like.device)
            return {name: columns[:, at : at + 1].expand(-1, self.dimensions) for at, name in enumerate("xy")}

        kept = [(huge, huge), (-huge, -huge)]
        far = huge * _FARTHER
        first = pairs(*kept, (far, far)) if adjacency == "replace-one" else pairs(*kept)
        second = pairs(*kept, (far, -far))
        return self.bounded_sum(model, first, clip), self.bounded_sum(model, second, clip)

    def embed(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return the image encoder's vectors, (n, rank), of the x in uint8 images (n, 3, S, S)."""
        x = torch.from_numpy(vectors_of_pixels(images.cpu().numpy(), self.dimensions))
        vectors: Tensor = model(x.to(images.device))
        return vectors

    def optimizer(self, parameters: Sequence[nn.Parameter], steps: int) -> Optimizer:
        """Return plain gradient descent."""
        return torch.optim.SGD(parameters, lr=self.learning_rate(0, steps))

    def learning_rate(self, step: int, steps: int) -> float:  # noqa: ARG002 (a contract)
        """Return the rate, the same at every step."""
        return self.step_size

    @property
    def optimisation_options(self) -> frozenset[str]:
        """Return the options that a recipe's own optimizer makes void."""
        return frozenset({"step_size"})
