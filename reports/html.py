"""The report page: one self-contained HTML file for a manager and a researcher, from results and pictures alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from dpaudit.metrics import FPRS
from dpaudit.reports import curves, figures, foresight, headline, numbers
from dpaudit.reports.beginning import beginning_line
from dpaudit.reports.pictures import embed
from dpaudit.reports.standing import STANDINGS, by_standing, standing
from dpaudit.scores import Access

if TYPE_CHECKING:
    from pathlib import Path

    from dpaudit.reports.standing import Standing
    from dpaudit.results import Assumption, AttackResult, AuditResult, Bound, ProbeResult, Series

__all__ = ["environment", "write_page"]

MOST_HISTOGRAMS = 6
MOST_SILENT = 6  # bounds beside the verdict that refute nothing: more of them are only counted
MOST_TRAINING = 4
MOST_PROBES = 6
SIGNS = {"VIOLATED": "✕", "UNSOUND": "!", "INCONCLUSIVE": "?", "CONSISTENT": "✓"}
_EXPOSED = "exposed.png"
_BASELINES = {
    "untrained": "the same network untrained",
    "pre-trained": "the network as it was when the private training began (pre-trained)",
    "non-private": "the same training without clipping and noise (non-private, ε = ∞)",
}
_ACCESS = get_args(Access)
MARKS = {"held": "✓", "violated": "✕", "unknown": "?"}


def write_page(result: AuditResult, pictures: Path, page: Path, public: bool) -> None:
    """Write the file `page`.

    pictures: the folder of `result.pictures`. public: leave out curves over private data and pictures, and say so;
    the result is then one that `published` gave.
    """
    text = environment().get_template("report.html").render(_context(result, pictures, public=public))
    page.write_text(text, encoding="utf-8")


def environment() -> Environment:
    """Return the templates of this folder with the filters of `dpaudit.reports.numbers`."""
    templates = Environment(
        loader=PackageLoader("dpaudit.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for name in (
        "at_least",
        "at_most",
        "chance",
        "count",
        "duration",
        "fixed",
        "percent",
        "score",
        "score_interval",
        "small",
    ):
        templates.filters[name] = getattr(numbers, name)
    templates.filters["fact"] = _fact
    templates.filters["features"] = headline.features
    templates.tests["too_few_for"] = _too_few_for
    return templates


def _context(result: AuditResult, pictures: Path, *, public: bool) -> dict[str, Any]:
    shown, lost = ((), ()) if public else embed(result.pictures, pictures)
    return {
        "result": result,
        "title": result.title or result.name,
        "public": public,
        "left_out": _left_out(result),
        "answer": headline.answer(result),
        "gloss": headline.gloss(result),
        "sign": SIGNS[result.verdict.word],
        "marks": MARKS,
        "three": (headline.promised(result), headline.refuted(result), headline.bought(result)),
        "tally": Counter(each.status for each in result.assumptions),
        "baselines": _baselines(result),
        "assumptions": sorted(result.assumptions, key=_worst_first),
        "fprs": FPRS,
        "attack_groups": _attack_groups(result),
        "best_bound": partial(_best_bound, result),
        "one_step": any(bound.one_step for bound in result.bounds),
        "starred": any(_too_few_for(attack, fpr) for attack in result.attacks for fpr in FPRS),
        "bound_groups": _bound_groups(result),
        "hypotheses": headline.HYPOTHESES,
        "guarantees": headline.GUARANTEES,
        "family": headline.family_confidence(result) if headline.deciding(result) else None,
        "audit_block": any(bound.threat and bound.threat.inserts == "gradients" for bound in result.bounds),
        "mechanism": _mechanism(result),
        "beginning": None if result.beginning is None else beginning_line(result.beginning),
        "foresight": foresight.hypotheses(result),
        "more_runs": foresight.more_runs(result),
        "largest": partial(foresight.largest, result),
        "least_power": result.recipe.get("bounds", {}).get("power", 0.8),
        "probe_caption": _probe_caption,
        "recipe": _recipe(result),
        "pictures": [each for each in shown if each.file != _EXPOSED],
        "thumbnails": next((each for each in shown if each.file == _EXPOSED), None),
        "spent": None if result.spent is None else curves.spent(result, result.spent),
        "missing": (*result.missing, *lost),
        **_bars(result),
        **_probes(result),
        **({} if public else _curves(result)),
    }


def _bars(result: AuditResult) -> dict[str, Any]:
    bars = figures.epsilon_bars(result) if result.bounds else None
    return {"bars": bars, "more_bars": len(result.bounds) - len(figures.drawn(result.bounds))}


def _probes(result: AuditResult) -> dict[str, Any]:
    shown = [p for p in result.probes if p.measurements][:MOST_PROBES]
    drawn = [(probe, figures.probe_bars(probe, f"probe-{number}")) for number, probe in enumerate(shown)]
    return {"probes": drawn, "more_probes": len(result.probes) - len(shown)}


def _curves(result: AuditResult) -> dict[str, Any]:
    """Return everything that is drawn from private data; a public page gets none of it."""
    attacks, curve = curves.strongest_first(result), result.promise.curve
    regions = [attack for attack in curves.of_the_run(attacks) if attack.measured is not None]
    histograms = [
        (attack, figures.histogram(attack, f"scores-{number}"))
        for number, attack in enumerate(attacks[:MOST_HISTOGRAMS])
    ]
    quantities = _by_quantity(result)
    training = [
        (name, figures.training(name, curves, f"training-{number}"))
        for number, (name, curves) in enumerate(quantities[:MOST_TRAINING])
    ]
    return {
        "roc": figures.roc(attacks, curve if curves.of_the_run(attacks) else None) if attacks else None,
        "of_steps": len(curves.of_the_run(attacks)) < len(attacks),
        "bands": any(attack.roc_low is not None for attack in attacks[: figures.MOST_LINES]),
        "trade_off": curves.trade_off(regions, curve) if regions and curve is not None else None,
        "more_regions": max(0, len(regions) - curves.MOST_REGIONS),
        "more_roc": max(0, len(attacks) - figures.MOST_LINES),
        "histograms": histograms,
        "more_histograms": len(attacks) - len(histograms),
        "training": training,
        "more_training": len(quantities) - len(training),
    }


def _by_quantity(result: AuditResult) -> list[tuple[str, list[tuple[str, Series]]]]:
    """Return (quantity, [(run, curve)]) with targets before references."""
    found: dict[str, list[tuple[str, Series]]] = defaultdict(list)
    for run in sorted(result.runs, key=lambda run: run.role != "target"):
        for series in run.curves:
            found[series.name].append((run.name, series))
    return list(found.items())


def _bound_groups(result: AuditResult) -> list[tuple[Standing, list[Bound], dict[str, int]]]:
    """Return the bounds by standing: those with a row, and how many of each attack refuted nothing and have none."""
    ranked = by_standing(result.bounds)
    silent = [bound for bound in ranked if bound.epsilon == 0 and not standing(bound).decides]
    hidden = silent if len(silent) > MOST_SILENT else []
    groups = [(group, [bound for bound in ranked if standing(bound) is group]) for group in STANDINGS]
    return [
        (
            group,
            [bound for bound in bounds if bound not in hidden],
            dict(Counter(bound.attack or bound.method for bound in bounds if bound in hidden)),
        )
        for group, bounds in groups
        if bounds
    ]


def _attack_groups(result: AuditResult) -> list[tuple[str, list[AttackResult]]]:
    """Return the attacks by what the attacker sees, the least first; in a group in the order of the recipe."""
    found = ((access, [each for each in result.attacks if each.threat.access == access]) for access in _ACCESS)
    return [(f"The attacker sees: {access}", attacks) for access, attacks in found if attacks]


def _best_bound(result: AuditResult, attack: AttackResult) -> Bound | None:
    """Return the bound of an attack that says most: a deciding one before others, of those the largest."""
    return next((bound for bound in by_standing(result.bounds) if bound.attack == attack.attack), None)


def _left_out(result: AuditResult) -> list[str]:
    training = sum(len(run.curves) for run in result.runs)
    amounts = {
        "ROC curve": len(result.attacks),
        "score histogram": 2 * len(result.attacks),
        "training curve": training,
        "picture": len(result.pictures),
    }
    ids = ["the ids in the evidence of premises"] if any(each.public is not None for each in result.assumptions) else []
    counted = [f"{amount} {noun}{'s' * (amount > 1)}" for noun, amount in amounts.items() if amount]
    return counted + ids + (["the most exposed records"] if result.attacks else [])


def _mechanism(result: AuditResult) -> list[tuple[str, str]]:
    m = result.promise.mechanism
    return [
        ("Sampling", m.sampling + m.stream),
        ("Neighbours", m.adjacency),
        ("Noise multiplier", numbers.fixed(m.noise_multiplier)),
        ("Clip norm C", numbers.fixed(m.clip_norm)),
        ("Sampling rate", f"{m.sampling_rate:.4g}"),
        ("Steps", numbers.count(m.steps)),
        ("Expected batch size", numbers.count(m.batch_size)),
        ("Records", numbers.count(m.dataset_size)),
    ]


def _baselines(result: AuditResult) -> list[str]:
    """Return what the trained features are compared with, in words; nothing twice."""
    seen = dict.fromkeys(each.features for probe in result.probes for each in probe.measurements)
    return [_BASELINES.get(name, name) for name in seen if name != "trained"] or ["nothing else"]


def _probe_caption(probe: ProbeResult) -> str:
    detail = ", ".join(f"{name} {numbers.detail(name, value)}" for name, value in probe.detail.items())
    sizes = f"trained on {numbers.count(probe.train_size)}, tested on {numbers.count(probe.test_size)}"
    return f"{probe.probe} probe of {probe.run}: {sizes}{'; ' + detail if detail else ''}"


def _recipe(result: AuditResult) -> str:
    recipe = result.model_dump(mode="json", include={"recipe"})["recipe"]
    return yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True) if recipe else ""


def _worst_first(assumption: Assumption) -> int:
    return ("violated", "unknown", "held").index(assumption.status)


def _too_few_for(attack: AttackResult, fpr: str) -> bool:
    """Return whether not even one false positive fits into this rate."""
    return 0 < Fraction(fpr) * (attack.candidates - attack.members) < 1


def _fact(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return numbers.count(value) if isinstance(value, int) else f"{value:.4g}"
