"""Means over seeds: who is joined, what stands beside what, and the interval of a textbook."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dpaudit.errors import InputError
from dpaudit.metrics import over_seeds
from dpaudit.reports.comparison import write_comparison
from dpaudit.reports.seeds import Repeated, repeated
from dpaudit.results import Interval, Measurement, ProbeResult

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from dpaudit.results import AuditResult


def scored(value: float) -> Interval:
    return Interval(value=value, low=value - 0.1, high=value + 0.1)


def probed(run: str, trained: float, pixels: float) -> ProbeResult:
    found = {"trained": trained, "raw pixels": pixels}
    return ProbeResult(
        probe="linear",
        run=run,
        metric="accuracy",
        measurements=tuple(Measurement(features=name, score=scored(value)) for name, value in found.items()),
        train_size=10,
        test_size=10,
    )


def audit(sample: AuditResult, seed: int, probes: tuple[ProbeResult, ...], **recipe: Any) -> AuditResult:
    changed = {**sample.recipe, "seed": seed, "name": f"vip-{seed}", **recipe}
    return sample.model_copy(update={"recipe": changed, "probes": probes})


@pytest.fixture
def three(samples: dict[str, AuditResult]) -> dict[str, AuditResult]:
    """Three seeds of one recipe, and another recipe."""
    sample, scores = samples["consistent"], {0: (0.40, 0.30), 1: (0.42, 0.35), 2: (0.44, 0.40)}
    runs = {
        f"vip-{seed}": audit(sample, seed, (probed("target-00", *both),), start={"weights": f"runs/{seed}/start"})
        for seed, both in scores.items()
    }
    return runs | {"other": audit(sample, 0, (probed("target-00", 0.9, 0.1),), privacy={"epsilon": 2.0})}


def test_the_interval_is_students() -> None:
    """By simulation: 95 % of intervals of three normal values hold their mean."""
    draws = np.random.default_rng(0).normal(size=(4000, 3))
    found = [over_seeds(row.tolist()) for row in draws]
    covered = np.mean([each.low <= 0 <= each.high for each in found])
    assert abs(covered - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 4000)
    with pytest.raises(InputError, match="two trainings or more"):
        over_seeds([1.0])


def test_seeds_of_one_recipe_are_joined_and_no_other(three: dict[str, AuditResult]) -> None:
    found = {each.features: each for each in repeated(three)}
    assert list(found) == ["trained", "raw pixels", "trained - raw pixels"]
    assert {each.recipe for each in found.values()} == {"vip"}
    assert found["trained"].values == (0.40, 0.42, 0.44)
    assert found["trained"].names == ("0", "1", "2")
    assert found["trained"].mean_text == "42.0 %"
    assert found["trained"].interval_text == "37.0 to 47.0 %"


def test_differences_are_taken_within_a_seed(three: dict[str, AuditResult]) -> None:
    apart = next(each for each in repeated(three) if each.is_difference)
    np.testing.assert_allclose(apart.values, (0.10, 0.07, 0.04))
    assert (apart.mean_text, apart.above_zero) == ("+7.0 points", 3)
    assert apart.interval_text == "-0.5 points to +14.5 points"


def test_targets_and_audits_of_one_seed_are_averaged_first(samples: dict[str, AuditResult]) -> None:
    sample = samples["consistent"]
    runs = {
        "a": audit(sample, 0, (probed("target-00", 0.2, 0.1), probed("target-01", 0.4, 0.1))),
        "b": audit(sample, 0, (probed("target-00", 0.6, 0.1),)),
        "c": audit(sample, 1, (probed("target-00", 0.5, 0.1),)),
    }
    trained = next(each for each in repeated(runs) if each.features == "trained")
    np.testing.assert_allclose(trained.values, (0.4, 0.5))


def test_targets_of_one_audit_are_compared_without_what_they_share(samples: dict[str, AuditResult]) -> None:
    runs = {"a": audit(samples["consistent"], 0, (probed("target-00", 0.2, 0.1), probed("target-01", 0.4, 0.1)))}
    found = repeated(runs)
    assert [(each.features, each.over) for each in found] == [
        ("trained", "targets"),
        ("trained - raw pixels", "targets"),
    ]
    assert found[0].names == ("target-00", "target-01")


def test_what_was_trained_once_has_no_interval_over_seeds(samples: dict[str, AuditResult]) -> None:
    once = {"a": audit(samples["consistent"], 0, (probed("target-00", 0.2, 0.1),))}
    assert repeated(once) == []
    assert repeated({**once, "again": once["a"]}) == []


def test_the_page_and_the_table_show_them(three: dict[str, AuditResult], tmp_path: Path) -> None:
    page, _, table = write_comparison(three, tmp_path)
    text = page.read_text(encoding="utf-8")
    assert "Over seeds" in text
    assert "37.0 to 47.0 %" in text
    assert "above 0 in 3" in text
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert [float(row["mean"]) for row in rows] == [each.mean.value for each in repeated(three)]
    assert rows[0]["names"] == "0 1 2"


def test_a_row_is_unrounded() -> None:
    each = Repeated(
        recipe="r", probe="p", metric="CIDEr", features="trained", over="seeds", names=("0", "1"), values=(1.0, 2.0)
    )
    assert each.row()["mean"] == 1.5
    assert each.mean_text == "1.5"
