"""Logit-DP: private contrastive learning by clipping pair gradients (Kong et al. 2023, arXiv 2310.03104).

The gradient of every similarity in a batch is clipped to B, and the loss's slopes recombine them. Noise is scaled to a
bound on how far one pair can move that sum, whatever batch was drawn (docs/statistics/pairs.md). Beside it the naive
baseline of the same paper, which clips the gradient of the whole batch; with privacy.epsilon = inf neither clips.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Literal, assert_never, cast

import torch

from dpaudit.dp.clipping import clip_factors, record_norms, zero_sums
from dpaudit.dp.pairs import Towers, clipped_pair_sum, linear_pair_norms
from dpaudit.errors import InputError
from dpaudit.models.images import cropped, draw_crops, normalised
from dpaudit.models.initialisation import seeded
from dpaudit.models.pair_losses import InfoNCE, Sigmoid, SpreadOut
from dpaudit.models.pair_towers import LEAST_LENGTH, PairTowers, linear, resnet18, small_convolutions
from dpaudit.optimisation import check_published_adamw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn
    from torch.optim import Optimizer

    from dpaudit.data.examples import Examples
    from dpaudit.dp.tensors import Batch, Gradients
    from dpaudit.mechanism import Adjacency
    from dpaudit.models.pair_losses import PairLoss
    from dpaudit.rng import Rng

__all__ = ["LogitDP"]

_WIDTHS = {"small": 8, "resnet18": 1000, "linear": 8}
_LEAST_TEMPERATURE = 0.003  # e^(2 / temperature) is a float64 down to here
_MOST_CANARY_PAIRS = 1024  # of the step audit's batch, which grows until it is near the bound for any number
_NEAR = 0.99
_CLIPPED = 2.0  # norm of a canary's pair gradients, in clip norms: the trainer's own clipping has to act


@dataclass(frozen=True, kw_only=True)
class LogitDP:
    """Contrastive learning from pairs of images, private although the loss couples all pairs of a batch.

    method: logit-dp clips the gradient of every similarity; naive-dp clips that of the whole batch. loss: infonce,
    spread-out, or sigmoid, whose negatives are capped so that the sensitivity is O(1) at any temperature. temperature:
    fixed, for a learned one bounds nothing; spread-out has none. two_sided: infonce also the other way round, as CLIP.
    repulsion: weight of other pairs in spread-out and sigmoid; bias: of sigmoid's logits.
    model: small (8, 16, 32 channels), resnet18 without batch norm, or linear (a map of the pixels). embedding: its
    width, 0 = as published: 8, 1000 for resnet18. norm: behind resnet18's convolutions. towers: one for both images of
    a pair, or one each.
    Records are pairs of images (data.pairs), or single ones of which two crops are drawn: smallest_crop, the least area
    of a crop, must then be below 1; flip: swap left and right by a coin.
    as_published: noise by the constant of the public code, which is too small; published_batch: the batch size in it.

    The public code takes Adam at 1e-3, temperature 0.2 and batches of 100. At that temperature no batch below 11,014
    pairs gains anything over naive-dp, so 1 is the default here.

    >>> round(LogitDP().sensitivity(1.0, "add-remove"), 2), LogitDP(loss="sigmoid").sensitivity(1.0, "add-remove") < 4
    (16.78, True)
    """

    method: Literal["logit-dp", "naive-dp"] = "logit-dp"
    loss: Literal["infonce", "spread-out", "sigmoid"] = "infonce"
    temperature: float | Literal["learned"] = 1.0
    two_sided: bool = False
    repulsion: float = 1.0
    bias: float = 0.0
    model: Literal["small", "resnet18", "linear"] = "small"
    embedding: int = 0
    norm: Literal["none", "group"] = "none"
    towers: Literal["shared", "dual"] = "shared"
    image_size: int = 32
    smallest_crop: float = 1.0
    flip: bool = False
    as_published: bool = False
    published_batch: int = 100
    peak_learning_rate: float = 1e-3
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _check_loss(self)
        _check_model(self)
        _check_published(self)
        object.__setattr__(self, "embedding", self.embedding or _WIDTHS[self.model])
        check_published_adamw(self.peak_learning_rate, (0.9, 0.999), self.weight_decay, 0)

    @property
    def modality(self) -> frozenset[str]:
        """Return what it reads of a record: the two images of a pair, or the one that is cropped twice."""
        return frozenset({"image"})

    @cached_property
    def pair_loss(self) -> PairLoss:
        """Return the loss as a function of all similarities."""
        match self.loss:
            case "infonce":
                return InfoNCE(temperature=self._temperature, two_sided=self.two_sided)
            case "spread-out":
                return SpreadOut(repulsion=self.repulsion)
            case "sigmoid":
                return Sigmoid(temperature=self._temperature, bias=self.bias, repulsion=self.repulsion)
            case _:
                assert_never(self.loss)

    def build(self, rng: Rng) -> nn.Module:
        """Return a fresh model on the CPU, its weights drawn from `rng` alone."""
        with seeded(rng):
            return PairTowers(partial(_tower, self), shared=self.towers == "shared")

    def collate(self, examples: Examples, rng: Rng) -> Batch:
        """Return first and second images, (n, 3, S, S) float32 each; a crop is keyed by (rng, id)."""
        shape = examples.images.shape[1:]
        if shape not in {(3, self.image_size, self.image_size), (6, self.image_size, self.image_size)}:
            raise InputError("images", shape, f"pairs (6, {self.image_size}, {self.image_size}), or 3 channels")
        if shape[0] == 3 and self.smallest_crop == 1:
            raise InputError("trainer.smallest_crop", 1.0, "below 1 for single images, or data.pairs: same-class")
        images = torch.tensor(examples.images)
        sides = {"first": normalised(images[:, :3]), "second": normalised(images[:, -3:])}
        if self.smallest_crop == 1 and not self.flip:
            return sides
        return {
            side: cropped(
                image, draw_crops(rng.child(side), examples.ids, smallest=self.smallest_crop, mirror=self.flip)
            )
            for side, image in sides.items()
        }

    def bounded_sum(self, model: nn.Module, batch: Batch, clip: float) -> Gradients:
        """Return the slopes' sum of clipped pair gradients, or the batch's own gradient, clipped (naive-dp)."""
        naive = self.method == "naive-dp"
        towers = _LINEAR if self.model == "linear" else _TOWERS
        found = clipped_pair_sum(model, towers, batch, self.pair_loss.slopes, math.inf if naive else clip)
        return _batch_clipped(found.gradients, clip) if naive else found.gradients

    def record_losses(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return what each pair adds to the loss of its batch, (n,)."""
        z = _TOWERS.firsts(model, batch) @ _TOWERS.seconds(model, batch).t()
        return self.pair_loss.losses(z.clamp(-1, 1))

    def sensitivity(self, clip: float, adjacency: Adjacency) -> float:
        """Return the L2 sensitivity of `bounded_sum` for every drawn size, or the published number."""
        return clip * (self._published if self.as_published else self._true(adjacency))

    def unsound(self, adjacency: Adjacency) -> str | None:
        """Return why the published constant is no bound."""
        true = self._true(adjacency)
        if not self.as_published or self._published >= true:
            return None
        if self.method == "naive-dp":
            return "the gradient of a whole batch, clipped to C, is declared to move by C; one record can turn it: 2 C"
        return (
            f"the published constant {self._published:.4g} B leaves out 1 / temperature and half of a pair's own row, "
            f"and is that of batches of {self.published_batch}; one pair can move the sum by {true:.4g} B"
        )

    def neighbouring_sums(
        self, model: nn.Module, batch: Batch | None, clip: float, adjacency: Adjacency
    ) -> tuple[Gradients, Gradients]:
        """Return the sums of two batches whose similarities and pair gradients are the worst, on one coordinate."""
        del batch  # a bound holds whatever the other records are
        naive, replaces = self.method == "naive-dp", adjacency == "replace-one"
        amounts = _turned(clip) if naive else _worst(self.pair_loss, clip, replaces=replaces)
        first, second = (_on_first_coordinate(model, amount) for amount in amounts)
        return first, second

    def remarks(self, batch_size: int, adjacency: Adjacency) -> tuple[str, ...]:
        """Return that the bound gains nothing over clipping the whole batch, where it does not."""
        gain = 2 * self.pair_loss.largest(batch_size) / self._true(adjacency)
        if self.method == "naive-dp" or gain > 1:
            return ()
        return (
            f"the bound of logit-dp is no better than clipping the whole batch: at temperature {self.temperature} the "
            f"sum of {batch_size} pairs is at most {gain / 2:.3g} sensitivities long, and 0.5 is what naive-dp has; "
            "raise trainer.temperature or privacy.batch_size, or take trainer.loss = sigmoid",
        )

    def embed(self, model: nn.Module, images: Tensor) -> Tensor:
        """Return unit vectors (n, e) of uint8 images (n, 3, S, S), or of the first images of pairs (n, 6, S, S)."""
        vectors: Tensor = model(normalised(images[:, :3]))
        return vectors

    def optimizer(self, parameters: Sequence[nn.Parameter], steps: int) -> Optimizer:  # noqa: ARG002 (a contract)
        """Return AdamW."""
        return torch.optim.AdamW(parameters, lr=self.peak_learning_rate, weight_decay=self.weight_decay)

    def learning_rate(self, step: int, steps: int) -> float:  # noqa: ARG002 (a contract)
        """Return the rate, the same at every step."""
        return self.peak_learning_rate

    @property
    def optimisation_options(self) -> frozenset[str]:
        """Return the options that a recipe's own optimizer makes void."""
        return frozenset({"peak_learning_rate", "weight_decay"})

    @property
    def _temperature(self) -> float:
        return cast("float", self.temperature)

    def _true(self, adjacency: Adjacency) -> float:
        """Return the sensitivity at clip norm 1. Two clipped batches are 2 apart under each adjacency."""
        return 2.0 if self.method == "naive-dp" else self.pair_loss.change(adjacency)

    @property
    def _published(self) -> float:
        """Return the constant of the public code for the sum of a batch at clip norm 1; it knows one adjacency."""
        if self.method == "naive-dp":
            return 1.0
        n, a = self.published_batch, math.exp(2 / self._temperature)
        return 1 + n * min(2 * a / (n + a - 1), 2)


