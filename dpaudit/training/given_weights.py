"""Weights of step 0 that a file brings: compared with the model key by key, and loaded only if all of them fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import nn

__all__ = ["check_fit", "differing_keys", "load_given"]

_NAMED = 3  # keys that a refusal names


def check_fit(path: Path, model: nn.Module, parts: Sequence[str] = ()) -> None:
    """Raise InputError unless the file holds every tensor of the model, or of these modules of it, in its shape.

    Nothing but the file's header is read, so the model may lie on the `meta` device.
    """
    _expected(path, model, parts)


def load_given(path: Path, model: nn.Module, parts: Sequence[str] = ()) -> None:
    """Load a safetensors file into the model, or into these modules of it; numbers keep the model's types."""
    names, state = _expected(path, model, parts), model.state_dict()
    with safe_open(path, framework="pt") as stored, torch.no_grad():
        for name in names:
            tensor = stored.get_tensor(name)
            if not bool(torch.isfinite(tensor).all()):
                raise InputError("start.weights", f"{path}: {name}", "finite numbers alone")
            state[name].copy_(tensor)


def differing_keys(wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Return in words where a file differs from a model: other shapes, then missing keys, then extra ones.

    >>> differing_keys({"a": (2, 3), "b": (1,)}, {"a": (3, 2), "c": (4,)})
    ['a has shape (3, 2), not (2, 3)', 'b is missing', 'c is extra']
    """
    shapes = [
        f"{name} has shape {tuple(found[name])}, not {shape}"
        for name, shape in wanted.items()
        if name in found and tuple(found[name]) != shape
    ]
    missing = [f"{name} is missing" for name in wanted if name not in found]
    return [*shapes, *missing, *(f"{name} is extra" for name in found if name not in wanted)]


def _expected(path: Path, model: nn.Module, parts: Sequence[str]) -> list[str]:
    """Return the names of the tensors to load."""
    known = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for part in parts:
        if not _chosen(known, (part,)):
            modules = ", ".join(name for name, _ in model.named_children())
            raise InputError("start.parts", part, f"a module of the model, such as {modules}")
    wanted, found = _chosen(known, parts), _chosen(_shapes(path), parts)
    differ = differing_keys(wanted, found)
    if differ:
        more = f"; {len(differ) - _NAMED} more" if len(differ) > _NAMED else ""
        expected = f"the {len(wanted)} tensors of the trainer's model: {'; '.join(differ[:_NAMED])}{more}"
        raise InputError("start.weights", str(path), expected)
    return list(wanted)


def _chosen(shapes: Mapping[str, tuple[int, ...]], parts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    inside = tuple(f"{part}." for part in parts)
    return {name: shape for name, shape in shapes.items() if not parts or name in parts or name.startswith(inside)}


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    try:
        with safe_open(path, framework="pt") as stored:
            return {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise InputError("start.weights", str(path), f"a safetensors file ({str(error).splitlines()[0]})") from error
