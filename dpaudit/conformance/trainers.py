"""What every trainer owes, tried on a few scenes: a loss per record that is its own, or a bound on the whole batch."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, get_args

import numpy as np
import torch

from dpaudit.conformance.finding import Finding, asked, failed, passed, raised, unclear
from dpaudit.data.pairs import Pairs
from dpaudit.data.scenes.source import Scenes
from dpaudit.dp.engines import engine
from dpaudit.dp.tensors import trainable
from dpaudit.dp.whole_batch import WholeBatch
from dpaudit.errors import DpauditError, InputError
from dpaudit.mechanism import Adjacency
from dpaudit.models.initialisation import seeded
from dpaudit.plugins import BatchTrainer, Classifies, PerExampleTrainer
from dpaudit.rng import Rng
from dpaudit.training.rehearsal import Rehearsal
from dpaudit.training.sensitivity import premises_before_training

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from dpaudit.data.examples import Examples
    from dpaudit.dp.tensors import Batch, Gradients

__all__ = ["check_trainer"]

_RECORDS, _STEPS, _CLIP = 5, 10, 1.0
_RNG = Rng.from_seed(0).child("conformance")


def check_trainer(trainer: PerExampleTrainer | BatchTrainer) -> tuple[Finding, ...]:
    """Return what every check found, in order; a few scenes with captions and labels are its records."""
    try:
        model = trainer.build(_RNG.child("model"))
        records = _readable(trainer)
    except Exception as error:  # a stranger's plug-in may raise anything
        return (raised("build and collate", error),)
    checks: list[tuple[str, Callable[[str], Finding]]] = [
        ("build", lambda check: _build(check, trainer, model)),
        ("collate", lambda check: _collate(check, trainer, records)),
    ]
    if isinstance(trainer, PerExampleTrainer):
        checks += [
            ("losses", partial(_losses, trainer=trainer, model=model, records=records)),
            ("a record alone", partial(_alone, trainer=trainer, model=model, records=records)),
            ("engines", partial(_engines, trainer=trainer, model=model, records=records)),
        ]
    else:
        checks += [("bounded sum", partial(_bounded, trainer=trainer, model=model, records=records))]
    checks += [
        ("gradients", lambda check: _reached(check, trainer, copy.deepcopy(model), records)),
        *(
            (f"sensitivity ({each})", partial(_sensitivity, trainer, model, records, each))
            for each in _declared(trainer)
        ),
        ("embed", lambda check: _embed(check, trainer, model, records)),
        ("optimizer", lambda check: _optimizer(check, trainer, copy.deepcopy(model))),
    ]
    return tuple(asked(name, find) for name, find in checks)


def _readable(trainer: PerExampleTrainer | BatchTrainer) -> Examples:
    """Return scenes as the trainer reads them; trainers that take pairs alone are given pairs of one class."""
    scenes = Scenes(size=200, image_size=trainer.image_size)
    drawn = scenes[scenes.ids()[:_RECORDS]]
    if drawn.labels is not None and isinstance(trainer, Classifies):
        drawn = replace(drawn, labels=drawn.labels % trainer.classes)
    try:
        trainer.collate(drawn, _RNG.child("collate"))
    except InputError:
        pairs = Pairs(scenes)
        drawn = pairs[pairs.ids()[:_RECORDS]]
        trainer.collate(drawn, _RNG.child("collate"))
    return drawn


def _declared(trainer: PerExampleTrainer | BatchTrainer) -> tuple[Adjacency, ...]:
    """Return the adjacencies to replay: zero-out is add-remove to an engine that clips."""
    return ("add-remove", "replace-one") if isinstance(trainer, PerExampleTrainer) else get_args(Adjacency)


def _build(check: str, trainer: PerExampleTrainer | BatchTrainer, model: nn.Module) -> Finding:
    with seeded(_RNG.child("global")):
        names = dict(trainer.build(_RNG.child("model")).named_parameters())
    changed = [name for name, value in model.named_parameters() if not torch.equal(value, names[name])]
    if changed:
        return failed(check, f"{changed[0]} differs between two builds from one rng (models.initialisation.seeded)")
    size = sum(parameter.numel() for parameter in trainable(model).values())
    return (
        passed(check, f"{size:,} trained parameters, the same twice") if size else failed(check, "nothing is trained")
    )


def _collate(check: str, trainer: PerExampleTrainer | BatchTrainer, records: Examples) -> Finding:
    rng = _RNG.child("collate")
    whole, again = trainer.collate(records, rng), trainer.collate(records, rng)
    for name, tensor in whole.items():
        if len(tensor) != len(records):
            return failed(
                check, f"{name} has {len(tensor)} rows of {len(records)} records: the first dimension is theirs"
            )
        if not torch.equal(tensor, again[name]):
            return failed(check, f"{name} differs between two calls with one rng: draw everything from it")
    for row in range(len(records)):
        alone = trainer.collate(records.take(slice(row, row + 1)), rng)
        for name, tensor in whole.items():
            if alone[name].shape[1:] != tensor.shape[1:] or not torch.equal(alone[name][0], tensor[row]):
                return failed(check, f"{name} of a record depends on its batch: draw per (rng, id), pad to one length")
    return passed(check, f"{', '.join(whole)}: per (rng, id) alone")


def _losses(check: str, *, trainer: PerExampleTrainer, model: nn.Module, records: Examples) -> Finding:
    batch = trainer.collate(records, _RNG.child("collate"))
    with seeded(_RNG.child("first")), torch.no_grad():
        losses = trainer.losses(model, batch)
    with seeded(_RNG.child("second")), torch.no_grad():
        again = trainer.losses(model, batch)
    if losses.shape != (len(records),):
        return failed(check, f"shape {tuple(losses.shape)}, expected one loss per record, ({len(records)},)")
    if not torch.isfinite(losses).all():
        return failed(check, f"not finite: {losses.tolist()}")
    if not torch.equal(losses, again):
        return failed(check, "they differ between two calls (dropout?): draw in collate")
    return passed(check, f"({len(records)},), from {float(losses.min()):.3g} to {float(losses.max()):.3g}")


def _alone(check: str, *, trainer: PerExampleTrainer, model: nn.Module, records: Examples) -> Finding:
    """Change all other records to black and white; no row may notice."""
    with torch.no_grad():
        rows = trainer.losses(model, trainer.collate(records, _RNG.child("collate")))
        for row in range(len(records)):
            changed = trainer.losses(model, trainer.collate(_with_others_changed(records, row), _RNG.child("collate")))
            if not _close(changed[row], rows[row]):
                moved = float((changed[row] - rows[row]).abs())
                return failed(check, f"the loss of record {row} moves by {moved:.2g} when only others change")
    return passed(check, "row i depends on record i alone")


def _with_others_changed(records: Examples, row: int) -> Examples:
    images = np.where(np.arange(len(records))[:, None, None, None] % 2, 255, 0) * np.ones_like(records.images)
    images[row] = records.images[row]
    labels = records.labels
    if labels is not None:
        labels = np.where(np.arange(len(records)) == row, labels, labels.min())
    return replace(records, images=images.astype(np.uint8), labels=labels)


def _engines(check: str, *, trainer: PerExampleTrainer, model: nn.Module, records: Examples) -> Finding:
    batch = trainer.collate(records, _RNG.child("collate"))
    slow = engine("loop")(model, trainer.losses, batch, _CLIP).gradients
    try:
        fast = engine("bookkeeping")(model, trainer.losses, batch, _CLIP).gradients
    except DpauditError as error:
        return unclear(check, f"bookkeeping refuses it, ask for privacy.engine: functional or loop ({error})")
    largest = max(float(each.abs().max()) for each in slow.values())
    apart = max(float((fast[name] - slow[name]).abs().max()) for name in slow)
    words = f"bookkeeping differs from one record at a time by {apart:.1e} (largest entry {largest:.1e})"
    return passed(check, words) if apart <= 1e-3 * largest else failed(check, words)


def _bounded(check: str, *, trainer: BatchTrainer, model: nn.Module, records: Examples) -> Finding:
    whole = WholeBatch(bounded_sum=trainer.bounded_sum)

    def sums(part: Examples, clip: float) -> Gradients:
        return whole.sums(model, trainer.collate(part, _RNG.child("collate")), clip)

    first, again = sums(records, _CLIP), sums(records, _CLIP)
    if any(not torch.equal(first[name], again[name]) for name in first):
        return failed(check, "it differs between two calls: draw in collate")
    turned = sums(records.take(np.arange(len(records))[::-1]), _CLIP)
    if any(not _close(first[name], turned[name]) for name in first):
        return failed(check, "it depends on the order of the records")
    for part, clip in ((records.take(slice(0, 1)), _CLIP), (records, math.inf)):
        sums(part, clip)
    return passed(check, "complete and finite for one record, for many, and unbounded; the order does not matter")


def _close(first: Tensor, second: Tensor) -> bool:
    return torch.allclose(first, second, rtol=1e-4, atol=1e-5)


def _reached(check: str, trainer: PerExampleTrainer | BatchTrainer, model: nn.Module, records: Examples) -> Finding:
    """Two steps first: a layer that starts at zero lets no gradient through to what is before it."""
    optimizer = trainer.optimizer(list(trainable(model).values()), _STEPS)
    reached: set[str] = set()
    for step in range(3):
        found = _gradients(trainer, model, trainer.collate(records, _RNG.child("collate", step)))
        reached |= {name for name, gradient in found.items() if bool(gradient.any())}
        for name, parameter in trainable(model).items():
            parameter.grad = found[name]
        optimizer.step()
    missing = [name for name in trainable(model) if name not in reached]
    if missing:
        words = f"none reaches {', '.join(missing[:3])} ({len(missing)} tensors): set requires_grad_(False) if meant so"
        return failed(check, words)
    return passed(check, f"all {len(reached)} tensors are reached")


def _gradients(trainer: PerExampleTrainer | BatchTrainer, model: nn.Module, batch: Batch) -> Gradients:
    if not isinstance(trainer, PerExampleTrainer):
        return trainer.bounded_sum(model, batch, math.inf)
    parameters = trainable(model)
    total: Tensor = trainer.losses(model, batch).sum()
    found = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    pairs = zip(parameters.items(), found, strict=True)
    return {name: torch.zeros_like(parameter) if each is None else each for (name, parameter), each in pairs}


def _sensitivity(
    trainer: PerExampleTrainer | BatchTrainer, model: nn.Module, records: Examples, adjacency: Adjacency, check: str
) -> Finding:
    """Record and replay, and two steps' noise; a trainer's own worst case where it makes one."""
    rehearsal = Rehearsal(trainer=trainer, clip_norm=_CLIP, rng=_RNG)
    premises = premises_before_training(rehearsal, records.take(slice(0, 2)), adjacency, model)
    broken = [premise for premise in premises if premise.status == "violated"]
    if broken:
        return failed(check, f"{broken[0].name}: {broken[0].evidence}")
    doubtful = [premise for premise in premises if premise.status == "unknown"]
    if doubtful:
        return unclear(check, f"{doubtful[0].name}: {doubtful[0].evidence}")
    return passed(check, premises[0].evidence)


def _embed(check: str, trainer: PerExampleTrainer | BatchTrainer, model: nn.Module, records: Examples) -> Finding:
    with torch.no_grad():
        features = trainer.embed(model.eval(), torch.tensor(records.images))
        alone = trainer.embed(model, torch.tensor(records.images[:1]))
    model.train()
    if features.ndim != 2 or len(features) != len(records):
        return failed(check, f"shape {tuple(features.shape)}, expected one row per image, ({len(records)}, d)")
    if not torch.isfinite(features).all():
        return failed(check, "features are not finite")
    if not torch.allclose(alone[0], features[0], rtol=1e-3, atol=1e-4):
        return failed(check, "the features of an image depend on the images beside it")
    return passed(check, f"{tuple(features.shape)}")


def _optimizer(check: str, trainer: PerExampleTrainer | BatchTrainer, model: nn.Module) -> Finding:
    rates = [trainer.learning_rate(step, _STEPS) for step in range(_STEPS)]
    if not all(math.isfinite(rate) and rate >= 0 for rate in rates):
        return failed(check, f"learning rates {rates}: each must be finite and not below 0")
    parameters = list(trainable(model).values())
    optimizer = trainer.optimizer(parameters, _STEPS)
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    if held != {id(parameter) for parameter in parameters}:
        return failed(check, f"it holds {len(held)} of {len(parameters)} trained tensors")
    return passed(
        check, f"{type(optimizer).__name__}, learning rate {rates[0]:.3g} to {max(rates):.3g} of {_STEPS} steps"
    )
