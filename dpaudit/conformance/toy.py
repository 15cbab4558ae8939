"""The smallest model that an attack can be tried on: it offers every capability and memorises in a second."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from dpaudit.models.generation import CaptionLikelihoods
from dpaudit.models.images import normalised
from dpaudit.models.initialisation import seeded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpaudit.data.examples import Examples
    from dpaudit.dp.tensors import Batch
    from dpaudit.rng import Rng

__all__ = ["SIDE", "Toy"]

SIDE, _WORDS, _LONGEST, _WIDTH, _SHARED, _OTHERS, _TEMPERATURE = 16, 48, 12, 96, 32, 48, 0.2


class _Towers(nn.Module):
    """Images to features, to classes, and with counted words to one space; words after words, given features."""

    others: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.see, self.classify = nn.Linear(3 * SIDE**2, _WIDTH), nn.Linear(_WIDTH, classes)
        self.show, self.read = nn.Linear(_WIDTH, _SHARED), nn.Linear(_WORDS, _SHARED)
        self.say, self.follow = nn.Linear(_WIDTH, _WORDS), nn.Embedding(_WORDS, _WORDS)
        self.register_buffer("others", torch.rand(_OTHERS, _WORDS).pow(4))

    def features(self, images: Tensor) -> Tensor:
        return torch.tanh(self.see(images.flatten(1)))


@dataclass(frozen=True)
class Toy:
    """A `PerExampleTrainer` that classifies, captions, and embeds text; every record's loss is its own.

    The loss adds the cross-entropies of the label, of the caption's next words, and of the image's own caption among
    fixed others.
    """

    classes: int
    image_size: int = SIDE
    modality: frozenset[str] = frozenset({"image", "caption", "label"})

    def build(self, rng: Rng) -> nn.Module:
        """Return a fresh model."""
        with seeded(rng):
            return _Towers(self.classes)

    def collate(self, examples: Examples, rng: Rng) -> Batch:  # noqa: ARG002 (it draws nothing)
        """Return images, labels and words (n, t), -1 behind a caption's end."""
        labels = np.zeros(len(examples), dtype=np.int64) if examples.labels is None else examples.labels
        return {
            "images": normalised(torch.tensor(examples.images)),
            "labels": torch.from_numpy(labels.copy()),
            "words": _words(examples.captions or ("",) * len(examples)),
        }

    def losses(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return one loss per record, (n,), in nats."""
        towers = cast("_Towers", model)
        features = towers.features(batch["images"])
        classes = cross_entropy(towers.classify(features), batch["labels"], reduction="none")
        seen, own = normalize(towers.show(features), dim=1), _texts(towers, batch["words"])
        others = normalize(towers.read(towers.others), dim=1)
        cosines = torch.cat([(seen * own).sum(dim=1, keepdim=True), seen @ others.T], dim=1) / _TEMPERATURE
        pairs = cross_entropy(cosines, torch.zeros_like(batch["labels"]), reduction="none")
        return classes + pairs - _likelihoods(towers, features, batch["words"]).per_token

    def embed(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return features (n, d)."""
        return cast("_Towers", model).features(normalised(images))

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return logits (n, classes)."""
        logits: Tensor = cast("_Towers", model).classify(self.embed(model, images))
        return logits

    def caption_likelihoods(self, model: nn.Module, images: Tensor, captions: Sequence[str]) -> CaptionLikelihoods:
        """Return the likelihood of each caption given its image."""
        return _likelihoods(cast("_Towers", model), self.embed(model, images), _words(captions))

    def image_vectors(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return unit vectors (n, d) of images."""
        return normalize(cast("_Towers", model).show(self.embed(model, images)), dim=1)

    def text_vectors(self, model: nn.Module, captions: Sequence[str]) -> Tensor:
        """Return unit vectors (n, d) of captions."""
        return _texts(cast("_Towers", model), _words(captions))

    def optimizer(self, parameters: Sequence[nn.Parameter], steps: int) -> torch.optim.Optimizer:  # noqa: ARG002 (a contract)
        """Return Adam."""
        return torch.optim.Adam(parameters, lr=self.learning_rate(0, 1))

    def learning_rate(self, step: int, steps: int) -> float:  # noqa: ARG002 (a contract)
        """Return the rate, the same at every step."""
        return 5e-3


def _words(captions: Sequence[str]) -> Tensor:
    """Return the places of words, (n, t): a hash of each, so that any caption has some."""
    words = np.full((len(captions), _LONGEST), -1, dtype=np.int64)
    for row, caption in enumerate(captions):
        places = [zlib.crc32(word.encode()) % _WORDS for word in caption.split()[:_LONGEST]]
        words[row, : len(places)] = places
    return torch.from_numpy(words)


def _texts(towers: _Towers, words: Tensor) -> Tensor:
    counts = (words.unsqueeze(2) == torch.arange(_WORDS)).float().sum(dim=1)
    return normalize(towers.read(counts), dim=1)


def _likelihoods(towers: _Towers, features: Tensor, words: Tensor) -> CaptionLikelihoods:
    """Every word after the first, given the image and the word before it."""
    before, after = words[:, :-1].clamp(min=0), words[:, 1:]
    each = torch.log_softmax(towers.follow(before) + towers.say(features).unsqueeze(1), dim=2)
    said = torch.gather(each, 2, after.clamp(min=0).unsqueeze(2)).squeeze(2)
    return CaptionLikelihoods(each=said * (after >= 0), counts=(after >= 0).sum(dim=1))
