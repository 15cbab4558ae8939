"""Bounds of scores and counts from anywhere: known values, every file format, and one line for every mistake."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from dpaudit.bench.uncorrected import best_clopper_pearson
from dpaudit.bounds.family import any_family, gaussian_family
from dpaudit.calls.own_scores import Asked, bound_table, read_scores
from dpaudit.metrics import FPRS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Cli = Callable[..., tuple[int, str, str]]

COUNTS = ("--canaries", "1000", "--guesses", "100", "--correct", "90", "--delta", "1e-5", "--confidence", "0.95")


def table(rows: int = 2000, shift: float = 1.67, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    member = rng.random(rows) < 0.5
    return {"score": rng.normal(size=rows) + shift * member, "member": member.astype(np.int64)}


def write(path: Path, columns: dict[str, Any]) -> Path:
    match path.suffix:
        case ".csv":
            pacsv.write_csv(pa.table(columns), path)
        case ".parquet":
            pq.write_table(pa.table(columns), path)
        case ".npz":
            np.savez(path, **columns)
    return path


@pytest.mark.parametrize(
    ("method", "hypothesis", "epsilon"),
    [("one-run-fdp", "gaussian", 2.4564), ("one-run", "any", 1.62614), ("order-statistics", "gaussian", 3.1645)],
)
def test_counts_give_the_published_values(cli: Cli, method: str, hypothesis: str, epsilon: float) -> None:
    code, out, _ = cli("bound", "--method", method, "--hypothesis", hypothesis, *COUNTS, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["epsilon"] == pytest.approx(epsilon, abs=2e-3)
    assert found["hypothesis"] == hypothesis
    assert found["guarantee"] == ("under_independence" if method == "order-statistics" else "certified")
    assert (found["mu"] is not None) == (hypothesis == "gaussian")


def test_rates_give_the_published_values(cli: Cli) -> None:
    rates = ("--tp", "500", "--fn", "0", "--fp", "0", "--tn", "500", "--confidence", "0.99", "--delta", "0", "--json")
    _, out, _ = cli("bound", "--method", "clopper-pearson", "--independent-runs", *rates)
    assert json.loads(out)["epsilon"] == pytest.approx(4.541915810224092, abs=1e-3)
    assert json.loads(out)["guarantee"] == "certified"
    _, out, _ = cli("bound", "--method", "clopper-pearson", *rates)
    assert json.loads(out)["guarantee"] == "under_independence"
    _, out, _ = cli("bound", "--method", "katz-log", *rates)
    assert json.loads(out)["epsilon"] == pytest.approx(np.log(37.31696140), abs=1e-6)


def test_counts_of_several_runs(cli: Cli) -> None:
    sizes = ("--canaries", "300", "--guesses", "60", "--hypothesis", "gaussian", "--delta", "1e-5", "--json")
    found = {}
    for method in ("one-run-joint", "one-run-pooled"):
        code, out, _ = cli("bound", "--method", method, *sizes, "--correct", "58", "--correct", "55")
        assert code == 0
        found[method] = json.loads(out)
    assert found["one-run-pooled"]["epsilon"] > found["one-run-joint"]["epsilon"] > 0
    _, out, _ = cli("bound", "--method", "one-run-joint", *sizes, "--correct", "55")
    assert json.loads(out)["epsilon"] < found["one-run-joint"]["epsilon"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_every_format_gives_the_same_bounds(cli: Cli, tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"scores{suffix}", table())
    code, out, _ = cli("bound", str(path), "--delta", "1e-5", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["rows"] == 2000
    assert found["metrics"]["auc"]["value"] == pytest.approx(0.881, abs=0.02)
    expected = bound_table(read_scores(path), Asked(delta=1e-5))
    assert [bound["epsilon"] for bound in found["bounds"]] == [bound.epsilon for bound in expected]
    assert {bound["guarantee"] for bound in found["bounds"]} == {"certified", "under_independence"}
    assert all(bound["strategy"].startswith("split") for bound in found["bounds"])


def test_lower_is_member_turns_scores_round(tmp_path: Path) -> None:
    columns = table()
    path = write(tmp_path / "a.parquet", columns)
    turned = write(tmp_path / "b.parquet", columns | {"score": -columns["score"]})
    asked = Asked(delta=1e-5, method="one-run-fdp", hypothesis="any")
    there = bound_table(read_scores(path), asked)
    assert bound_table(read_scores(turned, lower_is_member=True), asked) == there
    assert there[0].epsilon > 0.5
    assert bound_table(read_scores(turned), asked)[0].epsilon == 0.0


def test_fixed_guesses_and_independent_runs(cli: Cli, tmp_path: Path) -> None:
    path = write(tmp_path / "scores.csv", table())
    numbers = ("--guesses-in", "100", "--guesses-out", "100", "--method", "one-run-fdp", "--delta", "1e-5", "--json")
    _, out, _ = cli("bound", str(path), *numbers)
    assert {tuple(bound["counts"]["guesses"]) for bound in json.loads(out)["bounds"]} == {(200,)}
    _, out, _ = cli("bound", str(path), "--independent-runs", "--delta", "1e-5", "--json")
    assert {bound["guarantee"] for bound in json.loads(out)["bounds"]} == {"certified"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": [1.0, float("nan"), 2.0, 0.5]}, "1 values NaN or infinite"),
        ({"score": [1.0, float("inf"), 2.0, 0.5]}, "1 values NaN or infinite"),
        ({"score": ["a", "b", "c", "d"]}, "a column of numbers"),
        ({"member": [1, 1, 1, 1]}, "4 of 4 rows"),
        ({"member": [0, 0, 0, 0]}, "0 of 4 rows"),
        ({"member": [0, 1, 2, 1]}, "0 or 1"),
        ({"member": ["in", "out", "in", "out"]}, "0 or 1"),
    ],
)
def test_bad_tables_are_one_line(cli: Cli, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "scores.csv", {"score": [1.0, 0.0, 2.0, 0.5], "member": [1, 0, 1, 0]} | change)
    code, out, err = cli("bound", str(path), "--delta", "1e-5")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_missing_columns_name_what_was_found(cli: Cli, tmp_path: Path) -> None:
    path = write(tmp_path / "scores.csv", {"loss": [1.0, 2.0], "member": [1, 0]})
    code, _, err = cli("bound", str(path), "--delta", "1e-5")
    assert code == 2
    assert "columns loss, member" in err
    assert "(score missing)" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--canaries", "10", "--guesses", "5", "--correct", "6", "--delta", "0"), "correct = 6"),
        (("--canaries", "10", "--guesses", "11", "--correct", "6", "--delta", "0"), "guesses = 11"),
        (("--canaries", "10", "--guesses", "5", "--correct", "5", "--delta", "-1"), "delta = -1"),
        (("--canaries", "10", "--guesses", "5", "--correct", "5", "--delta", "0", "--confidence", "1"), "confidence"),
        (("--canaries", "10", "--guesses", "5", "--correct", "5"), "--delta = None"),
        (("--canaries", "10", "--guesses", "5", "--delta", "0"), "--canaries, --guesses and --correct"),
        (("no-such-file.csv", "--delta", "0"), "no-such-file.csv"),
        (("--method", "guesswork", "--delta", "0"), "guesswork"),
    ],
)
def test_bad_counts_are_one_line(cli: Cli, arguments: tuple[str, ...], message: str) -> None:
    method = () if "--method" in arguments else ("--method", "one-run-fdp")
    code, out, err = cli("bound", *method, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "a readable .csv file (Empty CSV file)"),
        ("a.csv", b"score,member\n", "at least one row"),
        ("a.csv", b"score,score,member\n1,1,1\n2,2,0\n", "exists 2 times"),
        ("a.csv", b"score;member\n1;1\n2;0\n", "columns score;member"),
        ("a.csv", b"Score,Member\n1,1\n2,0\n", "columns Score, Member"),
        ("a.csv", b"score,member\n1,1\n2\n", "Expected 2 columns, got 1"),
        ("a.csv", b"score,member\n1,true\n2,\n3,false\n", "member = None"),
        ("a.csv", b"score,member\n1,1\n,0\n3,1\n", "1 values NaN or infinite"),
        ("a.csv", b"score,member\n1,1\n2,\xe9\n", "member = b'\\xe9'"),
        ("a.csv", bytes(range(256)), "a.csv"),
        ("a.parquet", b"", "a readable .parquet file"),
        ("a.parquet", b"junk", "a readable .parquet file"),
        ("a.npz", b"", "a readable .npz file (File is not a zip file)"),
        ("a.npz", b"junk", "a readable .npz file (File is not a zip file)"),
    ],
)
def test_broken_files_are_one_line(cli: Cli, tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    code, out, err = cli("bound", str(tmp_path / name), "--delta", "1e-5")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_a_damaged_npz_is_one_line(cli: Cli, tmp_path: Path) -> None:
    whole = write(tmp_path / "scores.npz", table(50)).read_bytes()
    flipped = bytearray(whole)
    flipped[150] ^= 255
    for content, why in ((whole[: len(whole) // 2], "not a zip file"), (bytes(flipped), "CRC")):
        (tmp_path / "scores.npz").write_bytes(content)
        code, out, err = cli("bound", str(tmp_path / "scores.npz"), "--delta", "1e-5")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert why in err


@pytest.mark.parametrize(
    "change",
    [
        {"score": np.ones((4, 2))},
        {"score": np.float64(1.0)},
        {"score": np.ones(5)},
        {"score": np.ones(4) * 1j},
        {"score": np.ones(4).astype("timedelta64[s]")},
        {"member": np.array([0.0, 1.0, np.nan, 1.0])},
        {"member": np.array([[0, 1], [0, 1]])},
    ],
)
def test_arrays_that_are_no_columns_are_one_line(cli: Cli, tmp_path: Path, change: dict[str, Any]) -> None:
    path = write(tmp_path / "a.npz", {"score": np.arange(4.0), "member": np.array([0, 1, 0, 1])} | change)
    code, out, err = cli("bound", str(path), "--delta", "1e-5")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert next(iter(change)) in err


@pytest.mark.parametrize("method", ["one-run", "one-run-fdp", "clopper-pearson", "dkw", "auc-kl", "gaussian-moments"])
@pytest.mark.parametrize(
    ("option", "value"), [("--delta", "1"), ("--delta", "-0.1"), ("--delta", "nan"), ("--confidence", "0")]
)
def test_impossible_settings_are_one_line(cli: Cli, tmp_path: Path, method: str, option: str, value: str) -> None:
    path = write(tmp_path / "scores.npz", table(20))
    settings = {"--delta": "1e-5", "--confidence": "0.95"} | {option: value}
    code, out, err = cli("bound", str(path), "--method", method, *(text for pair in settings.items() for text in pair))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"{option[2:]} = {float(value)}" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--method", "one_run"), "did you mean 'one-run'?"),
        (("--method", "clopper-person"), "did you mean 'clopper-pearson'?"),
        (("--method", "guesswork"), "one of 'adjusted-log'"),
        (("--hypothesis", "gausian"), "--hypothesis = 'gausian': expected one of 'any', 'gaussian'"),
        (("--method", "one-run", "--hypothesis", "gaussian"), "any, which one-run can test"),
        (("--guesses-in", "-1"), "numbers of at least 0"),
        (("--guesses-in", "15", "--guesses-out", "6"), "add up to at most 20"),
    ],
)
def test_names_and_numbers_that_do_not_exist_are_one_line(
    cli: Cli, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    path = write(tmp_path / "scores.npz", table(20))
    code, out, err = cli("bound", str(path), "--delta", "1e-5", *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


@pytest.mark.parametrize("cells", [(-1, 1, 0, 3), (1, 1, -2, 3), (0, 0, 0, 3), (1, 1, 0, 0)])
def test_impossible_rates_are_one_line(cli: Cli, cells: tuple[int, ...]) -> None:
    rates = [
        text for name, cell in zip(("tp", "fn", "fp", "tn"), cells, strict=True) for text in (f"--{name}", str(cell))
    ]
    code, out, err = cli("bound", "--method", "clopper-pearson", *rates, "--delta", "0")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "positives" in err


def test_no_number_of_a_file_is_the_best_of_all_thresholds(cli: Cli, tmp_path: Path) -> None:
    columns = table(400, shift=1.0, seed=3)
    path = write(tmp_path / "scores.npz", columns)
    labelled = read_scores(path)
    for worlds in ((), ("--independent-runs",)):
        for method in ("clopper-pearson", "dkw"):
            _, out, _ = cli("bound", str(path), "--method", method, "--delta", "1e-5", "--json", *worlds)
            for found in json.loads(out)["bounds"]:
                family = any_family(delta=1e-5) if found["hypothesis"] == "any" else gaussian_family(delta=1e-5)
                assert found["strategy"].startswith(("split", "all thresholds at once"))
                assert found["epsilon"] < best_clopper_pearson(family, [labelled])
    _, out, _ = cli("bound", str(path), "--delta", "1e-5", "--json")
    found = json.loads(out)
    assert set(found) == {"rows", "members", "metrics", "bounds"}
    assert {"auc", "balanced accuracy"} | {f"tpr at fpr {fpr}" for fpr in FPRS} == set(found["metrics"])


def test_a_pickle_inside_npz_is_never_loaded(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "scores.npz"
    np.savez(path, score=np.array([{"a": 1}, 2.0], dtype=object), member=np.array([0, 1]))
    code, _, err = cli("bound", str(path), "--delta", "0")
    assert code == 2
    assert "a readable .npz file" in err


def test_other_files_are_refused_by_their_ending(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "scores.txt").write_text("score,member")
    code, _, err = cli("bound", str(tmp_path / "scores.txt"), "--delta", "0")
    assert code == 2
    assert "a file that ends in .csv, .parquet, .npz" in err
