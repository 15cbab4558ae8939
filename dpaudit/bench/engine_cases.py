"""The models on which a step's cost is measured: two masked autoencoders, two captioners, CLIP's image tower.

Weights and records are drawn from a fixed key: what a step costs does not depend on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import nn

from dpaudit.models import captioner, mae
from dpaudit.models.captioner import Captioner, caption_losses
from dpaudit.models.initialisation import seeded
from dpaudit.models.mae import MaskedAutoencoder, patchify
from dpaudit.models.towers import ImageSize, ImageTower
from dpaudit.models.vit import take_tokens
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from dpaudit.dp.clipping import Losses
    from dpaudit.dp.tensors import Batch, Gradients

__all__ = ["CASES", "ON_GPU", "QUICK", "Aims", "Case", "Problem", "Step"]

#: a model, its loss per record, and a batch
Problem: TypeAlias = tuple[nn.Module, "Losses", "Batch"]
#: what is timed
Step: TypeAlias = "Callable[[], Gradients]"

_SEED = 0
_OPEN_CLIP_VOCABULARY = 49_408
_CAPTION = 40
_VISIBLE = 0.25  # of the patches


@dataclass(frozen=True, kw_only=True)
class Aims:
    """What a row must reach. step, memory: times the ordinary step's at most; faster: than Opacus' `peer`, times."""

    step: float
    memory: float
    peer: str
    faster: float


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row. records: in a batch; aims: None where nothing was promised."""

    name: str
    title: str
    records: int
    draw: Callable[[int], Problem]
    aims: Aims | None = None

    def build(self) -> Problem:
        """Return the model, the loss per record and a batch, drawn anew and always the same."""
        with seeded(Rng.from_seed(_SEED)):
            return self.draw(self.records)


def _autoencoder(size: mae.Size) -> Callable[[int], Problem]:
    def draw(records: int) -> Problem:
        order = torch.rand(records, size.tokens).argsort(dim=1)
        seen = round(_VISIBLE * size.tokens)
        batch = {
            "images": torch.randn(records, 3, size.image_size, size.image_size),
            "visible": order[:, :seen],
            "masked": order[:, seen:],
        }
        return MaskedAutoencoder(size), losses, batch

    def losses(model: nn.Module, batch: Batch) -> Tensor:
        predicted = model(batch["images"], batch["visible"], batch["masked"])
        wanted = take_tokens(patchify(batch["images"], size.patch_size), batch["masked"])
        error: Tensor = (predicted - wanted).square().mean(dim=(1, 2))
        return error

    return draw


def _captioner(size: captioner.Size, vocabulary: int, *, tied: bool) -> Callable[[int], Problem]:
    def draw(records: int) -> Problem:
        tokens = torch.randint(1, vocabulary, (records, size.context + 1))
        batch = {
            "images": torch.randn(records, 3, size.image_size, size.image_size),
            "inputs": tokens[:, :-1].contiguous(),
            "targets": tokens[:, 1:].contiguous(),
        }
        return Captioner(size, vocabulary=vocabulary, tied=tied), losses, batch

    def losses(model: nn.Module, batch: Batch) -> Tensor:
        return caption_losses(model(batch["images"], batch["inputs"]), batch["targets"])

    return draw


class _Embedding(nn.Module):
    """A tower whose output is the embedding: Opacus must wrap what is called."""

    def __init__(self, tower: ImageTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, images: Tensor) -> Tensor:
        return self.tower.embed(images)


def _tower(size: ImageSize) -> Callable[[int], Problem]:
    def draw(records: int) -> Problem:
        model = _Embedding(ImageTower(size))
        batch = {
            "images": torch.randn(records, 3, size.image_size, size.image_size),
            "wanted": torch.randn(records, size.outputs or size.width),
        }
        return model, losses, batch

    def losses(model: nn.Module, batch: Batch) -> Tensor:
        error: Tensor = (model(batch["images"]) - batch["wanted"]).square().mean(dim=1)
        return error

    return draw


_SMALL_IMAGES = mae.Size(
    width=192,
    depth=6,
    heads=3,
    decoder_width=96,
    decoder_depth=2,
    decoder_heads=3,
    image_size=32,
    patch_size=4,
)
_TINY = mae.Size(width=192, depth=12, heads=3, decoder_width=256, decoder_depth=4, decoder_heads=8)
_CAPTIONER = captioner.Size(
    width=384,
    depth=12,
    heads=6,
    decoder_width=384,
    decoder_heads=6,
    decoder_depth=4,
    context=_CAPTION,
    image_size=112,
)
_VIT_B_32 = ImageSize.open_clip(width=768, depth=4, outputs=512, image_size=224, patch_size=32)

#: the rows of `dpaudit bench engine`
CASES = (
    Case(
        name="mae-32",
        title="MAE 32 px, 6 x 192",
        records=64,
        draw=_autoencoder(_SMALL_IMAGES),
        aims=Aims(step=1.20, memory=1.3, peer="Opacus ghost", faster=1.7),
    ),
    Case(
        name="mae-224",
        title="MAE ViT-Tiny/16 224 px",
        records=16,
        draw=_autoencoder(_TINY),
        aims=Aims(step=1.12, memory=1.4, peer="Opacus ghost", faster=1.9),
    ),
    Case(
        name="captioner",
        title="captioner, vocabulary 49,408",
        records=16,
        draw=_captioner(_CAPTIONER, _OPEN_CLIP_VOCABULARY, tied=False),
        aims=Aims(step=1.10, memory=1.25, peer="Opacus ghost", faster=1.6),
    ),
    Case(
        name="captioner-tied",
        title="captioner, vocabulary 49,408, tied",
        records=16,
        draw=_captioner(_CAPTIONER, _OPEN_CLIP_VOCABULARY, tied=True),
        aims=Aims(step=1.10, memory=1.25, peer="Opacus hooks", faster=1.8),
    ),
    Case(
        name="clip-image",
        title="open_clip ViT-B-32 image tower, 4 of 12 blocks",
        records=8,
        draw=_tower(_VIT_B_32),
        aims=Aims(step=1.15, memory=1.4, peer="Opacus ghost", faster=1.7),
    ),
)

#: the rows of `dpaudit bench engine --device cuda`; too large for a CPU
ON_GPU = (
    Case(name="mae-base", title="MAE ViT-Base/16 224 px", records=64, draw=_autoencoder(mae.SIZES["base"])),
    Case(
        name="captioner-base",
        title="DP-Cap Base, vocabulary 49,408",
        records=32,
        draw=_captioner(captioner.SIZES["base"], _OPEN_CLIP_VOCABULARY, tied=False),
    ),
)

#: models that take seconds, to see that all works; their ratios say nothing about larger ones
QUICK = (
    Case(name="mae-micro", title="MAE micro", records=8, draw=_autoencoder(mae.SIZES["micro"])),
    Case(
        name="captioner-micro",
        title="captioner micro, vocabulary 500, tied",
        records=8,
        draw=_captioner(captioner.SIZES["micro"], 500, tied=True),
    ),
)
