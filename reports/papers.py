"""What the papers report, with where each number was read, and what ours are beside it: results read from audits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from dpaudit.reports import numbers
from dpaudit.reports.headline import features

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dpaudit.results import AuditResult

__all__ = ["PAPERS", "READ", "Paper", "Row", "ours", "published_rows"]

Evidence: TypeAlias = Literal["read", "abstract", "figure", "secondary", "recalled"]
#: how a number was come by; all but the last are verified in what they name
READ: dict[Evidence, str] = {
    "read": "in the authors' repository",
    "abstract": "in the abstract",
    "figure": "measured off the authors' figure, to 0.1 points",
    "secondary": "in a review or a listing, not in the paper",
    "recalled": "from memory, not verified",
}


@dataclass(frozen=True, kw_only=True)
class Reported:
    """One number of a paper. model: another one than the paper's, trained otherwise. epsilon "—": it was not said."""

    measure: str
    value: str
    epsilon: str
    evidence: Evidence
    model: str | None = None


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A published system: how it was trained, what it reports, and what of it could not be had."""

    trainer: str
    system: str
    source: str
    data: str
    records: str
    batch: str
    steps: str
    training: Evidence
    reports: tuple[Reported, ...]
    lacking: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the table: theirs, or ours."""

    system: str
    what: str
    value: str
    epsilon: str
    records: str
    batch: str
    steps: str
    source: str
    is_ours: bool


def _reported(evidence: Evidence, measure: str, value: str, epsilon: str = "8", model: str | None = None) -> Reported:
    return Reported(measure=measure, value=value, epsilon=epsilon, evidence=evidence, model=model)


PAPERS = (
    Paper(
        trainer="vip",
        system="ViP (Base)",
        source="arXiv 2306.08842",
        data="LAION subset, ImageNet-1K probe",
        records="233 million",
        batch="98,304",
        steps="6,000",
        training="recalled",
        reports=(
            _reported("read", "linear probe", "55.7 %"),
            _reported("read", "linear probe", "49.8 %", "0", "its synthetic start"),
            _reported("secondary", "linear probe", "49.0 %", "—", "TAN, private on ImageNet-1K"),
            _reported("secondary", "linear probe", "67.5 %", "∞", "SimCLR on ImageNet-1K"),
            _reported("secondary", "private fine-tuning", "50.3 %"),
        ),
    ),
    Paper(
        trainer="dp-cap",
        system="DP-Cap",
        source="arXiv 2403.02506",
        data="LAION subset, ImageNet-1K probes",
        records="233,804,767",
        batch="1,310,720",
        steps="5,708",
        training="read",
        reports=(
            _reported("abstract", "linear probe", "65.8 %"),
            _reported("abstract", "linear probe", "56.5 %", "—", "the best private one before"),
            _reported("figure", "10-shot", "31.8 %"),
            _reported("figure", "10-shot", "10.4 %", "0", "its synthetic start"),
            _reported("figure", "10-shot", "13.2 %", "8", "ViP on the same records"),
            _reported("figure", "zero-shot", "7.8 %"),
            _reported("figure", "VG-Relation, chance 50 %", "59 %"),
            _reported("figure", "VG-Attribution, chance 50 %", "82 %"),
        ),
    ),
    Paper(
        trainer="dp-clip",
        system="DP-CLIP",
        source="arXiv 2306.08173",
        data="as a later listing compares it",
        records="—",
        batch="—",
        steps="—",
        training="secondary",
        reports=(
            _reported("secondary", "CIFAR-10, accuracy", "35.1 %", "—"),
            _reported("secondary", "EuroSAT, accuracy", "50.0 %", "—"),
            _reported("secondary", "CUHK-PEDES, text to image, R@1", "13.3 %", "—"),
            _reported("secondary", "CIFAR-10, accuracy", "42.3 %", "—", "DP-GCL"),
        ),
        lacking="The paper's own tables, batch, rate and clip norm were not to be had. The listing names no epsilon, "
        "model or start, and that its rows are of the DP-GCL paper (arXiv 2604.26467) is inferred from the data sets.",
    ),
    Paper(
        trainer="logit-dp",
        system="Logit-DP",
        source="arXiv 2310.03104",
        data="CIFAR-10, pairs",
        records="50,000",
        batch="—",
        steps="—",
        training="read",
        reports=(),
        lacking="Its tables were not to be had; its released code was read in full.",
    ),
)


def published_rows(paper: Paper) -> list[Row]:
    """Return what a paper reports; one row without a value where its tables were not to be had.

    >>> [row.value for row in published_rows(PAPERS[0])][:2]
    ['55.7 %', '49.8 %']
    """
    reports = paper.reports or (Reported(measure="its own numbers", value="—", epsilon="—", evidence=paper.training),)
    doubt = ", recalled" if paper.training == "recalled" else ""
    own, other = (paper.records, paper.batch + doubt, paper.steps + doubt), (numbers.NOTHING,) * 3
    return [
        Row(
            system=each.model or paper.system,
            what=each.measure,
            value=each.value,
            epsilon=each.epsilon,
            **_size(own if each.model is None else other),
            source=f"{paper.source}, {each.evidence}" if each.value != numbers.NOTHING else paper.source,
            is_ours=False,
        )
        for each in reports
    ]


def ours(runs: Mapping[str, AuditResult], trainer: str) -> list[Row]:
    """Return what audits of this trainer measured: each probe of the trained model, with its interval and baselines."""
    return [
        Row(
            system=name,
            what=f"{probe.probe} on {result.recipe.get('data', {}).get('name', '—')}, {features(each.features)}",
            value=f"{numbers.score(each.score.value, probe.metric)} "
            f"({numbers.score_interval(each.score, probe.metric)})",
            epsilon=_epsilon(result, each.features),
            **_size(_trained_on(result) if each.features == "trained" else (numbers.NOTHING,) * 3),
            source="results.json",
            is_ours=True,
        )
        for name, result in runs.items()
        if result.recipe.get("trainer", {}).get("name") == trainer
        for probe in result.probes
        for each in probe.measurements
    ]


def _size(found: tuple[str, str, str]) -> dict[str, str]:
    return dict(zip(("records", "batch", "steps"), found, strict=True))


def _trained_on(result: AuditResult) -> tuple[str, str, str]:
    mechanism = result.promise.mechanism
    return numbers.count(mechanism.dataset_size), numbers.count(mechanism.batch_size), numbers.count(mechanism.steps)


def _epsilon(result: AuditResult, kind: str) -> str:
    """Return the epsilon that features cost: that of the run, or of what it is compared with."""
    if kind == "trained":
        return numbers.at_most(result.promise.epsilon)
    if (
        kind == "pre-trained"
        and result.beginning is not None
        and (result.beginning.same_data or result.beginning.earlier)
    ):
        return numbers.NOTHING
    return {"non-private": "∞", "pre-trained": "0", "untrained": "0", "raw pixels": "0"}.get(kind, numbers.NOTHING)
