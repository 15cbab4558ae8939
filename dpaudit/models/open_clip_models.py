"""open_clip's architectures by name: what a name says, and the model itself, built without a download.

Names and facts are read from the configurations that open_clip's package brings, without importing it: that takes
seconds, and is left to `build`.
"""

from __future__ import annotations

import importlib.util
import json
import logging
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

__all__ = ["Architecture", "architecture", "build", "freeze_unread", "names"]

_FOLDER = "model_configs"


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What an open_clip name says. image_size: side in pixels; context: tokens of every text; vocabulary: tokens.

    tokenizer: whose tokens it reads on Hugging Face's hub, "" for CLIP's byte pairs.
    """

    name: str
    image_size: int
    context: int
    vocabulary: int
    tokenizer: str


@cache
def names() -> tuple[str, ...]:
    """Return every architecture that the installed open_clip knows, in alphabetical order.

    >>> "ViT-B-32" in names()
    True
    """
    return tuple(sorted(path.stem for path in _configurations().glob("*.json")))


def architecture(name: str) -> Architecture:
    """Return what a name says; InputError for a text tower that is only known to Hugging Face's hub.

    >>> found = architecture("ViT-B-32")
    >>> found.image_size, found.context, found.vocabulary, found.tokenizer
    (224, 77, 49408, '')
    """
    known = json.loads((_configurations() / f"{name}.json").read_text(encoding="utf-8"))
    text, image = known["text_cfg"], known["vision_cfg"]
    if "hf_model_name" in text:
        expected = f"a name whose text tower is open_clip's own: {text['hf_model_name']} would have to be downloaded"
        raise InputError("model", name, expected)
    return Architecture(
        name=name,
        image_size=image["image_size"],
        context=text.get("context_length", 77),
        vocabulary=text.get("vocab_size", 49_408),
        tokenizer=text.get("hf_tokenizer_name", ""),
    )


def build(name: str) -> nn.Module:
    """Return a model of this name with fresh weights, on torch's default device, in evaluation mode.

    In that mode batch norms use the constants that they hold, so that no statistics of private records are collected.
    What neither vectors nor temperature depend on is frozen: trained, it would get noise alone.
    """
    import open_clip  # noqa: PLC0415 (takes seconds)

    device = torch.get_default_device()
    with _quiet():
        model: nn.Module = open_clip.create_model(name, load_weights=False, pretrained_text=False, device=device).eval()
    freeze_unread(model, architecture(name))
    return model


def freeze_unread(model: Any, size: Architecture) -> None:
    """Freeze the parameters that no image vector and no text vector depends on, but the temperature."""
    device = next(model.parameters()).device
    image = torch.zeros(1, 3, size.image_size, size.image_size, device=device)
    tokens = torch.zeros(1, size.context, dtype=torch.int64, device=device)
    reached = model.encode_image(image).sum() + model.encode_text(tokens).sum()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(reached, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, found, strict=True):
        parameter.requires_grad_(gradient is not None or parameter is model.logit_scale)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings inside the block: that a model is fresh is what was asked for."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _configurations() -> Path:
    found = importlib.util.find_spec("open_clip")
    folder = Path((found.submodule_search_locations or [""])[0] if found else "") / _FOLDER
    if not folder.is_dir():
        raise InputError("model", "open_clip", "an installed open_clip_torch, or one of micro, nano")
    return folder
