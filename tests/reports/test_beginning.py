"""The line on where training began: what was done, what the data are, and no loss of data that are not public."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dpaudit.reports.beginning import beginning_line
from dpaudit.reports.files import write_report
from dpaudit.results import Beginning

if TYPE_CHECKING:
    from pathlib import Path

    from dpaudit.results import AuditResult

STAGE = Beginning(
    kind="pretrain",
    source="procedural",
    fingerprint="0" * 32,
    weights="ab" * 32,
    records=4000,
    batch_size=128,
    steps=300,
    seconds=75.0,
    first_loss=1.98,
    last_loss=1.02,
    by_construction=True,
    shared=0,
    compared=0,
)


def test_a_public_stage_is_told_with_its_losses() -> None:
    assert beginning_line(STAGE) == (
        "All runs start from a public stage without noise: 300 steps of 128 on procedural, 4,000 records made by a "
        "program; loss 1.98 to 1.02, 1 min 15 s (SHA-256 of the start: abababababababab)."
    )
    assert "declared public; loss" in beginning_line(STAGE.model_copy(update={"by_construction": False}))


@pytest.mark.parametrize("found", [{"same_data": True}, {"shared": 3, "compared": 4000}])
def test_a_stage_that_saw_private_records_is_no_public_one(found: dict[str, int | bool]) -> None:
    line = beginning_line(STAGE.model_copy(update=found))
    assert ("NOT public" in line, "loss" in line) == (True, False)


def test_parts_of_a_file_are_named() -> None:
    given = Beginning(kind="weights", source="w", fingerprint="1", weights="2" * 64, parts=("encoder", "bridge"))
    assert beginning_line(given).startswith("All runs start from the modules encoder, bridge of w (")


@pytest.mark.parametrize("public", [False, True])
def test_it_stands_in_the_training_part_of_the_page(
    samples: dict[str, AuditResult], pictures: Path, tmp_path: Path, public: bool
) -> None:
    result = samples["consistent"].model_copy(update={"beginning": STAGE})
    write_report(result, pictures, tmp_path, public)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    training = text[text.index('id="training"') :]
    assert beginning_line(STAGE) in training[: training.index("</section>")]
    assert ">pre-trained<" not in text
