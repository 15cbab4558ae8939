"""DP-CLIP: contrastive learning of images and captions whose batch gradient is clipped whole.

Huang, Liu, Nakada, Zhang, Zhang 2023 (arXiv 2306.08173); in groups, DP-GCL (arXiv 2604.26467). The loss couples all
pairs of a batch, so no pair has a gradient of its own: the gradient of the batch's loss, summed over its pairs, is
clipped to C, once. (The paper clips that of the mean: its C is this one over the number of pairs.)

Sensitivity. For any batch B the clipped gradient u(B) is some vector of norm at most C, and a pair that comes may turn
it to any other, for its vectors stand in the loss of every pair: u(B) = v and u(B + x) = -v with |v| = C happen. So
|u(B) - u(B')| reaches 2C for neighbours of either adjacency. C, as published, would be right only if nothing but the
pair itself were in the batch. (Per-record clipping has C under add-remove because the other terms cancel. Here none
does.) With k groups a pair's group is drawn for that pair alone, so a pair that comes or goes changes one of k terms,
and the sum by 2C at most. Chunks of the batch in its order would move every pair behind the new one to another group.
Replace-one: the pair in place of another is in the other's group, or in one drawn like it, for the groups do not know
what is in a pair and are not released. What the two neighbours release is then the same mixture over that group, of
terms 2C apart at most, and mixing makes nothing easier to tell apart (joint convexity).
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from dpaudit.data.tokens.named import open_tokenizer
from dpaudit.data.tokens.tokenizer import encode
from dpaudit.dp.clipping import clip_factors, record_norms, zero_sums
from dpaudit.dp.tensors import trainable
from dpaudit.errors import InputError
from dpaudit.models import open_clip_models
from dpaudit.models.clip import SIZES, Clip
from dpaudit.models.contrastive import (
    clamped,
    contrastive,
    in_parts,
    info_nce,
    loss_gradients,
    pair_losses,
    vectors_of,
)
from dpaudit.models.images import NORMALISATIONS, cropped, draw_crops, normalised, pixels_of
from dpaudit.models.initialisation import seeded
from dpaudit.models.turning_pairs import turning_encoder, turning_pairs
from dpaudit.optimisation import CappedCosine, check_published_adamw

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch.optim import Optimizer

    from dpaudit.data.examples import Examples
    from dpaudit.data.tokens.tokenizer import Tokenizer
    from dpaudit.dp.tensors import Batch, Gradients
    from dpaudit.mechanism import Adjacency
    from dpaudit.models.contrastive import Encode
    from dpaudit.models.open_clip_models import Architecture
    from dpaudit.rng import Rng

__all__ = ["DPClip"]

_FEWEST = 2  # pairs that can be told from each other
_HALF = (
    "as published, the noise is for a sensitivity of C; but one pair may turn the whole clipped gradient around, "
    "from norm C to norm C the other way, which is 2C"
)


@dataclass(frozen=True, kw_only=True)
class DPClip:
    """Contrastive image-text training with one clip per batch; sensitivity 2C.

    model: micro or nano (ours), or any name of open_clip, built without weights and without a download. tokenizer:
    clip-bpe, scenes, "words: cat dog" or a Hugging Face folder such as ./siglip; empty = the model's own. groups: the
    batch's gradient is that of so many random groups, each clipped to C (DP-GCL); 1 = DP-CLIP. as_published: declare a
    sensitivity of C, which is wrong, and is told so. normalisation: of pixels, clip, imagenet, half or none.
    smallest_crop: least area of a random crop, 1 = none; flip: swap left and right by a coin, which may falsify a
    caption. micro_batch: pairs in the towers at a time, which changes memory, not the gradient. warmup: steps of linear
    ramp, 0 = none.

    The temperature is trained inside the clip. The defaults suit micro at a few hundred steps.

    >>> DPClip().sensitivity(0.5, "add-remove"), DPClip(as_published=True).sensitivity(0.5, "add-remove")
    (1.0, 0.5)
    """

    model: str = "micro"
    tokenizer: str = ""
    groups: int = 1
    as_published: bool = False
    normalisation: Literal["clip", "imagenet", "half", "none"] = "clip"
    smallest_crop: float = 1.0
    flip: bool = False
    micro_batch: int = 256
    peak_learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.005
    warmup: int = 15

    def __post_init__(self) -> None:
        _check_model(self.model)
        _check_options(self)
        check_published_adamw(self.peak_learning_rate, self.betas, self.weight_decay, self.warmup)
        if self.tokenizer or not self._theirs or not self._theirs.tokenizer:
            _ = self.words  # an incomplete folder is refused with the recipe's line

    @property
    def image_size(self) -> int:
        """Return the side of its square input images, in pixels."""
        return self._theirs.image_size if self._theirs else SIZES[self.model].image_size

    @property
    def context(self) -> int:
        """Return how many tokens every caption has; a longer one is cut."""
        return self._theirs.context if self._theirs else SIZES[self.model].context

    @property
    def modality(self) -> frozenset[str]:
        """Return what it reads of a record: image and caption."""
        return frozenset({"image", "caption"})

    @cached_property
    def words(self) -> Tokenizer:
        """Return the tokenizer."""
        theirs = self._theirs
        if theirs and theirs.tokenizer and not self.tokenizer:
            expected = f"a folder with the tokenizer of {theirs.tokenizer}, whose tokens {self.model} reads"
            raise InputError("tokenizer", self.tokenizer, expected)
        words = open_tokenizer(self.tokenizer or "clip-bpe")
        if theirs and words.vocabulary > theirs.vocabulary:
            raise InputError(
                "tokenizer", self.tokenizer, f"one of at most {theirs.vocabulary} tokens, for {self.model}"
            )
        return words

    def build(self, rng: Rng) -> nn.Module:
        """Return a fresh model, its weights drawn from `rng` alone, in evaluation mode: its loss draws nothing."""
        with seeded(rng):
            if self._theirs:
                return open_clip_models.build(self.model)
            return Clip(SIZES[self.model], vocabulary=self.words.vocabulary).eval()

    def collate(self, examples: Examples, rng: Rng) -> Batch:
        """Return images (n, 3, S, S) float32, tokens (n, context) int64 and, in groups, each pair's group (n,) int64.

        Crop and group of a pair are keyed by (rng, id): who else is in the batch does not matter.
        """
        images = normalised(pixels_of(examples, self.image_size), NORMALISATIONS[self.normalisation])
        if self.smallest_crop < 1 or self.flip:
            crops = draw_crops(rng, examples.ids, smallest=self.smallest_crop, mirror=self.flip)
            images = cropped(images, crops)
        batch = {"images": images, "tokens": self._tokens(_captions(examples), examples.ids.tolist())}
        if self.groups == 1:
            return batch
        drawn = rng.child("group").uniform(examples.ids, 1)[:, 0] * self.groups
        return {**batch, "group": torch.from_numpy(drawn.astype("int64"))}

    def bounded_sum(self, model: nn.Module, batch: Batch, clip: float) -> Gradients:
        """Return the gradient of the batch's summed loss, clipped to `clip`; of several groups, the sum of theirs.

        A pair alone has nothing to be told from: its loss is 0.
        """
        return self._bounded(model, batch, clip, vectors_of(contrastive(model)))

    def sensitivity(self, clip: float, adjacency: Adjacency) -> float:  # noqa: ARG002 (the same under each)
        """Return 2C under every adjacency, as derived above; C where the published constant is asked for."""
        return clip if self.as_published else 2 * clip

    def unsound(self, adjacency: Adjacency) -> str | None:  # noqa: ARG002 (the same under each)
        """Return why C is no bound, where C is declared."""
        return _HALF if self.as_published else None

    def neighbouring_sums(
        self,
        model: nn.Module,
        batch: Batch | None,  # noqa: ARG002 (the shared pairs are made up too)
        clip: float,
        adjacency: Adjacency,
    ) -> tuple[Gradients, Gradients]:
        """Return the sums of two neighbouring batches of made-up pairs: one clipped gradient, and its opposite."""
        scale = contrastive(model).logit_scale
        made_up = turning_pairs(scale.detach(), clip)
        first = _joined(made_up.kept, made_up.up) if adjacency == "replace-one" else made_up.kept
        second, encode = _joined(made_up.kept, made_up.down), turning_encoder(scale)
        return self._bounded(model, first, clip, encode), self._bounded(model, second, clip, encode)

    def record_losses(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return each pair's cross-entropy among its group, the mean of both ways, (n,), in nats."""
        clip = contrastive(model)
        encode, scale = vectors_of(clip), clamped(clip.logit_scale)
        found = [encode(part) for part in in_parts(batch, self.micro_batch)]
        images, texts = (torch.cat(vectors) for vectors in zip(*found, strict=True))
        losses = torch.zeros(len(images), device=images.device)
        for rows in self._rows(batch):
            losses[rows] = pair_losses(images[rows], texts[rows], scale).float()
        return losses

    def embed(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return what the image tower says of uint8 images (n, 3, S, S), (n, d), of any length."""
        return contrastive(model).encode_image(normalised(images, NORMALISATIONS[self.normalisation]))

    def image_vectors(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return unit vectors (n, d) of uint8 images (n, 3, S, S)."""
        return normalize(self.embed(model, images), dim=-1)

    def text_vectors(self, model: nn.Module, captions: Sequence[str]) -> Tensor:
        """Return unit vectors (n, d) of captions."""
        tokens = self._tokens(captions, (f"text {number}" for number in range(len(captions))))
        device = contrastive(model).logit_scale.device
        return normalize(contrastive(model).encode_text(tokens.to(device)), dim=-1)

    def optimizer(self, parameters: Sequence[nn.Parameter], steps: int) -> Optimizer:
        """Return AdamW."""
        rate = self.learning_rate(0, steps)
        return torch.optim.AdamW(parameters, lr=rate, betas=self.betas, weight_decay=self.weight_decay)

    def learning_rate(self, step: int, steps: int) -> float:
        """Return the rate of step 0, 1, ...: the smaller of a linear ramp and a half-cosine over the run."""
        return self.peak_learning_rate * CappedCosine(warmup=self.warmup).factor(step, steps)

    @property
    def optimisation_options(self) -> frozenset[str]:
        """Return the options that a recipe's own optimizer makes void."""
        return frozenset({"peak_learning_rate", "betas", "weight_decay", "warmup"})

    @cached_property
    def _theirs(self) -> Architecture | None:
        return None if self.model in SIZES else open_clip_models.architecture(self.model)

    def _tokens(self, captions: Sequence[str], ids: Iterable[str]) -> Tensor:
        return torch.from_numpy(encode(self.words, captions, ids, self.context).tokens)

    def _rows(self, batch: Batch) -> list[Tensor]:
        """Return the rows of each group of pairs, in order."""
        if "group" not in batch:
            return [torch.arange(len(next(iter(batch.values()))))]
        return [(batch["group"] == group).nonzero()[:, 0] for group in range(self.groups)]

    def _bounded(self, model: nn.Module, batch: Batch, clip: float, encode: Encode) -> Gradients:
        total, parameters, scale = zero_sums(model), trainable(model), contrastive(model).logit_scale

        def loss(images: Tensor, texts: Tensor) -> Tensor:
            return info_nce(images, texts, clamped(scale))

        for rows in self._rows(batch):
            if len(rows) < _FEWEST:
                continue
            group = {name: tensor[rows.to(tensor.device)] for name, tensor in batch.items()}
            _, gradients = loss_gradients(encode, loss, parameters, group, self.micro_batch)
            factor = len(rows) * _factor(gradients, clip / len(rows))
            for name, gradient in gradients.items():
                total[name] += factor * gradient
        return total


def _factor(gradients: Gradients, clip: float) -> float:
    norm = record_norms(gradient.unsqueeze(0) for gradient in gradients.values())
    return float(clip_factors(norm, clip))


def _joined(first: Batch, second: Batch) -> Batch:
    return {name: torch.cat([tensor, second[name]]) for name, tensor in first.items()}


def _captions(examples: Examples) -> tuple[str, ...]:
    if examples.captions is None:
        raise InputError("captions", None, "data with captions: DP-CLIP learns which caption an image has")
    return examples.captions


def _check_model(name: str) -> None:
    if name in SIZES or name in open_clip_models.names():
        return
    known = {each.lower(): each for each in (*SIZES, *open_clip_models.names())}
    found = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.3)
    nearest = ", ".join(known[each] for each in found) or ", ".join(SIZES)
    raise InputError("model", name, f"{' or '.join(SIZES)}, or a model of open_clip (nearest: {nearest})")


def _check_options(options: DPClip) -> None:
    if options.groups < 1:
        raise InputError("groups", options.groups, "1 (the whole batch), or more random groups")
    if options.micro_batch < 1:
        raise InputError("micro_batch", options.micro_batch, "a positive number of pairs")
    if not 0 < options.smallest_crop <= 1:
        raise InputError("smallest_crop", options.smallest_crop, "a share of the image above 0, at most 1")