def _firsts(model: nn.Module, batch: Batch) -> Tensor:
    vectors: Tensor = model(batch["first"])
    return vectors


def _seconds(model: nn.Module, batch: Batch) -> Tensor:
    return cast("PairTowers", model).seconds(batch["second"])


def _linear_norms(model: nn.Module, towers: Towers, batch: Batch) -> Tensor:  # noqa: ARG001 (a contract)
    heads = cast("PairTowers", model).heads()
    return linear_pair_norms((batch["first"].flatten(1), batch["second"].flatten(1)), heads, LEAST_LENGTH)


_TOWERS = Towers(firsts=_firsts, seconds=_seconds)
_LINEAR = Towers(firsts=_firsts, seconds=_seconds, norms=_linear_norms)


def _tower(options: LogitDP) -> nn.Module:
    match options.model:
        case "small":
            return small_convolutions(embedding=options.embedding)
        case "resnet18":
            return resnet18(embedding=options.embedding, norm=options.norm)
        case "linear":
            return linear(image_size=options.image_size, embedding=options.embedding)


def _batch_clipped(gradients: Gradients, clip: float) -> Gradients:
    """Return a batch's gradient, as long as C at most."""
    if math.isinf(clip):
        return gradients
    factor = clip_factors(record_norms(each.unsqueeze(0) for each in gradients.values()), clip)
    return {name: each * factor.to(each.dtype) for name, each in gradients.items()}


