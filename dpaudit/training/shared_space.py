"""A model as probes of images and texts see it: unit vectors of both, in batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from dpaudit.dp.tensors import home
from dpaudit.training.signals import in_batches

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from dpaudit.data.examples import Examples
    from dpaudit.plugins import EmbedsText, Features

__all__ = ["TwoTowers"]

_BATCH = 256


@dataclass(frozen=True)
class TwoTowers:
    """A `dpaudit.plugins.SharedSpace`: a trainer that embeds text, with one model of it.

    kept: where the vectors of images are taken from, None = computed each time.
    """

    trainer: EmbedsText
    model: nn.Module
    kept: Features | None = None

    def __call__(self, examples: Examples, /) -> NDArray[np.float32]:
        """Return unit vectors of images, (n, d)."""
        if self.kept is not None:
            return self.kept(examples)
        device = home(self.model)
        return in_batches(
            lambda part: self.trainer.image_vectors(self.model, torch.tensor(part.images, device=device)), examples
        )

    def texts(self, captions: Sequence[str], /) -> NDArray[np.float32]:
        """Return unit vectors of texts, (n, d); equal texts are read once."""
        distinct = list(dict.fromkeys(captions))
        parts = [distinct[at : at + _BATCH] for at in range(0, len(distinct), _BATCH)]
        with torch.no_grad():
            found = torch.cat([self.trainer.text_vectors(self.model, part) for part in parts])
        rows = {text: row for row, text in enumerate(distinct)}
        vectors: NDArray[np.float32] = found.float().cpu().numpy()
        return vectors[[rows[caption] for caption in captions]]
