"""Weights of open_clip and timm: the same outputs in our modules, and the same bits on the way back."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import open_clip.model
import open_clip.transformer
import pytest
import timm
import torch

from dpaudit.errors import InputError
from dpaudit.models.mae import MaskedAutoencoder, Size, patchify
from dpaudit.models.mae_layout import ENCODER, mae_layout
from dpaudit.models.open_clip_layout import image_layout, joined, parted, text_layout
from dpaudit.models.timm_layout import timm_layout
from dpaudit.models.towers import ImageSize, ImageTower, TextSize, TextTower

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dpaudit.models.layout import Layout, State

IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
TEXTS = torch.tensor([[1, 7, 9, 49, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6, 7, 49]])


def drawn(module: nn.Module) -> nn.Module:
    """Return the module with every weight random: their constructors leave raw tensors at zero or unwritten."""
    generator = torch.Generator().manual_seed(3)
    for parameter in module.parameters():
        parameter.data.normal_(std=0.2, generator=generator)
    return module.eval()


def assert_round_trip(layout: Layout, module: nn.Module, state: State) -> None:
    layout.load(module, state)
    back = layout.export(module)
    assert list(back) == list(dict.fromkeys(back))
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], tensor) and back[name].is_contiguous() for name, tensor in state.items())


def open_clip_image(*, quick: bool = False) -> tuple[ImageTower, Any]:
    activation = open_clip.transformer.QuickGELU if quick else torch.nn.GELU
    theirs = open_clip.transformer.VisionTransformer(
        image_size=32, patch_size=8, width=128, layers=2, heads=2, mlp_ratio=4.0, output_dim=16, act_layer=activation
    )
    size = ImageSize.open_clip(width=128, depth=2, outputs=16, image_size=32, patch_size=8)
    return ImageTower(dataclasses.replace(size, sigmoid_gelu=quick)), drawn(theirs)


def open_clip_text() -> tuple[TextTower, Any]:
    theirs = open_clip.transformer.TextTransformer(
        context_length=8, vocab_size=50, width=32, heads=4, layers=2, output_dim=16
    )
    return TextTower(TextSize(width=32, depth=2, heads=4, outputs=16, vocabulary=50, context=8)), drawn(theirs)


def timm_vit(**changes: Any) -> Any:
    values = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4, "num_classes": 5}
    return drawn(timm.create_model("vit_tiny_patch16_224", pretrained=False, **(values | changes)))


def our_vit(**changes: Any) -> ImageTower:
    values = {"width": 32, "depth": 2, "heads": 4, "outputs": 5, "image_size": 32, "patch_size": 8}
    return ImageTower(ImageSize(**(values | changes)))


@pytest.mark.parametrize("quick", [False, True])
def test_open_clip_image_tower(*, quick: bool) -> None:
    ours, theirs = open_clip_image(quick=quick)
    assert_round_trip(image_layout(ours), ours, theirs.state_dict())
    torch.testing.assert_close(ours.embed(IMAGES), theirs(IMAGES), atol=1e-5, rtol=1e-5)


def test_open_clip_text_tower() -> None:
    ours, theirs = open_clip_text()
    assert_round_trip(text_layout(ours), ours, theirs.state_dict())
    torch.testing.assert_close(ours(TEXTS), theirs(TEXTS), atol=1e-5, rtol=1e-5)


def test_a_whole_clip_in_parts_and_back() -> None:
    theirs: Any = drawn(
        open_clip.model.CLIP(
            embed_dim=16,
            vision_cfg=open_clip.model.CLIPVisionCfg(layers=1, width=128, patch_size=8, image_size=32),
            text_cfg=open_clip.model.CLIPTextCfg(context_length=8, vocab_size=50, width=32, heads=4, layers=1),
        )
    )
    state = theirs.state_dict()
    image, text, both = parted(state)
    images = ImageTower(ImageSize.open_clip(width=128, depth=1, outputs=16, image_size=32, patch_size=8))
    texts = TextTower(TextSize(width=32, depth=1, heads=4, outputs=16, vocabulary=50, context=8))
    image_layout(images).load(images, image)
    text_layout(texts).load(texts, text)
    torch.testing.assert_close(images.embed(IMAGES), theirs.encode_image(IMAGES), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(texts(TEXTS), theirs.encode_text(TEXTS), atol=1e-5, rtol=1e-5)
    back = joined(image_layout(images).export(images), text_layout(texts).export(texts), both)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())
    theirs.load_state_dict(back)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({}, {}),
        ({"qkv_bias": False}, {"qkv_bias": False}),
        ({"num_classes": 0}, {"outputs": None}),
        ({"pre_norm": True, "patch_size": 16}, {"first_norm": True, "patch_bias": False, "patch_size": 16}),
    ],
)
def test_timm_vision_transformer(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    model, tower = timm_vit(**theirs), our_vit(**ours)
    assert_round_trip(timm_layout(tower), tower, model.state_dict())
    torch.testing.assert_close(tower(IMAGES), model.forward_features(IMAGES), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(tower.embed(IMAGES), model(IMAGES), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("biased", [False, True])
def test_the_encoder_of_a_masked_autoencoder(*, biased: bool) -> None:
    size = Size(width=32, depth=2, heads=4, decoder_width=16, image_size=32, patch_size=8, qkv_bias=biased)
    model, tower = drawn(MaskedAutoencoder(size)), our_vit(outputs=None, qkv_bias=biased)
    state = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(ENCODER)}
    assert (f"{ENCODER}blocks.0.attention.qkv.bias" in state) == biased
    assert_round_trip(mae_layout(tower), tower, state)
    every: Any = torch.arange(size.tokens).expand(len(IMAGES), -1)
    theirs = model.get_submodule("encoder")(patchify(IMAGES, 8), every)
    torch.testing.assert_close(tower(IMAGES), theirs, atol=1e-5, rtol=1e-5)


def test_loaded_weights_are_copies() -> None:
    model, tower = timm_vit(), our_vit()
    timm_layout(tower).load(tower, model.state_dict())
    before = tower.embed(IMAGES)
    exported = timm_layout(tower).export(tower)
    for tensor in [*model.state_dict().values(), *exported.values()]:
        tensor.zero_()
    assert torch.equal(tower.embed(IMAGES), before)


def test_wrong_shapes_name_the_first_three_tensors() -> None:
    tower = our_vit()
    with pytest.raises(InputError) as caught:
        timm_layout(tower).load(tower, timm_vit(embed_dim=64).state_dict())
    assert str(caught.value) == (
        "weights = '31 of 32 tensors of another shape': expected the shapes of the timm vision transformer at this "
        "size, but cls_token is (1, 1, 64) and not (1, 1, 32), pos_embed is (1, 17, 64) and not (1, 17, 32), "
        "patch_embed.proj.weight is (64, 3, 8, 8) and not (32, 3, 8, 8) and 28 more"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 1}, "without blocks.1.norm1.weight, blocks.1.norm1.bias, blocks.1.attn.qkv.weight and 9 more"),
        ({"depth": 3}, "with blocks.2.norm1.weight, blocks.2.norm1.bias, blocks.2.attn.qkv.weight and 9 more"),
        ({"init_values": 0.1}, "with blocks.0.ls1.gamma, blocks.0.ls2.gamma, blocks.1.ls1.gamma and 1 more"),
        ({"global_pool": "avg"}, "without norm.weight, norm.bias"),
    ],
)
def test_weights_of_another_model_are_refused(changes: dict[str, Any], message: str) -> None:
    tower = our_vit()
    before: dict[str, Tensor] = {name: tensor.clone() for name, tensor in tower.state_dict().items()}
    with pytest.raises(InputError, match=message):
        timm_layout(tower).load(tower, timm_vit(**changes).state_dict())
    assert all(torch.equal(before[name], tensor) for name, tensor in tower.state_dict().items())