def _turned(clip: float) -> tuple[float, float]:
    """Return a batch's gradient and the one that one more record has turned around, on one coordinate, clipped."""
    long = torch.tensor([_CLIPPED * clip])
    first, second = (_batch_clipped({"x": sign * long}, clip)["x"].item() for sign in (1, -1))
    return first, second


@lru_cache(maxsize=32)
def _worst(loss: PairLoss, clip: float, *, replaces: bool) -> tuple[float, float]:
    """Return the sums of two neighbouring batches of pair gradients along one coordinate, recombined by the loss.

    The last record is the one that comes, or makes room for one whose pair gradients point the other way.
    """
    z = loss.worst(_canary_pairs(loss))
    more = loss.slopes(z)
    fewer = torch.zeros_like(more)
    if replaces:
        fewer = more.clone()
        fewer[-1], fewer[:, -1] = -more[-1], -more[:, -1]
    else:
        fewer[:-1, :-1] = loss.slopes(z[:-1, :-1])
    along = (more - fewer).sign() * _CLIPPED * clip
    clipped = along * clip_factors(along.abs(), clip)
    return float((fewer * clipped).sum()), float((more * clipped).sum())


def _canary_pairs(loss: PairLoss) -> int:
    n = 3
    while n < _MOST_CANARY_PAIRS and loss.change("add-remove", n) < _NEAR * loss.change("add-remove"):
        n = min(2 * n, _MOST_CANARY_PAIRS)
    return n


