"""A model card (Mitchell et al. 2019) with a section on privacy, as Markdown with the metadata that model hubs read.

It is written to be published beside the weights, so it never holds the id of a record. What an audit cannot know, such
as a licence, is said to be unknown: whoever publishes the model adds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from dpaudit.reports import foresight, headline, numbers
from dpaudit.reports.beginning import beginning_line
from dpaudit.reports.markdown import markdown_table, plain
from dpaudit.reports.sheets import Sheet, sheets
from dpaudit.reports.standing import standing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dpaudit.results import Assumption, AuditResult

__all__ = ["model_card"]

_LIMITS = (
    "The ε holds for the released weights, if every premise above holds. Aggregate numbers of this card were computed "
    "from private data and are not covered by it.",
    "It protects one record as defined above. Whoever is in several records is protected less.",
    "Differential privacy bounds what the model reveals because a record was in training. It promises nothing of facts "
    "that many records share, and neither fairness nor accuracy.",
    "A lower bound says what attacks achieved, never what the best attack could.",
)


def model_card(result: AuditResult) -> str:
    """Return the card of the audited model. result: as `published` gives it."""
    parts = [
        _metadata(result),
        f"# {plain(result.title or result.name)}",
        f"{plain(result.system)}. This card was written by dpaudit {result.dpaudit_version} from the results of a "
        "privacy audit; licence, authors, intended use and the origin of the data are not known to an audit.",
        "## Privacy",
        f"**{result.verdict.word}.** {plain(result.verdict.sentence)}",
        *_reasons(result),
        markdown_table(_privacy(result)),
        "### Premises",
        _premises(result),
        "### What the audit tried",
        _tried(result),
        "### Limits",
        _listed(_LIMITS),
        "## Evaluation",
        _tables(result, "probes") or "No probe was run, so nothing is known of the model's utility.",
        "## Training",
        _training(result),
        "## How to reproduce this",
        "```\n" + "\n".join(result.commands or ("no command was recorded",)) + "\n```",
    ]
    if result.missing:
        parts += ["## What the audit lacks", _listed(result.missing)]
    return "\n\n".join(parts) + "\n"


def _metadata(result: AuditResult) -> str:
    trainer = str(result.recipe.get("trainer", {}).get("name", "")) if result.recipe else ""
    tags = ["differential-privacy", "privacy-audit", *([trainer] if trainer else [])]
    fields = {"model_name": result.name, "library_name": "pytorch", "tags": tags}
    return "---\n" + yaml.safe_dump(fields, sort_keys=False, allow_unicode=True) + "---"


def _reasons(result: AuditResult) -> list[str]:
    return [_listed(result.verdict.reasons)] if result.verdict.reasons else []


def _privacy(result: AuditResult) -> Sheet:
    promised, refuted, mechanism = headline.promised(result), headline.refuted(result), result.promise.mechanism
    rows = [
        ("Claim", f"ε = {promised.value}; {'; '.join(promised.lines)}"),
        ("Privacy unit", _unit(result)),
        ("Neighbouring data sets", mechanism.adjacency),
        ("Mechanism", _mechanism(result)),
        ("Accountants", _accountants(result)),
        ("Lower bound by attacks", f"ε ≥ {refuted.value}; {'; '.join(refuted.lines)}"),
        ("Verdict of the audit", f"{result.verdict.word}: {headline.gloss(result)}"),
    ]
    header = ("Differential privacy", "What is claimed and what was found")
    return Sheet(name="privacy", caption="Privacy", header=header, numeric=frozenset(), rows=tuple(rows))


def _unit(result: AuditResult) -> str:
    found = [each.evidence for each in result.assumptions if each.name == "privacy unit"]
    return found[0] if found else "one record; the audit did not look at the records"


def _mechanism(result: AuditResult) -> str:
    m = result.promise.mechanism
    if not m.is_private:
        return "no differential privacy: no clipping or no noise"
    return (
        f"DP-SGD: {numbers.count(m.steps)} noisy clipped sums, {m.sampling} sampling{m.stream} at rate "
        f"{m.sampling_rate:.4g} (expected batch {numbers.count(m.batch_size)} of {numbers.count(m.dataset_size)} "
        f"records), clip norm {numbers.fixed(m.clip_norm)}, noise multiplier {numbers.fixed(m.noise_multiplier)}"
    )


def _accountants(result: AuditResult) -> str:
    known = [each for each in result.guarantees if each.epsilon is not None]
    if not known:
        return "none has a sound answer, or none was asked"
    answers = (f"{each.accountant} ε = {'> ' * each.exceeds}{numbers.at_most(each.epsilon)}" for each in known)
    return f"{'; '.join(answers)}, at δ = {numbers.small(known[0].delta)}"


def _premises(result: AuditResult) -> str:
    if not result.assumptions:
        return "No premise was checked."
    held = [each.name for each in result.assumptions if each.status == "held"]
    open_ones = [f"**{each.status}**, {plain(each.name)}: {plain(each.evidence)}" for each in _worst(result)]
    lines = [*open_ones, *([f"held ({len(held)}): {plain('; '.join(held))}"] if held else [])]
    return "\n".join(f"- {line}" for line in lines)


def _worst(result: AuditResult) -> list[Assumption]:
    ranked = ("violated", "unknown")
    return [each for status in ranked for each in result.assumptions if each.status == status]


def _tried(result: AuditResult) -> str:
    telling = tuple(bound for bound in result.bounds if standing(bound).decides or bound.epsilon > 0)
    silent = len(result.bounds) - len(telling)
    told = [
        _tables(result, "attacks"),
        _tables(result.model_copy(update={"bounds": telling}), "bounds"),
        f"{silent} more bounds refuted nothing." if silent else "",
        *map(plain, foresight.more_runs(result)),
    ]
    return "\n\n".join(part for part in told if part) or "No attack was judged."


def _tables(result: AuditResult, name: str) -> str:
    return "\n\n".join(
        markdown_table(sheet) + (f"\n\n*{plain(sheet.note)}*" if sheet.note else "")
        for sheet in sheets(result)
        if sheet.name == name
    )


def _training(result: AuditResult) -> str:
    lines = []
    if result.beginning is not None:
        lines.append(beginning_line(result.beginning))
    for run in result.runs:
        if run.role == "target":
            facts = "".join(f", {name} {run.facts[name]}" for name in ("device", "precision") if name in run.facts)
            time = numbers.duration(run.seconds)
            sizes = f"{numbers.count(run.parameters)} parameters, {numbers.count(run.steps)} steps"
            lines.append(f"{run.name}: {sizes}, {time}{facts}")
    data = result.recipe.get("data", {}).get("name") if result.recipe else None
    lines += [f"data set: {data}"] if data else []
    return _listed(lines) if lines else "No run was finished."


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"- {plain(line)}" for line in lines)
