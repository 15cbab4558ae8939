"""The page: self-contained, deterministic, honest about what it leaves out, and never broken by partial results."""

from __future__ import annotations

import csv
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from dpaudit.reports.files import write_report
from dpaudit.reports.text import summary

if TYPE_CHECKING:
    from pathlib import Path

    from dpaudit.results import AuditResult

WORDS = {
    "consistent": "CONSISTENT",
    "violated": "VIOLATED",
    "unsound": "UNSOUND",
    "inconclusive": "INCONCLUSIVE",
}


class Outline(HTMLParser):
    """What a test asks of a page: its tags with attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def page(result: AuditResult, pictures: Path, out: Path, *, public: bool = False) -> str:
    write_report(result, pictures, out, public)
    return (out / "report.html").read_text(encoding="utf-8")


def test_a_page_is_one_file_without_script_or_address(
    samples: dict[str, AuditResult], pictures: Path, tmp_path: Path
) -> None:
    for name in ("consistent", "unpromised"):
        text = page(samples[name], pictures, tmp_path / name)
        outline = Outline(text)
        assert not any(tag in {"script", "link"} for tag, _ in outline.tags)
        for tag, attributes in outline.tags:
            for key in ("src", "href"):
                address = attributes.get(key) or ""
                assert address == "" or address.startswith(("data:image/png;base64,", "#")), (name, tag, address)
        assert "@import" not in text
        assert len(text) < 3_000_000


def test_the_same_results_give_the_same_bytes(samples: dict[str, AuditResult], pictures: Path, tmp_path: Path) -> None:
    result = samples["consistent"]
    assert page(result, pictures, tmp_path / "a") == page(result, pictures, tmp_path / "b")


@pytest.mark.parametrize("name", list(WORDS))
def test_the_verdict_comes_first_in_words(
    samples: dict[str, AuditResult], pictures: Path, tmp_path: Path, name: str
) -> None:
    result = samples[name]
    text = Outline(page(result, pictures, tmp_path)).text
    assert result.verdict.word == WORDS[name]
    assert text.index(WORDS[name]) < text.index("Promised ε") < text.index("Refuted ε") < text.index("Utility bought")
    assert result.verdict.sentence in text


def test_every_picture_has_words_for_who_cannot_see_it(
    samples: dict[str, AuditResult], pictures: Path, tmp_path: Path
) -> None:
    outline = Outline(page(samples["consistent"], pictures, tmp_path))
    images = [attributes for tag, attributes in outline.tags if tag == "img"]
    drawings = [attributes for tag, attributes in outline.tags if tag == "svg"]
    assert images
    assert len(drawings) >= 4
    assert all(attributes.get("alt") for attributes in images)
    assert all(attributes.get("aria-label") or attributes.get("aria-labelledby") for attributes in drawings)


def test_a_public_page_leaves_private_parts_out_and_says_so(
    samples: dict[str, AuditResult], pictures: Path, tmp_path: Path
) -> None:
    result = samples["consistent"]
    private = page(result, pictures, tmp_path / "private")
    public = page(result, pictures, tmp_path / "public", public=True)
    assert "Public version." in public
    assert "Public version." not in private
    assert "data:image/png" in private
    assert "data:image/png" not in public
    assert ("a small ring" in private, "a small ring" in public) == (True, False)
    assert public.count("<svg") < private.count("<svg")
    assert result.verdict.sentence in Outline(public).text


def test_what_a_model_says_stands_beside_the_true_captions(
    samples: dict[str, AuditResult], pictures: Path, tmp_path: Path
) -> None:
    text = Outline(page(samples["consistent"], pictures, tmp_path)).text
    assert "1 a large ring a small ring 2 nothing none" in " ".join(text.split())


@pytest.mark.parametrize("kept", [("guarantees", "runs", "bounds", "probes"), ("assumptions", "attacks", "plans"), ()])
def test_partial_results_give_a_partial_page(
    samples: dict[str, AuditResult], tmp_path: Path, kept: tuple[str, ...]
) -> None:
    parts = ("guarantees", "assumptions", "runs", "attacks", "bounds", "plans", "probes", "pictures")
    empty: dict[str, object] = {name: () for name in parts if name not in kept}
    result = samples["consistent"].model_copy(update=empty | {"missing": ("everything else was lost",)})
    text = page(result, tmp_path / "no-pictures", tmp_path)
    assert "CONSISTENT" in text
    assert "everything else was lost" in text


def test_what_is_not_certified_is_never_shown_as_certified(
    samples: dict[str, AuditResult], pictures: Path, tmp_path: Path
) -> None:
    text = page(samples["consistent"], pictures, tmp_path)
    table = text[text.index('id="bounds"') :]
    conditional = table.index("Not certified: holds only under independence")
    assert table.index("Deciding") < conditional
    assert "only if canaries do not interact" in table[conditional:]


def test_many_bounds_that_refute_nothing_are_counted_not_listed(
    samples: dict[str, AuditResult], pictures: Path, tmp_path: Path
) -> None:
    base = samples["consistent"]
    zero = base.bounds[2].model_copy(update={"epsilon": 0.0, "attack": "loss"})
    many = base.model_copy(
        update={"bounds": (*base.bounds, *(zero.model_copy(update={"note": str(k)}) for k in range(20)))}
    )
    text = Outline(page(many, pictures, tmp_path)).text
    assert "20 more refuted nothing (ε = 0): loss (20)" in text
    assert "more refuted nothing" not in Outline(page(base, pictures, tmp_path)).text
    with (tmp_path / "tables" / "bounds.csv").open(newline="", encoding="utf-8") as stream:
        assert len(list(csv.DictReader(stream))) == len(base.bounds)


def test_a_step_audit_is_told_from_attacks_on_the_run(
    samples: dict[str, AuditResult], pictures: Path, tmp_path: Path
) -> None:
    base = samples["consistent"]
    steps = base.attacks[0].model_copy(update={"attack": "step_audit", "family": "steps"})
    bound = base.bounds[0].model_copy(update={"attack": "step_audit", "one_step": True})
    result = base.model_copy(update={"attacks": (steps, *base.attacks[1:]), "bounds": (bound, *base.bounds[1:])})
    text = Outline(page(result, pictures, tmp_path)).text
    assert "A step audit speaks of single training steps." in text
    assert "tests one step" in text
    trade_off = text[text.index("The promise against what was measured") :]
    assert "Curves of a step audit tell steps apart" in text
    only = result.model_copy(update={"attacks": (steps,)})
    alone = page(only, pictures, tmp_path)
    assert "no attack on the whole run was measured" in alone
    assert "most that the promise allows" not in alone
    assert "step_audit on" not in trade_off[: trade_off.index("Scores of members")]


def test_the_sections_stand_in_the_order_of_a_reader(
    samples: dict[str, AuditResult], pictures: Path, tmp_path: Path
) -> None:
    text = page(samples["consistent"], pictures, tmp_path)
    named = re.findall(r'<h2 id="([a-z-]+)"', text)
    assert named == [
        *("verdict", "assumptions", "attacks", "bounds", "curves", "trade-off", "histograms", "accountants"),
        *("training", "exposed", "utility", "pictures", "plan", "reproduce", "missing"),
    ]
    assert set(re.findall(r'href="#([a-z-]+)"', text)) == set(named) - {"verdict"}


def test_the_twin_without_noise_is_named_by_its_epsilon(
    samples: dict[str, AuditResult], pictures: Path, tmp_path: Path
) -> None:
    base = samples["consistent"]
    probe = base.probes[0]
    twin = probe.measurements[1].model_copy(update={"features": "non-private"})
    told = probe.model_copy(update={"measurements": (probe.measurements[0], twin)})
    text = Outline(page(base.model_copy(update={"probes": (told,)}), pictures, tmp_path)).text
    assert text.count("non-private, ε = ∞") >= 3


def test_markup_in_names_is_escaped(samples: dict[str, AuditResult], pictures: Path, tmp_path: Path) -> None:
    result = samples["consistent"].model_copy(update={"title": "<script>alert(1)</script>"})
    text = page(result, pictures, tmp_path)
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_tables_hold_every_bound_and_assumption(
    samples: dict[str, AuditResult], pictures: Path, tmp_path: Path
) -> None:
    result = samples["consistent"]
    page(result, pictures, tmp_path)
    for name, rows in (("bounds", result.bounds), ("attacks", result.attacks), ("assumptions", result.assumptions)):
        with (tmp_path / "tables" / f"{name}.csv").open(newline="", encoding="utf-8") as stream:
            assert len(list(csv.DictReader(stream))) == len(rows)


def test_the_summary_fits_a_terminal(samples: dict[str, AuditResult]) -> None:
    for result in samples.values():
        lines = summary(result).splitlines()
        assert len(lines) < 25
        assert max(map(len, lines)) <= 100
        assert lines[0].startswith(result.verdict.word)


def test_without_a_promise_epsilon_is_infinite(samples: dict[str, AuditResult], pictures: Path, tmp_path: Path) -> None:
    assert "∞" in page(samples["unpromised"], pictures, tmp_path)
