"""timm's names and shapes for our image tower: the fused query-key-value layer, convolved patches, raw tensors.

timm itself is not imported: a state dict from any file will do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpaudit.models.layout import Layout, fused, patches, reshaped, same

if TYPE_CHECKING:
    from dpaudit.models.layout import Entry
    from dpaudit.models.towers import ImageSize, ImageTower

__all__ = ["timm_layout"]


def timm_layout(tower: ImageTower) -> Layout:
    """Return the layout of timm's `VisionTransformer` with a class token that is also what it pools.

    >>> from dpaudit.models.towers import ImageSize, ImageTower
    >>> tower = ImageTower(ImageSize(width=32, depth=1, heads=2, image_size=16, patch_size=8))
    >>> timm_layout(tower).export(tower)["blocks.0.attn.qkv.weight"].shape
    torch.Size([96, 32])
    """
    size = tower.size
    table = (1 + size.side**2, size.width)
    return Layout(
        "the timm vision transformer",
        (
            reshaped("cls_token", "token.weight", ((1, 1, size.width), (1, size.width))),
            reshaped("pos_embed", "positions.weight", ((1, *table), table)),
            patches("patch_embed.proj.weight", "patches.weight", size.patch_size),
            *([same("patch_embed.proj.bias", "patches.bias")] if size.patch_bias else []),
            *(_layer("norm_pre", "first_norm") if size.first_norm else ()),
            *(entry for k in range(size.depth) for entry in _block(k, size)),
            *_layer("norm", "norm"),
            *([] if size.outputs is None else [same("head.weight", "head.weight")]),
            *([same("head.bias", "head.bias")] if size.outputs is not None and size.head_bias else []),
        ),
    )


def _block(k: int, size: ImageSize) -> tuple[Entry, ...]:
    block = f"blocks.{k}"
    kinds = ("weight", "bias") if size.qkv_bias else ("weight",)
    return (
        *_layer(f"{block}.norm1", f"{block}.norm1"),
        *(
            fused(
                f"{block}.attn.qkv.{kind}", [f"{block}.attention.{part}.{kind}" for part in ("query", "key", "value")]
            )
            for kind in kinds
        ),
        *_layer(f"{block}.attn.proj", f"{block}.attention.out"),
        *_layer(f"{block}.norm2", f"{block}.norm2"),
        *_layer(f"{block}.mlp.fc1", f"{block}.widen"),
        *_layer(f"{block}.mlp.fc2", f"{block}.narrow"),
    )


def _layer(theirs: str, ours: str) -> tuple[Entry, ...]:
    return tuple(same(f"{theirs}.{kind}", f"{ours}.{kind}") for kind in ("weight", "bias"))
