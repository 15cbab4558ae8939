"""Attacks on experiments that were made elsewhere, for the verb attack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["attack_experiment"]


def attack_experiment(folder: Path, attack: str, options: Mapping[str, object], target: int, *, as_json: bool) -> None:
    """Attack one experiment of a folder by all others, write its scores beside it, and print how well that went."""
    from dpaudit.calls.own_experiments import score_experiments, write_scores  # noqa: PLC0415 (lazy for --help)
    from dpaudit.metrics import auc, tpr_at_fpr  # noqa: PLC0415

    labelled = score_experiments(folder, attack, options, target=target)
    path = folder / f"{attack.rpartition(':')[2]}-{target}.csv"
    write_scores(path, labelled)
    success, early = auc(labelled), tpr_at_fpr(labelled, "0.01")
    if as_json:
        import json  # noqa: PLC0415

        found = {"auc": success.model_dump(mode="json"), "tpr at fpr 0.01": early.model_dump(mode="json")}
        typer.echo(json.dumps({"scores": str(path), "attack": attack, "target": target, **found}, indent=1))
        return
    typer.echo(
        f"{attack} on experiment {target}: AUC {success.value:.3f} ({success.low:.3f} to {success.high:.3f}), "
        f"TPR {early.value:.3f} at FPR 0.01"
    )
    typer.echo(f"scored: {path}   (next: dpaudit bound {path} --delta 1e-5)")
