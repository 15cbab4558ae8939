"""DP-Cap: an image captioner trained by DP-AdamW (Sander, Yu, Sanjabi et al. 2024, arXiv 2403.02506).

The loss of an image-caption pair is the mean cross-entropy of its caption's next tokens, so it depends on that pair
alone and per-example clipping bounds the sensitivity. The features are what the decoder reads of an image. The
published system starts from weights trained on synthetic images.
"""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from dpaudit.data.captions import drawn_captions
from dpaudit.data.tokens.named import open_tokenizer
from dpaudit.data.tokens.tokenizer import decode, encode
from dpaudit.errors import InputError
from dpaudit.models.captioner import SIZES, Captioner, Size, caption_losses
from dpaudit.models.generation import (
    IGNORED,
    CaptionLikelihoods,
    beam_search,
    greedy,
    greedy_among,
    token_log_likelihoods,
)
from dpaudit.models.images import cropped, draw_crops, normalised, pixels_of
from dpaudit.models.initialisation import seeded
from dpaudit.models.mae import MaskedAutoencoder
from dpaudit.models.mae_layout import ENCODER, mae_layout
from dpaudit.optimisation import Cosine, check_published_adamw

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch.optim import Optimizer

    from dpaudit.data.examples import Examples
    from dpaudit.data.tokens.tokenizer import Tokenizer
    from dpaudit.dp.tensors import Batch
    from dpaudit.rng import Rng

__all__ = ["DPCap"]

_FEATURES = ("memory", "blocks")


