"""Earlier trainings on the same records: what a file of weights that a recipe starts from has already cost."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from dpaudit.accounting.compose import ledger_event
from dpaudit.accounting.executed import executed_guarantees, noise_unit
from dpaudit.dp.ledger import read_ledger
from dpaudit.mechanism import Mechanism
from dpaudit.results import Beginning, EarlierTraining, Guarantee
from dpaudit.runs import read_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dp_accounting import DpEvent

    from dpaudit.recipes.recipe import Recipe

__all__ = ["earlier_trainings", "other_roles", "together"]


def earlier_trainings(weights: Path, fingerprint: str) -> tuple[EarlierTraining, ...]:
    """Return the training that made these weights, and those that it started from, where they saw these data.

    weights: any file of a run's folder. fingerprint: of the data. Empty for a file that no run left behind, and for
    runs on other data.
    """
    run = weights.parent
    if not (run / "ledger.jsonl").exists() or not (run.parent / "audit.json").exists():
        return ()
    if read_json(run.parent / "audit.json").get("data fingerprint") != fingerprint:
        return ()
    manifest = read_json(run / "manifest.json")
    before = manifest.get("start")
    earlier = () if before is None else Beginning.model_validate(before).earlier
    return (*earlier, _training(run, manifest))


def other_roles(weights: Path, recipe: Recipe) -> list[str]:
    """Return the settings that gave records other roles in the run of these weights than they have in a recipe.

    Where there are any, records that are held out now may have been trained on then.
    """
    before, now = read_json(weights.parent.parent / "audit.json")["recipe"], recipe.model_dump(mode="json")
    pairs = {f"data.{key}": (before["data"].get(key), now["data"].get(key)) for key in ("limit", "split")}
    pairs["seed"] = (before.get("seed"), now["seed"])
    return [name for name, (then, today) in pairs.items() if then != today]


def together(
    earlier: Sequence[EarlierTraining], event: DpEvent, mechanism: Mechanism, delta: float
) -> tuple[Guarantee, ...]:
    """Return what earlier trainings and an executed event promise together for a record that is in all of them."""
    import dp_accounting as dp  # noqa: PLC0415  # takes 1.3 s

    others = sorted({each.mechanism.adjacency for each in earlier} - {mechanism.adjacency})
    if others:
        note = f"the earlier training was accounted for {others[0]}: composition needs one adjacency"
        return (Guarantee(accountant="PLD", epsilon=None, delta=delta, adjacency=mechanism.adjacency, note=note),)
    events = [ledger_event(_rows(each), each.mechanism) for each in earlier]
    return executed_guarantees(dp.ComposedDpEvent([*events, event]), mechanism, delta)


def _training(run: Path, manifest: dict[str, Any]) -> EarlierTraining:
    mechanism = Mechanism.model_validate(manifest["mechanism"])
    sensitivity = {adjacency: float(value) for adjacency, value in manifest["sensitivity"].items()}
    unit = noise_unit(sensitivity, mechanism.sampling, mechanism.adjacency)
    counts = Counter((row.sampling_rate, row.noise_std / unit) for row in read_ledger(run / "ledger.jsonl"))
    steps = tuple((rate, noise, count) for (rate, noise), count in counts.items())
    return EarlierTraining(run=f"{run.parent.name}/{run.name}", mechanism=mechanism, steps=steps)


def _rows(training: EarlierTraining) -> list[tuple[float, float]]:
    return [(rate, noise) for rate, noise, count in training.steps for _ in range(count)]