def _on_first_coordinate(model: nn.Module, amount: float) -> Gradients:
    sums = zero_sums(model)
    next(iter(sums.values())).view(-1)[0] = amount
    return sums


def _check_loss(options: LogitDP) -> None:
    if options.temperature == "learned":
        raise InputError("temperature", "learned", "a fixed number: the bound is e^(2 / temperature), for none smaller")
    if not _LEAST_TEMPERATURE <= options.temperature < math.inf:
        raise InputError("temperature", options.temperature, f"a number of at least {_LEAST_TEMPERATURE}")
    if options.loss == "spread-out" and options.temperature != 1:
        raise InputError("temperature", options.temperature, "1 with loss = spread-out, which has none")
    if options.two_sided and options.loss != "infonce":
        raise InputError("two_sided", options.two_sided, "false, unless loss = infonce")
    if not 0 <= options.repulsion < math.inf or (options.repulsion != 1 and options.loss == "infonce"):
        raise InputError("repulsion", options.repulsion, "a number of at least 0; 1 with loss = infonce")
    if not math.isfinite(options.bias) or (options.bias != 0 and options.loss != "sigmoid"):
        raise InputError("bias", options.bias, "a finite number; 0 unless loss = sigmoid")


def _check_model(options: LogitDP) -> None:
    if options.embedding < 0:
        raise InputError("embedding", options.embedding, "a number of coordinates, or 0 for the published one")
    if options.norm != "none" and options.model != "resnet18":
        raise InputError("norm", options.norm, "none, unless model = resnet18")
    if options.image_size < 1:
        raise InputError("image_size", options.image_size, "a positive number of pixels")
    if not 0 < options.smallest_crop <= 1:
        raise InputError("smallest_crop", options.smallest_crop, "a share of the image above 0, at most 1")


def _check_published(options: LogitDP) -> None:
    if options.as_published and options.method == "logit-dp" and options.loss != "infonce":
        raise InputError("as_published", options.as_published, f"false: no constant is published for {options.loss}")
    if options.published_batch < 2 or (options.published_batch != 100 and not options.as_published):
        raise InputError("published_batch", options.published_batch, "at least 2; 100 unless as_published")
