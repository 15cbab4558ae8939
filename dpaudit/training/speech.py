"""A model as probes of captions see it: how well a caption matches, what it says, and which of several it says."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from dpaudit.dp.tensors import home
from dpaudit.errors import DpauditError
from dpaudit.plugins import Captions, ChoosesCaption, EmbedsText, Features
from dpaudit.training import signals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from dpaudit.data.examples import Examples
    from dpaudit.plugins import Trainer

__all__ = ["Speaker"]

_BATCH = 256


@dataclass(frozen=True)
class Speaker:
    """A `dpaudit.plugins.Speech`: a trainer that reads captions, with one model of it, and its features."""

    trainer: Trainer
    model: nn.Module
    features: Features

    def __call__(self, examples: Examples, /) -> NDArray[np.float32]:
        """Return features, (n, d)."""
        return self.features(examples)

    def match(self, examples: Examples, captions: Sequence[str], /) -> NDArray[np.float64]:
        """Return how well each image and its caption match, (n,): the cosine, or mean log-probability per token."""
        asked = dataclasses.replace(examples, captions=tuple(captions), other_captions=None)
        if isinstance(self.trainer, EmbedsText):
            seen, said = (read(self.trainer, self.model, asked) for read in (signals.vectors, signals.text_vectors))
            return np.asarray(np.einsum("nd,nd->n", seen, said, dtype=np.float64))
        tokens = signals.token_log_likelihoods(self.trainer, self.model, asked).astype(np.float64)
        return np.asarray(np.nanmean(tokens, axis=1))

    def says(self, examples: Examples, beams: int, /) -> list[str]:
        """Return one caption per image; beams: beginnings that are kept, 1 = greedy."""
        trainer = self.trainer
        if not isinstance(trainer, Captions):
            raise DpauditError(f"{type(trainer).__name__} does not say captions")
        return [said for images in self._images(examples) for said in trainer.caption(self.model, images, beams)]

    def chooses(self, examples: Examples, captions: Sequence[str], /) -> NDArray[np.int64]:
        """Return which of the captions is said of each image, (n,)."""
        trainer = self.trainer
        if not isinstance(trainer, ChoosesCaption):
            raise DpauditError(f"{type(trainer).__name__} does not choose among captions")
        chosen = [trainer.choose_caption(self.model, images, captions) for images in self._images(examples)]
        return np.asarray(torch.cat(chosen).cpu().numpy(), dtype=np.int64)

    def _images(self, examples: Examples) -> Iterator[Tensor]:
        device = home(self.model)
        for start in range(0, len(examples), _BATCH):
            yield torch.tensor(examples.images[start : start + _BATCH], device=device)
