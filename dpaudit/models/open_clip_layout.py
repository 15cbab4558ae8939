"""open_clip's names and shapes for our two towers: fused query-key-value, convolved patches, raw tensors.

open_clip itself is not imported: a state dict from any file will do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpaudit.models.layout import Layout, fused, patches, reshaped, same, transposed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from dpaudit.models.layout import Entry, State
    from dpaudit.models.towers import ImageTower, TextTower

__all__ = ["image_layout", "joined", "parted", "text_layout"]

_IMAGE = "visual."
_OF_BOTH = ("logit_scale", "logit_bias")


def image_layout(tower: ImageTower) -> Layout:
    """Return the layout of `open_clip.transformer.VisionTransformer`; the tower's size is `ImageSize.open_clip`.

    >>> import torch
    >>> from dpaudit.models.towers import ImageSize, ImageTower
    >>> size = ImageSize.open_clip(width=64, depth=1, outputs=8, image_size=16, patch_size=8)
    >>> tower = ImageTower(size)
    >>> theirs = image_layout(tower).export(tower)
    >>> theirs["transformer.resblocks.0.attn.in_proj_weight"].shape, theirs["conv1.weight"].shape
    (torch.Size([192, 64]), torch.Size([64, 3, 8, 8]))
    """
    size = tower.size
    return Layout(
        "the open_clip image tower",
        (
            reshaped("class_embedding", "token.weight", ((size.width,), (1, size.width))),
            same("positional_embedding", "positions.weight"),
            transposed("proj", "head.weight"),
            patches("conv1.weight", "patches.weight", size.patch_size),
            *_layer("ln_pre", "first_norm"),
            *_blocks(size.depth),
            *_layer("ln_post", "norm"),
        ),
    )


def text_layout(tower: TextTower) -> Layout:
    """Return the layout of `open_clip.transformer.TextTransformer`, which is also CLIP's part for texts."""
    return Layout(
        "the open_clip text tower",
        (
            same("positional_embedding", "positions.weight"),
            transposed("text_projection", "head.weight"),
            same("token_embedding.weight", "embedding.weight"),
            *_blocks(tower.size.depth),
            *_layer("ln_final", "norm"),
        ),
    )


def parted(clip: Mapping[str, Tensor]) -> tuple[State, State, State]:
    """Return a whole CLIP's state dict in three: image tower, text tower, what belongs to both (the logit scale)."""
    image = {name.removeprefix(_IMAGE): tensor for name, tensor in clip.items() if name.startswith(_IMAGE)}
    both = {name: tensor for name, tensor in clip.items() if name in _OF_BOTH}
    text = {name: tensor for name, tensor in clip.items() if not name.startswith(_IMAGE) and name not in _OF_BOTH}
    return image, text, both


def joined(image: Mapping[str, Tensor], text: Mapping[str, Tensor], both: Mapping[str, Tensor]) -> State:
    """Return a whole CLIP's state dict, as `parted` took it apart."""
    return {**text, **both, **{f"{_IMAGE}{name}": tensor for name, tensor in image.items()}}


def _blocks(depth: int) -> tuple[Entry, ...]:
    return tuple(
        entry
        for k in range(depth)
        for theirs, ours in ((f"transformer.resblocks.{k}", f"blocks.{k}"),)
        for entry in (
            *_layer(f"{theirs}.ln_1", f"{ours}.norm1"),
            *(
                fused(
                    f"{theirs}.attn.in_proj_{kind}",
                    [f"{ours}.attention.{part}.{kind}" for part in ("query", "key", "value")],
                )
                for kind in ("weight", "bias")
            ),
            *_layer(f"{theirs}.attn.out_proj", f"{ours}.attention.out"),
            *_layer(f"{theirs}.ln_2", f"{ours}.norm2"),
            *_layer(f"{theirs}.mlp.c_fc", f"{ours}.widen"),
            *_layer(f"{theirs}.mlp.c_proj", f"{ours}.narrow"),
        )
    )


def _layer(theirs: str, ours: str) -> tuple[Entry, ...]:
    return tuple(same(f"{theirs}.{kind}", f"{ours}.{kind}") for kind in ("weight", "bias"))