@dataclass(frozen=True, kw_only=True)
class DPCap:
    """Captioning whose loss is a sum over image-caption pairs.

    size: micro, mini, nano, tiny, small, base or large. tokenizer: clip-bpe, scenes, "words: cat dog" (these words
    alone, public as the recipe is), or a folder of Hugging Face's. vocabulary: how many tokens it must know, 0 = as
    many as it does; with a number the folder is first opened when a caption is read, so a model can be built, and its
    cost forecast, where the folder is not. features: memory, the mean token that the decoder reads, as in the published
    few-shot probe; or blocks, the mean patch of every encoder block, as in ViP's linear probe.
    image_size, patch_size, context: pixels and tokens; 0 = as the size was published (16, 4 and 16 for micro, 32, 4 and
    24 for mini, else 224, 16 and 40); a longer caption is cut. tied_vocabulary: one matrix for embedding and head.
    smallest_crop: least area of a random crop, 1 = none; flip: swap left and right by a coin, which may falsify a
    caption. warmup: steps of linear ramp, 0 = none; cosine_steps: steps until the rate would be 0, 0 = all.

    The defaults suit micro at a few hundred steps. DP-Cap had a peak of 5.12e-4, 2,000 steps of warm-up, 10,000
    cosine_steps of which 5,708 were taken, crops from 0.2, flips, and the folder of bert-base-uncased.

    >>> DPCap().learning_rate(0, 100) < DPCap().learning_rate(20, 100) <= DPCap().peak_learning_rate
    True
    """

    size: str = "micro"
    tokenizer: str = "clip-bpe"
    vocabulary: int = 0
    image_size: int = 0
    patch_size: int = 0
    context: int = 0
    tied_vocabulary: bool = False
    features: str = "memory"
    smallest_crop: float = 1.0
    flip: bool = False
    peak_learning_rate: float = 2e-3
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.005
    warmup: int = 15
    cosine_steps: int = 0

    def __post_init__(self) -> None:
        published = _published(self.size)
        for name in ("image_size", "patch_size", "context"):
            object.__setattr__(self, name, getattr(self, name) or getattr(published, name))
        _check_geometry(self)
        check_published_adamw(self.peak_learning_rate, self.betas, self.weight_decay, self.warmup)
        if self.cosine_steps != 0 and self.cosine_steps <= self.warmup:
            raise InputError("cosine_steps", self.cosine_steps, f"0, or more than warmup = {self.warmup}")
        if self.features not in _FEATURES:
            raise InputError("features", self.features, " or ".join(_FEATURES))
        if self.vocabulary < 0:
            raise InputError("vocabulary", self.vocabulary, "a number of tokens, or 0 for the tokenizer's own")
        if not self.vocabulary:
            _ = self.words  # an incomplete folder is refused with the recipe's line

    @property
    def modality(self) -> frozenset[str]:
        """Return what it reads of a record: image and caption."""
        return frozenset({"image", "caption"})

    @property
    def architecture(self) -> Size:
        """Return widths, depths and geometry of the model."""
        return dataclasses.replace(
            SIZES[self.size], image_size=self.image_size, patch_size=self.patch_size, context=self.context
        )

    @cached_property
    def words(self) -> Tokenizer:
        """Return the tokenizer."""
        words = open_tokenizer(self.tokenizer)
        if self.vocabulary not in {0, words.vocabulary}:
            raise InputError("vocabulary", self.vocabulary, f"{words.vocabulary}, as {self.tokenizer} has, or 0")
        return words

    def build(self, rng: Rng) -> nn.Module:
        """Return a fresh model on the CPU, its weights drawn from `rng` alone."""
        with seeded(rng):
            vocabulary = self.vocabulary or self.words.vocabulary
            return Captioner(self.architecture, vocabulary=vocabulary, tied=self.tied_vocabulary)

    def take_over(self, model: nn.Module, other: nn.Module) -> None:
        """Begin the image encoder at a ViP's, as DP-Cap did; bridge and decoder stay as drawn."""
        if not isinstance(other, MaskedAutoencoder):
            raise InputError("start.trainer.name", type(other).__name__, "vip, whose encoder DP-Cap's can begin at")
        tower = cast("Captioner", model).encoder
        if other.size.heads != tower.size.heads:
            raise InputError("start.trainer.heads", other.size.heads, f"{tower.size.heads}, as DP-Cap's encoder has")
        if other.size.qkv_bias:
            raise InputError("start.trainer.qkv_bias", True, "false: DP-Cap's encoder has no such bias")
        state = {name: tensor for name, tensor in other.state_dict().items() if name.startswith(ENCODER)}
        try:
            mae_layout(tower).load(tower, state)
        except InputError as error:
            raise InputError("start.trainer", error.value, error.expected) from error

    def collate(self, examples: Examples, rng: Rng) -> Batch:
        """Return images (n, 3, S, S) float32, tokens and targets (n, context - 1) int64.

        targets: the token that follows each token of the caption, -100 behind its end. Of several captions of a record
        one is drawn; that, and a crop, are keyed by (rng, id).
        """
        images = normalised(pixels_of(examples, self.image_size))
        if self.smallest_crop < 1 or self.flip:
            crops = draw_crops(rng, examples.ids, smallest=self.smallest_crop, mirror=self.flip)
            images = cropped(images, crops)
        return {"images": images, **self._encoded(_captions(examples, rng), examples.ids.tolist())}

    def losses(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return each caption's mean cross-entropy over its own tokens after the first, (n,), in nats."""
        logits: Tensor = model(batch["images"], batch["tokens"])
        return caption_losses(logits.float(), batch["targets"], pad=IGNORED)

    def embed(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return the features, (n, decoder width) of the memory or (n, depth * encoder width) of the blocks."""
        captioner = cast("Captioner", model)
        read = captioner.block_features if self.features == "blocks" else captioner.features
        return read(normalised(images))

    def optimizer(self, parameters: Sequence[nn.Parameter], steps: int) -> Optimizer:
        """Return AdamW; weight decay acts on every tensor, as in the published code."""
        rate = self.learning_rate(0, steps)
        return torch.optim.AdamW(parameters, lr=rate, betas=self.betas, weight_decay=self.weight_decay)

    def learning_rate(self, step: int, steps: int) -> float:
        """Return the rate of step 0, 1, ...: a linear ramp, then a half-cosine."""
        schedule = Cosine(warmup=self.warmup, total=self.cosine_steps or None)
        return self.peak_learning_rate * schedule.factor(step, steps)

    @property
    def optimisation_options(self) -> frozenset[str]:
        """Return the options that a recipe's own optimizer makes void."""
        return frozenset({"peak_learning_rate", "betas", "weight_decay", "warmup", "cosine_steps"})

    def caption(self, model: nn.Module, images: Tensor, beams: int = 1) -> list[str]:
        """Return what the model says of uint8 images (n, 3, S, S): greedily, or the best of a beam search."""
        if beams < 1:
            raise InputError("beams", beams, "1 (greedy) or more beginnings to keep")
        captioner, seen = cast("Captioner", model), normalised(images)
        with torch.no_grad():
            if beams == 1:
                tokens = greedy(captioner, seen, start=self.words.start, end=self.words.end)
            else:
                tokens = beam_search(captioner, seen, start=self.words.start, end=self.words.end, beams=beams)
        return decode(self.words, tokens[:, 1:].tolist())

    def caption_likelihoods(self, model: nn.Module, images: Tensor, captions: Sequence[str]) -> CaptionLikelihoods:
        """Return the likelihood of each caption given its uint8 image (n, 3, S, S); a grey image gives the prior."""
        encoded = self._encoded(captions, (f"image {row}" for row in range(len(captions))))
        tokens, targets = (encoded[name].to(images.device) for name in ("tokens", "targets"))
        with torch.no_grad():
            return token_log_likelihoods(cast("Captioner", model), normalised(images), tokens, targets)

    def choose_caption(self, model: nn.Module, images: Tensor, captions: Sequence[str]) -> Tensor:
        """Return which caption the model says of each uint8 image (n, 3, S, S), (n,); the others are not open to it."""
        rows = encode(self.words, captions, captions, self.context).tokens
        read: dict[tuple[int, ...], str] = {}
        for row, caption in zip(rows.tolist(), captions, strict=True):
            if tuple(row) in read:
                expected = (
                    f"text that reads otherwise than {read[tuple(row)]!r} by {self.tokenizer}, in {self.context} tokens"
                )
                raise InputError("caption", caption, expected)
            read[tuple(row)] = caption
        tokens = torch.from_numpy(rows).to(images.device)
        with torch.no_grad():
            return greedy_among(cast("Captioner", model), normalised(images), tokens)

    def _encoded(self, captions: Sequence[str], ids: Iterable[str]) -> Batch:
        encoded = encode(self.words, captions, ids, self.context)
        tokens, mask = torch.from_numpy(encoded.tokens), torch.from_numpy(encoded.mask)
        return {"tokens": tokens[:, :-1], "targets": tokens.where(mask, IGNORED)[:, 1:]}


def _captions(examples: Examples, rng: Rng) -> tuple[str, ...]:
    if examples.captions is None:
        raise InputError("captions", None, "data with captions: DP-Cap learns to say what an image shows")
    return drawn_captions(rng, examples)


def _published(size: str) -> Size:
    if size not in SIZES:
        nearest = difflib.get_close_matches(size, SIZES, n=2, cutoff=0.3) or list(SIZES)
        raise InputError("size", size, f"one of {', '.join(SIZES)} (nearest: {', '.join(nearest)})")
    return SIZES[size]


def _check_geometry(options: DPCap) -> None:
    if options.patch_size < 1:
        raise InputError("patch_size", options.patch_size, "a positive number of pixels")
    if options.image_size < 1 or options.image_size % options.patch_size:
        raise InputError("image_size", options.image_size, f"a positive multiple of patch_size = {options.patch_size}")
    if options.context < 3:
        raise InputError("context", options.context, "at least 3 tokens: start, one piece of text, end")
    if not 0 < options.smallest_crop <= 1:
        raise InputError("smallest_crop", options.smallest_crop, "a share of the image above 0, at most 1")
