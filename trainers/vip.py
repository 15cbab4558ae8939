"""ViP: a masked autoencoder trained by DP-AdamW (Yu, Sanjabi, Ma, Chaudhuri, Guo 2024, arXiv 2306.08842).

Three quarters of the patches are masked at random; the loss of an image is the mean squared error of its masked
patches, so it depends on that image alone and per-example clipping bounds the sensitivity. The mask is the only
augmentation. The published system starts from weights trained on synthetic images: section `start`
of a recipe (`vip-micro`).
"""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn

from dpaudit.errors import InputError
from dpaudit.models.images import normalised, pixels, pixels_of
from dpaudit.models.initialisation import seeded
from dpaudit.models.mae import SIZES, MaskedAutoencoder, Size, patchify, unpatchify
from dpaudit.models.vit import take_tokens
from dpaudit.optimisation import CappedCosine, check_published_adamw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.optim import Optimizer

    from dpaudit.data.examples import Examples
    from dpaudit.dp.tensors import Batch
    from dpaudit.rng import Array, Rng

__all__ = ["ViP"]

GREY = 128


@dataclass(frozen=True, kw_only=True)
class ViP:
    """Masked-autoencoder pre-training whose loss is a sum over images.

    size: micro, mini, nano, tiny, small, base or large. image_size, patch_size: pixels; 0 = as the size was published
    (16 and 4 for micro, 32 and 4 for mini, else 224 and 16). mask_ratio: share of masked patches. warmup: steps of
    linear ramp, 0 = none. train_positions: train the position tables too, as ViP's DP phase does. heads: of the
    encoder's attention, 0 = as published; qkv_bias: of its query, key and value. An encoder that DP-Cap is to start
    from has DP-Cap's heads (6 for nano and tiny) and no such bias. feature_blocks: how many of the last blocks make the
    features, side by side; 0 = all, as ViP's linear probe reads; 1 = the last layer, as most others' do.

    The defaults suit micro at a few hundred steps; ViP-Base used a peak of 4.8e-3 and 1,000 steps of warm-up.

    >>> ViP().learning_rate(0, 100) < ViP().learning_rate(20, 100) <= ViP().peak_learning_rate
    True
    """

    size: str = "micro"
    image_size: int = 0
    patch_size: int = 0
    mask_ratio: float = 0.75
    peak_learning_rate: float = 5e-3
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.005
    warmup: int = 15
    train_positions: bool = True
    heads: int = 0
    qkv_bias: bool = True
    feature_blocks: int = 0

    def __post_init__(self) -> None:
        published = _published(self.size)
        object.__setattr__(self, "image_size", self.image_size or published.image_size)
        object.__setattr__(self, "patch_size", self.patch_size or published.patch_size)
        _check_geometry(self)
        check_published_adamw(self.peak_learning_rate, self.betas, self.weight_decay, self.warmup)

    @property
    def modality(self) -> frozenset[str]:
        """Return what it reads of a record: the image."""
        return frozenset({"image"})

    @property
    def architecture(self) -> Size:
        """Return widths, depths and geometry of the model."""
        published = SIZES[self.size]
        return dataclasses.replace(
            published,
            heads=self.heads or published.heads,
            qkv_bias=self.qkv_bias,
            image_size=self.image_size,
            patch_size=self.patch_size,
        )

    def build(self, rng: Rng) -> nn.Module:
        """Return a fresh model on the CPU, its weights drawn from `rng` alone."""
        with seeded(rng):
            return MaskedAutoencoder(self.architecture, train_positions=self.train_positions)

    def collate(self, examples: Examples, rng: Rng) -> Batch:
        """Return images (n, 3, S, S) float32, visible (n, v) and masked (n, m) int64 patch positions, both ascending.

        The mask of a record is the order of uniforms keyed by (rng, id): who else is in the batch does not matter.
        """
        images = normalised(pixels_of(examples, self.image_size))
        order = np.argsort(rng.uniform(examples.ids, self.architecture.tokens), axis=1, kind="stable")
        kept = order.shape[1] - self._masked_patches
        visible, masked = np.sort(order[:, :kept], axis=1), np.sort(order[:, kept:], axis=1)
        return {"images": images, "visible": torch.from_numpy(visible), "masked": torch.from_numpy(masked)}

    def losses(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean squared error over each image's masked patches, (n,), in units of normalised pixels."""
        predicted: Tensor = model(batch["images"], batch["visible"], batch["masked"])
        patches = patchify(batch["images"], self.patch_size)
        wanted = take_tokens(patches, batch["masked"])
        return (predicted - wanted).square().mean(dim=(1, 2))

    def embed(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return the mean patch token of every block, (n, depth * width), or of the last few; nothing is masked."""
        return cast("MaskedAutoencoder", model).features(normalised(images), self.feature_blocks)

    def optimizer(self, parameters: Sequence[nn.Parameter], steps: int) -> Optimizer:
        """Return AdamW; weight decay acts on every tensor, as in the published code."""
        rate = self.learning_rate(0, steps)
        return torch.optim.AdamW(parameters, lr=rate, betas=self.betas, weight_decay=self.weight_decay)

    def learning_rate(self, step: int, steps: int) -> float:
        """Return the rate of step t = 0, 1, ...: peak * min((t + 1) / warmup, (1 + cos(pi t / steps)) / 2).

        The smaller of a ramp and a half-cosine over the whole run, not one after the other.
        """
        return self.peak_learning_rate * CappedCosine(warmup=self.warmup).factor(step, steps)

    @property
    def optimisation_options(self) -> frozenset[str]:
        """Return the options that a recipe's own optimizer makes void."""
        return frozenset({"peak_learning_rate", "betas", "weight_decay", "warmup"})

    def reconstruct(self, model: nn.Module, examples: Examples, rng: Rng) -> tuple[Array, Array]:
        """Return (images with masked patches grey, the same as predicted), uint8 (n, 3, S, S)."""
        device = next(model.parameters()).device
        batch = {name: tensor.to(device) for name, tensor in self.collate(examples, rng).items()}
        with torch.no_grad():
            predicted = model(batch["images"], batch["visible"], batch["masked"])
        index = batch["masked"].unsqueeze(-1).expand_as(predicted)
        seen = patchify(pixels_of(examples, self.image_size).to(device), self.patch_size).scatter(1, index, GREY)
        painted = patchify(batch["images"], self.patch_size).scatter(1, index, predicted)
        composite = pixels(unpatchify(painted, self.patch_size))
        return unpatchify(seen, self.patch_size).cpu().numpy(), composite.cpu().numpy()

    @property
    def _masked_patches(self) -> int:
        return round(self.mask_ratio * self.architecture.tokens)


def _published(size: str) -> Size:
    if size not in SIZES:
        nearest = difflib.get_close_matches(size, SIZES, n=2, cutoff=0.3) or list(SIZES)
        raise InputError("size", size, f"one of {', '.join(SIZES)} (nearest: {', '.join(nearest)})")
    return SIZES[size]


def _check_geometry(options: ViP) -> None:
    if options.patch_size < 1:
        raise InputError("patch_size", options.patch_size, "a positive number of pixels")
    if options.image_size < 1 or options.image_size % options.patch_size:
        raise InputError("image_size", options.image_size, f"a positive multiple of patch_size = {options.patch_size}")
    width, tokens = SIZES[options.size].width, options.architecture.tokens
    if options.heads < 0 or (options.heads and width % options.heads):
        raise InputError("heads", options.heads, f"0, or a divisor of the width of {width}")
    if not 0 <= options.feature_blocks <= SIZES[options.size].depth:
        expected = f"0 for all, or a number of blocks of at most {SIZES[options.size].depth}"
        raise InputError("feature_blocks", options.feature_blocks, expected)
    if not 0 < options.mask_ratio < 1 or not 0 < options._masked_patches < tokens:
        raise InputError("mask_ratio", options.mask_ratio, f"a share that masks some but not all of {tokens} patches")
