"""What the weights of step 0 are made from, before anything is decoded or trained: a public data set or a file."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from dpaudit.data.cached import Cached
from dpaudit.data.files import existing
from dpaudit.data.procedural.source import Procedural
from dpaudit.errors import InputError
from dpaudit.training.population import check_image_size, sized

if TYPE_CHECKING:
    from pathlib import Path

    from dpaudit.plugins import Dataset
    from dpaudit.recipes.recipe import LoadedRecipe

__all__ = ["made_by_program", "open_public", "start_fingerprint", "weights_file"]

_DATA = "start.pretrain.data"


def start_fingerprint(loaded: LoadedRecipe) -> str | None:
    """Return a hash of the public data set or of the file; None where the weights of step 0 are drawn."""
    start = loaded.recipe.start
    if start is None:
        return None
    if start.pretrain is not None:
        return sized(start.pretrain.data, loaded.where.at(_DATA), 1).fingerprint()
    with weights_file(loaded).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def weights_file(loaded: LoadedRecipe) -> Path:
    """Return the file that the recipe starts from; InputError where there is none."""
    path = "" if loaded.recipe.start is None else loaded.recipe.start.weights or ""
    try:
        found = existing("start.weights", path)
    except InputError as error:
        raise loaded.where.refusal("start.weights", path, error.expected) from None
    if not found.is_file():
        raise loaded.where.refusal("start.weights", path, "a safetensors file")
    return found


def open_public(loaded: LoadedRecipe, image_size: int) -> Dataset:
    """Return the data set of the public stage, decoded once; InputError where nobody says that it is public."""
    settings = None if loaded.recipe.start is None else loaded.recipe.start.pretrain
    if settings is None:
        raise InputError("start.pretrain", None, "a public stage")
    where, entry = loaded.where.at(_DATA), settings.data
    check_image_size(entry, where, image_size)
    data = sized(entry, where, image_size)
    if not made_by_program(data) and not entry.public:
        expected = f"true, which declares {entry.name} public: this stage is not private"
        raise where.refusal("public", entry.public, expected)
    if settings.batch_size > len(data):
        expected = f"at most the {len(data)} records of start.pretrain.data"
        raise loaded.where.refusal("start.pretrain.batch_size", settings.batch_size, expected)
    return Cached(data)


def made_by_program(data: Dataset) -> bool:
    """Return whether a data set is public by construction: pictures of nothing."""
    return isinstance(data.dataset if isinstance(data, Cached) else data, Procedural)
