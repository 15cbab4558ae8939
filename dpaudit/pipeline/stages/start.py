"""Start: the weights of step 0 that all runs share, from a public stage or from a file, and what is known of them."""

from __future__ import annotations

import hashlib
from statistics import fmean
from typing import TYPE_CHECKING

from dpaudit.errors import InputError
from dpaudit.pipeline.stages.earlier import earlier_trainings, other_roles
from dpaudit.plugins import GivenPart, NamesOptimisation, TakesOver
from dpaudit.results import Beginning
from dpaudit.runs import read_json, write_atomically
from dpaudit.training.checkpoint import load_model, save_model
from dpaudit.training.evidence import shared_images
from dpaudit.training.given_weights import check_fit, load_given
from dpaudit.training.pretraining import PublicStage, frozen, pretrain
from dpaudit.training.public_data import made_by_program, weights_file

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from dpaudit.pipeline.audit import Audit
    from dpaudit.progress import Progress
    from dpaudit.recipes.recipe import Pretrain, Start

__all__ = ["check_start", "make_start", "public_stage", "read_beginning"]

_OTHER = "other-trainer"  # the folder of its weights
_SHOWN = 10  # steps, at most, whose mean loss stands for the first and for the last


def check_start(audit: Audit) -> None:
    """Raise InputError unless the start can be made: data that the trainer reads, weights that fit its model."""
    start = audit.recipe.start
    if start is None:
        return
    _check_void_options(audit, start)
    try:
        if start.trainer is not None:
            _taken_over(audit, start.trainer.name, _first_model(audit))
        if start.pretrain is None:
            check_fit(weights_file(audit.loaded), _given_part(audit, _first_model(audit)), start.parts)
    except InputError as error:
        raise audit.loaded.where.refusal(error.field, error.value, error.expected) from error
    if start.pretrain is not None:
        _check_public(audit, start.pretrain)


def make_start(audit: Audit, progress: Progress) -> list[Path]:
    """Write start/model.safetensors and start/manifest.json; return all files of start/."""
    folder, start = audit.path / "start", _asked(audit)
    folder.mkdir(exist_ok=True)
    if start.pretrain is None:
        found = _given(audit, start, folder)
    else:
        found = _pretrained(audit, start.pretrain, folder, progress)
    path = folder / "manifest.json"
    write_atomically(path, (found.model_dump_json(indent=1) + "\n").encode())
    if found.same_data or found.shared:
        progress.say("start: VIOLATED before step one: the public stage learned from private records")
    if found.earlier and (others := other_roles(weights_file(audit.loaded), audit.recipe)):
        progress.say(
            f"start: probes may see records that {found.earlier[-1].run} trained on: {', '.join(others)} differ"
        )
    made = ("model.safetensors", "losses.jsonl", f"{_OTHER}/model.safetensors", f"{_OTHER}/losses.jsonl")
    return [path, *(folder / name for name in made if (folder / name).exists())]


def read_beginning(audit: Audit) -> Beginning | None:
    """Return what `make_start` noted; None where the weights of step 0 were drawn."""
    if audit.recipe.start is None:
        return None
    return Beginning.model_validate(read_json(audit.path / "start" / "manifest.json"))


def _given(audit: Audit, start: Start, folder: Path) -> Beginning:
    path, model = weights_file(audit.loaded), _first_model(audit)
    load_given(path, _given_part(audit, model), start.parts)
    if start.trainer is not None:
        model = _taken_over(audit, start.trainer.name, model)
    save_model(folder / "model.safetensors", model.state_dict())
    return Beginning(
        kind="weights",
        source=str(path),
        fingerprint=audit.start_fingerprint or "",
        weights=_digest(folder),
        parts=start.parts,
        trainer=None if start.trainer is None else start.trainer.name,
        earlier=earlier_trainings(path, audit.fingerprint),
    )


