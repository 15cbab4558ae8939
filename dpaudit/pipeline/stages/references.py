"""References: train what the pool lacks, and give an attack what the pool holds."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from dpaudit.dp.processes import current
from dpaudit.errors import InputError
from dpaudit.executors import Executor
from dpaudit.pipeline.promises import recipe_mechanism
from dpaudit.progress import Silent
from dpaudit.references.attached import PooledTarget
from dpaudit.references.pool import open_pool
from dpaudit.references.reference import reference_of
from dpaudit.references.stack import group_size
from dpaudit.references.workers import missing, say_damaged, train_free, wait_for
from dpaudit.results import RunSummary
from dpaudit.runs import read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from dpaudit.canaries import Family
    from dpaudit.pipeline.audit import Audit
    from dpaudit.plugins import Target
    from dpaudit.progress import Progress
    from dpaudit.references.reference import Reference

__all__ = [
    "audit_references",
    "complete",
    "forget_weights",
    "share_references",
    "summaries",
    "train_references",
    "views",
    "work_on_references",
]


def audit_references(audit: Audit) -> tuple[Reference, ...]:
    """Return the references of a recipe and their places in the pool; nothing is written."""
    if audit.start is not None and not audit.start.exists():
        expected = f"its weights in {audit.start}: `dpaudit train` makes them, before references can begin there"
        raise InputError("start", "not made yet", expected)
    pool, fixed = open_pool(), (audit.path / "plan.json").exists()
    mechanism = audit.planned.mechanism if fixed else recipe_mechanism(audit.loaded, audit.sizes.universe)
    jobs = [audit.job(name, mechanism) for name in audit.references]
    return tuple(reference_of(job, index, pool) for index, job in enumerate(jobs))


def train_references(audit: Audit, progress: Progress) -> list[Path]:
    """Train what the pool lacks, with everyone who does the same; write and return references.json."""
    references = audit_references(audit)
    before = len(missing(references))
    if before:
        with current().together(str(audit.path / "references")):  # under torchrun each process trains others
            _complete(audit, references, progress)
    progress.say(f"references: {len(references)} in the pool, {len(references) - before} of them from before")
    path = audit.path / "references.json"
    write_json(path, [_summary(reference) for reference in references])
    return [path]


def work_on_references(audit: Audit, progress: Progress, *, worker: bool) -> tuple[int, int]:
    """Train references without a run folder; return (how many are in the pool now, how many there are to be).

    worker: in this process alone, and only until nothing is left that nobody else is training.
    """
    references = audit_references(audit)
    if worker:
        train_free(references, progress)
    else:
        _complete(audit, references, progress)
    return sum(reference.entry.trained for reference in references), len(references)


def share_references(audit: Audit) -> None:
    """Train references beside the process that leads."""
    train_free(audit_references(audit), Silent())


def _complete(audit: Audit, references: tuple[Reference, ...], progress: Progress) -> None:
    left = [int(reference.name.rpartition("-")[2]) for reference in missing(references)]
    executor = _executor(audit)
    if len(left) > 1 and executor.jobs != 1 and group_size(references[0]) == 1:
        say_damaged(references, progress)
        with progress.task(f"train {len(left)} references", len(left)) as task:
            for done, _ in enumerate(executor.each(partial(_train_one, replace(audit)), left)):
                task.advance(done + 1)
    wait_for(references, progress)


def _executor(audit: Audit) -> Executor:
    """Return the audit's executor; by default one job where processes would share a GPU or a group of torchrun."""
    chosen = audit.executor
    if chosen.jobs is None and chosen.name == "local" and (audit.device.type != "cpu" or current().size > 1):
        return Executor(jobs=1)
    return chosen


def _train_one(audit: Audit, index: int) -> None:
    """Train one reference in a process of its own, unless somebody else is."""
    import torch  # noqa: PLC0415 (a setting of this process)

    torch.set_num_threads(1)
    train_free(audit_references(audit)[index : index + 1], Silent())


def views(audit: Audit, family: Family, progress: Progress) -> tuple[tuple[Target, NDArray[np.bool_]], ...]:
    """Return the references as an attack gets them, each with whom of the family it was trained on.

    One that has gone from the pool is trained again when it is asked for something; `complete` does so for all at once.
    """
    if family not in audit.sizes.candidates:
        return ()
    references = audit_references(audit)
    return tuple((PooledTarget(reference, progress), reference.mask(family)) for reference in references)


def complete(audit: Audit, progress: Progress) -> None:
    """Train what has gone from the pool."""
    references = audit_references(audit)
    if missing(references):
        _complete(audit, references, progress)


def forget_weights(audit: Audit) -> list[Path]:
    """Delete the weights of a recipe's references; what they said stays. Returns no file of the run folder."""
    for reference in audit_references(audit):
        with reference.entry.lock():
            reference.entry.forget_weights()
    return []


def summaries(audit: Audit) -> tuple[RunSummary, ...]:
    """Return what the report says of the references."""
    if not audit.references:
        return ()
    return tuple(RunSummary.model_validate(each) for each in read_json(audit.path / "references.json"))


def _summary(reference: Reference) -> dict[str, Any]:
    facts = reference.entry.facts()
    summary = RunSummary(
        name=reference.name,
        role="reference",
        parameters=facts["parameters"],
        steps=facts["steps"],
        seconds=facts["seconds"],
        commitment=facts["mask"],
        openings=0,
        curves=(),
        facts={"in the pool": reference.key[:16]},
    )
    return summary.model_dump(mode="json")
