"""What only data and model can show of a promise's premises: copies, mixed records, and where weights are from."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING

import torch
from torch import nn

from dpaudit.accounting.facts import Coupling, Duplicates
from dpaudit.dp.objective import Objective
from dpaudit.dp.tensors import beside, trainable
from dpaudit.plugins import PerExampleTrainer
from dpaudit.training.attach import released_model
from dpaudit.training.job import initial_model

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from dpaudit.data.examples import Examples
    from dpaudit.plugins import Dataset
    from dpaudit.rng import Rng
    from dpaudit.training.job import Job

__all__ = ["coupling", "duplicates", "shared_images", "unseeded"]

_MOST_COMPARED, _CHUNK = 100_000, 1024
_TOGETHER = 8


def duplicates(data: Dataset, ids: NDArray[np.str_], *, captions: bool) -> Duplicates:
    """Return how many of the first 100,000 of these records have pixels or captions that another one has.

    Pixels are compared at the size that the trainer reads. captions: whether the trainer reads them.
    """
    images: Counter[bytes] = Counter()
    pairs: set[tuple[str, bytes]] = set()
    texts: list[set[str]] = []
    for examples in _chunks(data, ids[:_MOST_COMPARED]):
        digests = _digests(examples)
        images.update(digests)
        if captions and examples.captions is not None:
            said = _said(examples)
            texts += said
            pairs |= {(text, digest) for each, digest in zip(said, digests, strict=True) for text in each}
    shared = [count for count in images.values() if count > 1]
    return Duplicates(
        compared=images.total(),
        sharing=sum(shared),
        largest=max(shared, default=1),
        captions=_sharing(texts, pairs) if texts else None,
    )


def shared_images(public: Dataset, private: Dataset, ids: NDArray[np.str_]) -> tuple[int, int]:
    """Return how many of the first 100,000 public records have the pixels of a private one, and how many were compared.

    ids: of the private records, of which the first 100,000 are looked at.
    """
    known = {digest for examples in _chunks(private, ids[:_MOST_COMPARED]) for digest in _digests(examples)}
    compared = public.ids()[:_MOST_COMPARED]
    return sum(digest in known for examples in _chunks(public, compared) for digest in _digests(examples)), len(
        compared
    )


def _digests(examples: Examples) -> list[bytes]:
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in examples.images]


def _said(examples: Examples) -> list[set[str]]:
    """Return the captions of each record."""
    others = examples.other_captions or ((),) * len(examples)
    return [{first, *other} for first, other in zip(examples.captions or (), others, strict=True)]


def _chunks(data: Dataset, ids: NDArray[np.str_]) -> Iterable[Examples]:
    return (data[ids[start : start + _CHUNK]] for start in range(0, len(ids), _CHUNK))


def _sharing(texts: list[set[str]], pairs: set[tuple[str, bytes]]) -> int:
    """Return how many records have a caption that another image has too."""
    images_of = Counter(text for text, _ in pairs)
    return sum(any(images_of[text] > 1 for text in each) for each in texts)


def coupling(job: Job) -> Coupling:
    """Return whether a record's loss depends on its batch, at the initial weights, and what training changed unseen."""
    model, released = initial_model(job), released_model(job)
    layers = tuple(name for name, module in model.named_modules() if _mixes(module))
    after = dict(released.named_buffers())
    changed = tuple(name for name, before in model.named_buffers() if not torch.equal(before, after[name]))
    trainer = job.trainer
    if not isinstance(trainer, PerExampleTrainer):
        return Coupling(layers=layers, changed_buffers=changed, by_design=True)
    if layers:
        return Coupling(layers=layers, changed_buffers=changed)
    first = job.population.universe[:_TOGETHER]
    together, again, alone = _losses(trainer, model, job.population.data[first], job.public.child("evidence"))
    largest = max(float(together.abs().max()), 1e-12)
    return Coupling(
        changed_buffers=changed,
        difference=float((together - alone).abs().max()) / largest,
        noise=float((together - again).abs().max()) / largest,
    )


def _mixes(module: nn.Module) -> bool:
    """Return whether this is a batch norm that takes its statistics from the batch, not from constants."""
    known = isinstance(module, nn.modules.batchnorm._BatchNorm)  # the base class of all batch norms
    return known and (module.training or module.running_mean is None)


def _losses(
    trainer: PerExampleTrainer, model: nn.Module, examples: Examples, rng: Rng
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the losses of one batch, of the same batch again, and of each record alone, each (n,)."""
    objective, parameters = Objective(model, trainer.losses), trainable(model)
    batch = beside(model, trainer.collate(examples, rng))
    with torch.no_grad():
        together, again = objective.at(parameters, batch), objective.at(parameters, batch)
        rows = [{name: tensor[at : at + 1] for name, tensor in batch.items()} for at in range(len(examples))]
        alone = torch.cat([objective.at(parameters, row) for row in rows])
    return together.cpu().double(), again.cpu().double(), alone.cpu().double()


def unseeded(job: Job) -> float:
    """Return the share of the initial numbers that another seed leaves as they are; constant tensors are left out.

    Weights that were loaded from a file do not depend on the seed.
    """
    one, other = initial_model(job).cpu(), job.trainer.build(job.public.child("another model", job.name))
    same = total = 0
    others = other.state_dict()
    for name, tensor in one.state_dict().items():
        if tensor.numel() == 0 or bool((tensor == tensor.flatten()[0]).all()):
            continue
        total += tensor.numel()
        same += tensor.numel() if torch.equal(tensor, others[name]) else 0
    return same / total if total else 0.0
