"""Features that are computed once for all probes of a run folder: in files named by the content of model and images."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.errors import DamagedRunError
from dpaudit.runs import content_key, write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from dpaudit.data.examples import Examples
    from dpaudit.plugins import Features

__all__ = ["KeptFeatures", "model_digest"]


@dataclass(frozen=True)
class KeptFeatures:
    """The same features, read from the folder where they were computed before. They must follow from images alone.

    key: what tells these features from others, such as `content_key("embed", model_digest(model))`. A file is readable
    to its owner alone: features tell of private records.
    """

    features: Features
    folder: Path
    key: str

    def __call__(self, examples: Examples, /) -> NDArray[np.float32]:
        """Return features, (n, d)."""
        path = self.folder / f"{content_key(self.key, _digest(examples.images))}.npy"
        if path.exists():
            return _read(path)
        found = self.features(examples)
        stream = io.BytesIO()
        np.save(stream, found, allow_pickle=False)
        write_atomically(path, stream.getvalue(), mode=0o600)
        return found


def model_digest(model: nn.Module) -> str:
    """Return a hash of all weights and buffers of a model, by name."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(_digest(tensor.detach().cpu().float().numpy()).encode())
    return digest.hexdigest()


def _read(path: Path) -> NDArray[np.float32]:
    try:
        return np.asarray(np.load(path, allow_pickle=False), dtype=np.float32)
    except (ValueError, EOFError) as error:
        expected = "features that a probe wrote; without the file it computes them again"
        raise DamagedRunError(str(path), str(error), expected) from error


def _digest(values: NDArray[np.generic]) -> str:
    whole = np.ascontiguousarray(values)
    return hashlib.blake2b(repr((whole.shape, str(whole.dtype))).encode() + whole.tobytes(), digest_size=16).hexdigest()
