"""Attacks on experiments that were made elsewhere, and experiments made of a pool's references."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.discovery import configure
from dpaudit.errors import InputError
from dpaudit.pipeline.order import open_run
from dpaudit.progress import Silent
from dpaudit.recipes.recipe import AttackEntry
from dpaudit.references.experiments import Experiments, read_experiments, write_experiments
from dpaudit.references.recorded import SIGNAL, recorded_view
from dpaudit.runs import write_atomically
from dpaudit.scores import LabelledScores

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dpaudit.canaries import Family
    from dpaudit.progress import Progress

__all__ = ["export_experiments", "score_experiments", "write_scores"]


def score_experiments(
    folder: str | Path, attack: str = "lira", options: Mapping[str, object] | None = None, *, target: int = 0
) -> LabelledScores:
    """Return what an attack says of every record of one experiment, the others being its references.

    folder: as the public code of LiRA writes it (`dpaudit.references.experiments`). options: of the attack.
    """
    experiments = read_experiments(Path(folder))
    entry = AttackEntry.model_validate({"name": attack, "signal": SIGNAL, **(options or {})})
    made = configure("attacks", entry)
    needs, others = made.needs, len(experiments.keep) - 1
    if needs.references > others:
        raise InputError("experiments", others + 1, f"at least {needs.references + 1}, one of them the target")
    if needs.population:
        raise InputError("--attack", attack, "one that needs no population: experiments have no records beside")
    return LabelledScores(scores=made.score(recorded_view(experiments, target)), member=experiments.keep[target])


def write_scores(path: Path, labelled: LabelledScores) -> None:
    """Write a table that `dpaudit bound` reads: id, score, member."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["id", "score", "member"])
    for row, (score, member) in enumerate(zip(labelled.scores.tolist(), labelled.member.tolist(), strict=True)):
        table.writerow([f"record/{row}", repr(score), int(member)])
    write_atomically(path, text.getvalue().encode())


def export_experiments(
    folder: str | Path,
    out: str | Path,
    *,
    family: Family = "pool",
    signal: str = SIGNAL,
    draws: int = 1,
    progress: Progress | None = None,
) -> list[Path]:
    """Write the references of a run folder as experiments; return their folders. Targets stay sealed.

    signal: any that the models give, turned so that higher = member; the layout's own is `logit`.
    """
    from dpaudit.calibration import read_signal  # noqa: PLC0415
    from dpaudit.pipeline.stages.references import views  # noqa: PLC0415 (imports torch)

    audit = open_run(folder)
    ids = audit.population.candidate_ids()
    if not audit.references or family not in ids:
        raise InputError("run", str(folder), f"one with references, and candidates of the family {family}")
    examples, pairs = audit.population.data[ids[family]], views(audit, family, progress or Silent())
    told = np.stack([read_signal(target, signal, examples, draws) for target, _ in pairs])
    return write_experiments(Path(out), Experiments(keep=np.stack([mask for _, mask in pairs]), scores=told))
