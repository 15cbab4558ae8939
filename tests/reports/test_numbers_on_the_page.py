"""Every number that a reader sees is in results.json, or is one of a few words of the page itself."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import dpaudit.reports
from dpaudit.reports.files import write_report
from dpaudit.reports.headline import family_confidence
from dpaudit.results import Exposed, Exposure, Interval, Series

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dpaudit.results import AuditResult

NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?:e-?\d+)?(?![\w])")
TEMPLATES = Path(dpaudit.reports.__file__).parent / "templates"


def shown_numbers(page: str) -> set[str]:
    """Return the numbers in the text of a page; ticks of figures, which matplotlib chooses, are no statement."""
    body = page[page.index("<body>") :]
    words = re.sub(r"<[^>]*>", " ", re.sub(r"<svg.*?</svg>", " ", body, flags=re.DOTALL))
    return set(NUMBER.findall(words))


def leaves(value: Any) -> Iterator[float]:
    """Yield every number of results.json, those within its texts too."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(str(key))
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, str):
        yield from (float(found.replace(",", "")) for found in NUMBER.findall(value))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield float(value)


def derived(result: AuditResult) -> Iterator[float]:
    """Yield what the page adds up: counts over runs, levels of deciding bounds, times in two units, ranks."""
    for bound in result.bounds:
        counts = bound.counts
        yield from (len(counts.canaries), sum(counts.canaries), sum(counts.guesses), sum(counts.correct))
        yield from (sum(counts.guesses_in), sum(counts.guesses_out))
    yield family_confidence(result)
    yield sum(bound.epsilon == 0 for bound in result.bounds)
    for run in result.runs:
        yield from (run.seconds // 60, round(run.seconds) % 60, run.seconds // 3600, run.seconds // 60 % 60)
    for status in ("held", "violated", "unknown"):
        yield sum(each.status == status for each in result.assumptions)
    yield from range(10)  # ranks, and how many more there are


def agrees(text: str, value: float) -> bool:
    """Return whether a number as it is printed is this value rounded up, down or to the nearest, or in per cent."""
    if not math.isfinite(value):
        return False
    printed = Decimal(text.replace(",", ""))
    digit = Decimal(1).scaleb(int(printed.as_tuple().exponent))
    return any(abs(printed - Decimal(repr(scaled))) <= digit * Decimal("1.000001") for scaled in (value, 100 * value))


def unexplained(page: str, result: AuditResult) -> set[str]:
    values = sorted({*leaves(json.loads(result.model_dump_json())), *derived(result)})
    own = {number for path in TEMPLATES.glob("*.html") for number in NUMBER.findall(path.read_text(encoding="utf-8"))}
    return {text for text in shown_numbers(page) - own if not any(agrees(text, value) for value in values)}


@pytest.fixture
def full(samples: dict[str, AuditResult]) -> AuditResult:
    exposed = Exposure(
        attack="loss",
        run="target-00",
        family="pool",
        auc=Interval(value=0.6123, low=0.5, high=0.7),
        non_members=497,
        records=(Exposed(record="digits-81", score=1.2534, share_below=0.97585),),
    )
    spent = Series(name="epsilon by step", x=(1.0, 400.0), y=(0.9, 7.9998))
    return samples["consistent"].model_copy(update={"exposed": exposed, "spent": spent})


@pytest.mark.parametrize("public", [False, True])
def test_every_number_is_in_the_results(full: AuditResult, pictures: Path, tmp_path: Path, public: bool) -> None:
    write_report(full, pictures, tmp_path / "out", public=public)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert len(shown_numbers(page)) > 80
    assert unexplained(page, full) == set()


def test_a_number_from_elsewhere_is_found(full: AuditResult, pictures: Path, tmp_path: Path) -> None:
    write_report(full, pictures, tmp_path / "out", public=False)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert unexplained(page.replace("</main>", "<p>34.567</p></main>"), full) == {"34.567"}
    other = full.model_copy(update={"exposed": None})
    assert "497" in unexplained(page, other)
