"""What of a result may stand on a public page: no id of a record, and no message that could quote one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dpaudit.results import Assumption, AuditResult, Verdict

__all__ = ["published"]


def published(result: AuditResult) -> AuditResult:
    """Return the result without ids of records; curves and pictures are left out by whoever draws them.

    Evidence is replaced by its public form, also where the verdict quotes it; of a failure only its place is kept.
    """
    return result.model_copy(
        update={
            "assumptions": tuple(_premise(each) for each in result.assumptions),
            "verdict": _verdict(result.verdict, result.assumptions),
            "missing": tuple(_without_message(line) for line in result.missing),
            "exposed": None,
        }
    )


def _premise(assumption: Assumption) -> Assumption:
    if assumption.public is None:
        return assumption
    return assumption.model_copy(update={"evidence": assumption.public})


def _verdict(verdict: Verdict, assumptions: tuple[Assumption, ...]) -> Verdict:
    reasons = list(verdict.reasons)
    for each in assumptions:
        if each.public is not None:
            reasons = [reason.replace(each.evidence, each.public) for reason in reasons]
    return verdict.model_copy(update={"reasons": tuple(reasons)})


def _without_message(line: str) -> str:
    """Return the line up to the word "failed", where there is one.

    >>> _without_message("Attack loss on target-00 failed: ValueError: record 17")
    'Attack loss on target-00 failed'
    """
    head, failed, _ = line.partition(" failed: ")
    return head + failed.removesuffix(": ")