def _pretrained(audit: Audit, settings: Pretrain, folder: Path, progress: Progress) -> Beginning:
    data, other = audit.public_data, _asked(audit).trainer
    if other is None:
        losses, seconds = pretrain(public_stage(audit, settings, folder), progress)
    else:
        losses, seconds = _pretrained_by_other(audit, settings, folder, progress)
    few = max(1, min(_SHOWN, len(losses) // 2))
    by_program, same = made_by_program(data), audit.start_fingerprint == audit.fingerprint
    apart = by_program and not made_by_program(audit.dataset)  # no need to look: noise is nobody's picture
    shared, compared = (0, 0) if apart else shared_images(data, audit.population.data, audit.population.universe)
    return Beginning(
        kind="pretrain",
        source=settings.data.name,
        trainer=None if other is None else other.name,
        fingerprint=audit.start_fingerprint or "",
        weights=_digest(folder),
        records=len(data),
        batch_size=settings.batch_size,
        steps=settings.steps,
        seconds=round(seconds, 3),
        first_loss=fmean(losses[:few]),
        last_loss=fmean(losses[-few:]),
        by_construction=by_program,
        same_data=same,
        shared=shared,
        compared=compared,
    )


def _pretrained_by_other(
    audit: Audit, settings: Pretrain, folder: Path, progress: Progress
) -> tuple[list[float], float]:
    """Train the other trainer's model in a folder of its own, and go on with what fits of it."""
    stage, other = public_stage(audit, settings, folder / _OTHER), _asked(audit).trainer
    losses, seconds = pretrain(stage, progress)
    model = stage.model()
    load_model(stage.folder / "model.safetensors", model)
    taken = _taken_over(audit, "" if other is None else other.name, model)
    save_model(folder / "model.safetensors", taken.state_dict())
    return losses, seconds


def public_stage(audit: Audit, settings: Pretrain, folder: Path) -> PublicStage:
    """Return the public stage of an audit, to be trained in a folder."""
    return PublicStage(
        folder=folder,
        recipe=audit.recipe,
        settings=settings,
        trainer=audit.first_trainer,
        data=audit.public_data,
        public=audit.public.child("start"),
        device=audit.device,
    )


def _check_public(audit: Audit, settings: Pretrain) -> None:
    data = audit.public_data
    try:
        frozen(_first_model(audit), settings.frozen)
    except InputError as error:
        raise audit.loaded.where.refusal(error.field, error.value, error.expected) from error
    try:
        audit.first_trainer.collate(data[data.ids()[:1]], audit.public.child("check"))
    except InputError as error:
        name = (_asked(audit).trainer or audit.recipe.trainer).name
        expected = f"data that the trainer {name} reads ({error})"
        raise audit.loaded.where.refusal("start.pretrain.data.name", settings.data.name, expected) from error


def _check_void_options(audit: Audit, start: Start) -> None:
    """Refuse options of another trainer's own optimizer where nothing would read them."""
    trainer, own = audit.first_trainer, start.pretrain is not None and start.pretrain.optimizer is None
    if start.trainer is None or own or not isinstance(trainer, NamesOptimisation):
        return
    void = sorted(trainer.optimisation_options & set(start.trainer.options))
    if void:
        expected = "not given: its own optimizer, to which it belongs, takes no step here"
        raise audit.loaded.where.refusal(f"start.trainer.{void[0]}", start.trainer.options[void[0]], expected)


def _first_model(audit: Audit) -> nn.Module:
    return audit.first_trainer.build(audit.public.child("model", "start"))


def _given_part(audit: Audit, model: nn.Module) -> nn.Module:
    """Return what the weights of a file belong to: all of the model, or the part that its trainer says."""
    trainer = audit.first_trainer
    return trainer.given_part(model) if isinstance(trainer, GivenPart) else model


def _taken_over(audit: Audit, other: str, model: nn.Module) -> nn.Module:
    """Return a model of the recipe's trainer that goes on with another trainer's; what is not taken is drawn."""
    if not isinstance(audit.trainer, TakesOver):
        expected = f"null: the trainer {audit.recipe.trainer.name} takes over no other trainer's weights"
        raise InputError("start.trainer", other, expected)
    taken = audit.trainer.build(audit.public.child("model", "start", "taken over"))
    audit.trainer.take_over(taken, model)
    return taken


def _asked(audit: Audit) -> Start:
    if audit.recipe.start is None:
        raise InputError("start", None, "weights or a public stage")
    return audit.recipe.start


def _digest(folder: Path) -> str:
    with (folder / "model.safetensors").open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
