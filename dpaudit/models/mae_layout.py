"""The masked autoencoder's encoder as our plain image tower: the same tensors under other names, nothing lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpaudit.models.layout import Layout, fused, same

if TYPE_CHECKING:
    from dpaudit.models.layout import Entry
    from dpaudit.models.towers import ImageSize, ImageTower

__all__ = ["ENCODER", "mae_layout"]

ENCODER = "encoder."  # what the names of the encoder's tensors begin with


def mae_layout(tower: ImageTower) -> Layout:
    """Return the layout of the encoder of a `MaskedAutoencoder` with the tower's size, heads and biases.

    >>> from dpaudit.models.towers import ImageSize, ImageTower
    >>> tower = ImageTower(ImageSize(width=32, depth=1, heads=2, image_size=16, patch_size=8))
    >>> mae_layout(tower).export(tower)["encoder.blocks.0.attention.qkv.weight"].shape
    torch.Size([96, 32])
    """
    return Layout(
        "the masked autoencoder's encoder",
        (
            *_layer(f"{ENCODER}embed", "patches"),
            same(f"{ENCODER}token.weight", "token.weight"),
            same(f"{ENCODER}positions.weight", "positions.weight"),
            *(entry for k in range(tower.size.depth) for entry in _block(k, tower.size)),
            *_layer(f"{ENCODER}norm", "norm"),
        ),
    )


def _block(k: int, size: ImageSize) -> tuple[Entry, ...]:
    block = f"blocks.{k}"
    kinds = ("weight", "bias") if size.qkv_bias else ("weight",)
    parts = [f"{block}.attention.{part}" for part in ("query", "key", "value")]
    return (
        *(fused(f"{ENCODER}{block}.attention.qkv.{kind}", [f"{part}.{kind}" for part in parts]) for kind in kinds),
        *(
            entry
            for layer in ("norm1", "attention.out", "norm2", "widen", "narrow")
            for entry in _layer(f"{ENCODER}{block}.{layer}", f"{block}.{layer}")
        ),
    )


def _layer(theirs: str, ours: str) -> tuple[Entry, ...]:
    return tuple(same(f"{theirs}.{kind}", f"{ours}.{kind}") for kind in ("weight", "bias"))
