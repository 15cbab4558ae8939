"""Start: the weights of step 0 that all runs share, from a public stage or from a file, and what is known of them."""

from __future__ import annotations

import hashlib
from statistics import fmean
from typing import TYPE_CHECKING

from dpaudit.errors import InputError
from dpaudit.pipeline.stages.earlier import earlier_trainings, other_roles
from dpaudit.plugins import GivenPart
from dpaudit.results import Beginning
from dpaudit.runs import read_json, write_atomically
from dpaudit.training.checkpoint import save_model
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

_SHOWN = 10  # steps, at most, whose mean loss stands for the first and for the last


def check_start(audit: Audit) -> None:
    """Raise InputError unless the start can be made: data that the trainer reads, weights that fit its model."""
    start = audit.recipe.start
    if start is None:
        return
    if start.pretrain is not None:
        _check_public(audit, start.pretrain)
        return
    try:
        check_fit(weights_file(audit.loaded), _given_part(audit, _model(audit)), start.parts)
    except InputError as error:
        raise audit.loaded.where.refusal(error.field, error.value, error.expected) from error


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
    return [path, *(folder / name for name in ("model.safetensors", "losses.jsonl") if (folder / name).exists())]


def read_beginning(audit: Audit) -> Beginning | None:
    """Return what `make_start` noted; None where the weights of step 0 were drawn."""
    if audit.recipe.start is None:
        return None
    return Beginning.model_validate(read_json(audit.path / "start" / "manifest.json"))


def _given(audit: Audit, start: Start, folder: Path) -> Beginning:
    path, model = weights_file(audit.loaded), _model(audit)
    load_given(path, _given_part(audit, model), start.parts)
    save_model(folder / "model.safetensors", model.state_dict())
    return Beginning(
        kind="weights",
        source=str(path),
        fingerprint=audit.start_fingerprint or "",
        weights=_digest(folder),
        parts=start.parts,
        earlier=earlier_trainings(path, audit.fingerprint),
    )


def _pretrained(audit: Audit, settings: Pretrain, folder: Path, progress: Progress) -> Beginning:
    data = audit.public_data
    losses, seconds = pretrain(public_stage(audit, settings, folder), progress)
    few = max(1, min(_SHOWN, len(losses) // 2))
    by_program, same = made_by_program(data), audit.start_fingerprint == audit.fingerprint
    apart = by_program and not made_by_program(audit.dataset)  # no need to look: noise is nobody's picture
    shared, compared = (0, 0) if apart else shared_images(data, audit.population.data, audit.population.universe)
    return Beginning(
        kind="pretrain",
        source=settings.data.name,
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


def public_stage(audit: Audit, settings: Pretrain, folder: Path) -> PublicStage:
    """Return the public stage of an audit, to be trained in a folder."""
    return PublicStage(
        folder=folder,
        recipe=audit.recipe,
        settings=settings,
        trainer=audit.trainer,
        data=audit.public_data,
        public=audit.public.child("start"),
    )


def _check_public(audit: Audit, settings: Pretrain) -> None:
    data = audit.public_data
    try:
        frozen(_model(audit), settings.frozen)
    except InputError as error:
        raise audit.loaded.where.refusal(error.field, error.value, error.expected) from error
    try:
        audit.trainer.collate(data[data.ids()[:1]], audit.public.child("check"))
    except InputError as error:
        expected = f"data that the trainer {audit.recipe.trainer.name} reads ({error})"
        raise audit.loaded.where.refusal("start.pretrain.data.name", settings.data.name, expected) from error


def _model(audit: Audit) -> nn.Module:
    return audit.trainer.build(audit.public.child("model", "start"))


def _given_part(audit: Audit, model: nn.Module) -> nn.Module:
    """Return what the weights of a file belong to: all of the model, or the part that its trainer says."""
    return audit.trainer.given_part(model) if isinstance(audit.trainer, GivenPart) else model


def _asked(audit: Audit) -> Start:
    if audit.recipe.start is None:
        raise InputError("start", None, "weights or a public stage")
    return audit.recipe.start


def _digest(folder: Path) -> str:
    with (folder / "model.safetensors").open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
