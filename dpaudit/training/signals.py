"""What a trained model says of records, one number or one row each: what attacks and their calibration are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import special

from dpaudit.dp.functional import gradients_by_record
from dpaudit.dp.objective import Objective
from dpaudit.dp.tensors import beside, home, trainable
from dpaudit.errors import DpauditError, InputError
from dpaudit.plugins import (
    SIGNALS,
    CaptionLikelihood,
    Classifies,
    EmbedsText,
    PerExampleTrainer,
    RecordLosses,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from dpaudit.data.examples import Examples
    from dpaudit.plugins import Trainer
    from dpaudit.rng import Rng

__all__ = [
    "class_signal",
    "in_batches",
    "logits",
    "record_gradients",
    "signal",
    "text_vectors",
    "token_log_likelihoods",
    "vectors",
]

_BATCH = 256
_GRADIENTS, _NUMBERS = 32, 2**27  # at most so many gradients at a time, and so many numbers of them: half a GB
_CLASS_SIGNALS = ("confidence", "logit", "hinge")


def signal(name: str, trainer: Trainer, model: nn.Module, examples: Examples, rng: Rng) -> NDArray[np.float64]:
    """Return the signal of this name, (n,), in `dpaudit.plugins.SIGNALS`; DpauditError where there is none."""
    if name not in SIGNALS:
        raise DpauditError(f"signal {name!r} is not known to this target; it has: {', '.join(SIGNALS)}")
    if name == "loss":
        return _losses(trainer, model, examples, rng)
    if name in _CLASS_SIGNALS:
        return class_signal(name, logits(trainer, model, examples), _labels(examples))
    if name == "caption":
        return np.asarray(np.nanmean(token_log_likelihoods(trainer, model, examples).astype(np.float64), axis=1))
    seen, said = vectors(trainer, model, examples), text_vectors(trainer, model, examples)
    return np.asarray(np.einsum("nd,nd->n", seen, said, dtype=np.float64))


def class_signal(name: str, logits: NDArray[np.floating], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return what the logits (n, classes) say of the true class, (n,): its confidence p, log p / (1 - p), or hinge.

    >>> logits = np.array([[1.0, 2.0, -3.0], [-1.0, 1.0, 0.0]])
    >>> class_signal("logit", logits, np.array([1, 2])).round(3).tolist()
    [0.982, -1.127]
    """
    values = np.asarray(logits, dtype=np.float64)
    true = np.take_along_axis(values, labels[:, None], axis=1)[:, 0]
    others = values.copy()
    np.put_along_axis(others, labels[:, None], -np.inf, axis=1)
    if name == "hinge":
        return np.asarray(true - others.max(axis=1))
    odds = np.asarray(true - special.logsumexp(others, axis=1), dtype=np.float64)
    return np.asarray(special.expit(odds)) if name == "confidence" else odds


def logits(trainer: Trainer, model: nn.Module, examples: Examples) -> NDArray[np.float32]:
    """Return the logits of every class, (n, classes)."""
    if not isinstance(trainer, Classifies):
        raise _incapable(trainer, "Classifies")
    return in_batches(lambda part: trainer.logits(model, _pixels(model, part)), examples)


def token_log_likelihoods(trainer: Trainer, model: nn.Module, examples: Examples) -> NDArray[np.float32]:
    """Return the log-probability of every token of each caption, (n, t), NaN behind its end."""
    if not isinstance(trainer, CaptionLikelihood):
        raise _incapable(trainer, "CaptionLikelihood")

    def each(part: Examples) -> Tensor:
        said = trainer.caption_likelihoods(model, _pixels(model, part), _captions(part))
        behind = torch.arange(said.each.shape[1], device=said.each.device) >= said.counts[:, None]
        return said.each.masked_fill(behind, torch.nan)

    return in_batches(each, examples)


def vectors(trainer: Trainer, model: nn.Module, examples: Examples) -> NDArray[np.float32]:
    """Return unit vectors of images, (n, d), in the space of captions."""
    if not isinstance(trainer, EmbedsText):
        raise _incapable(trainer, "EmbedsText")
    return in_batches(lambda part: trainer.image_vectors(model, _pixels(model, part)), examples)


def text_vectors(trainer: Trainer, model: nn.Module, examples: Examples) -> NDArray[np.float32]:
    """Return unit vectors of captions, (n, d), in the space of images."""
    if not isinstance(trainer, EmbedsText):
        raise _incapable(trainer, "EmbedsText")
    return in_batches(lambda part: trainer.text_vectors(model, _captions(part)), examples)


def record_gradients(trainer: Trainer, model: nn.Module, examples: Examples, rng: Rng) -> Iterator[NDArray[np.float32]]:
    """Yield the gradient of each record's loss, (p,): every trained tensor flattened, in the model's order."""
    if not isinstance(trainer, PerExampleTrainer):
        raise _incapable(trainer, "PerExampleTrainer")
    objective = Objective(model, trainer.losses)
    size = sum(parameter.numel() for parameter in trainable(model).values())
    together = max(1, min(_GRADIENTS, _NUMBERS // size))
    for start in range(0, len(examples), together):
        batch = beside(model, trainer.collate(examples.take(slice(start, start + together)), rng))
        found, _ = gradients_by_record(objective, batch)
        yield from torch.cat([part.detach().flatten(1).float() for part in found.values()], dim=1).cpu().numpy()


def in_batches(read: Callable[[Examples], Tensor], examples: Examples) -> NDArray[np.float32]:
    """Return what `read` says of 256 records at a time, without gradients, (n, ...)."""
    starts = range(0, max(len(examples), 1), _BATCH)
    with torch.no_grad():
        parts = [read(examples.take(slice(start, start + _BATCH))) for start in starts]
    return np.asarray(torch.cat(parts).cpu().numpy(), dtype=np.float32)


def _losses(trainer: Trainer, model: nn.Module, examples: Examples, rng: Rng) -> NDArray[np.float64]:
    if isinstance(trainer, RecordLosses):
        return _in_order_of_ids(
            lambda part: trainer.record_losses(model, beside(model, trainer.collate(part, rng))), examples
        ).astype(np.float64)
    if not isinstance(trainer, PerExampleTrainer):
        raise _incapable(trainer, "PerExampleTrainer")
    found = in_batches(lambda part: trainer.losses(model, beside(model, trainer.collate(part, rng))), examples)
    return found.astype(np.float64)


def _in_order_of_ids(read: Callable[[Examples], Tensor], examples: Examples) -> NDArray[np.float32]:
    """Return what `read` says of records among 256 of them: those beside them by id, however they are ordered."""
    order = np.argsort(examples.ids)
    found = in_batches(read, examples.take(order))
    return found[np.argsort(order)]


def _incapable(trainer: Trainer, capability: str) -> DpauditError:
    return DpauditError(f"this target is no {capability}: {type(trainer).__name__} does not offer that")


def _pixels(model: nn.Module, examples: Examples) -> Tensor:
    return torch.tensor(examples.images, device=home(model))  # copies: it may be read-only


def _labels(examples: Examples) -> NDArray[np.int64]:
    if examples.labels is None:
        raise InputError("labels", None, "records with labels")
    return examples.labels


def _captions(examples: Examples) -> tuple[str, ...]:
    if examples.captions is None:
        raise InputError("captions", None, "records with captions")
    return examples.captions
