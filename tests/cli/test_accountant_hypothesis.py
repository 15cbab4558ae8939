"""The hypothesis `accountant` by options: what it refutes, and one line for what is missing or wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from dpaudit.accounting.curve import epsilon_at, least_epsilon_at
from dpaudit.bounds.methods import METHODS
from dpaudit.mechanism import Mechanism

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Cli = Callable[..., tuple[int, str, str]]

COUNTS = ("--canaries", "1000", "--guesses", "100", "--correct", "90")
RATES = ("--tp", "400", "--fn", "100", "--fp", "100", "--tn", "400")
ONE_STEP = ("--hypothesis", "accountant", "--noise-multiplier", "1", "--steps", "1", "--sampling", "full")
POISSON = ("--hypothesis", "accountant", "--noise-multiplier", "1", "--steps", "20")
TESTABLE = sorted(name for name, method in METHODS.items() if "accountant" in method.testable)


def found_by(cli: Cli, *arguments: str) -> dict[str, Any]:
    code, out, err = cli("bound", *arguments, "--delta", "1e-5", "--json")
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.fixture
def table(tmp_path: Path) -> str:
    member = np.random.default_rng(0).random(1000) < 0.5
    np.savez(tmp_path / "scores.npz", score=np.random.default_rng(1).normal(size=1000) + 2 * member, member=member)
    return str(tmp_path / "scores.npz")


@pytest.mark.parametrize("name", TESTABLE)
def test_one_step_on_all_data_is_the_gaussian(cli: Cli, table: str, name: str) -> None:
    source = {"guesses": COUNTS, "rates": RATES}.get(METHODS[name].takes, (table,))
    gaussian = found_by(cli, *source, "--method", name, "--hypothesis", "gaussian")
    accountant = found_by(cli, *source, "--method", name, *ONE_STEP)
    if "bounds" in gaussian:
        gaussian, accountant = gaussian["bounds"][0], accountant["bounds"][0]
    assert accountant["hypothesis"] == "accountant"
    assert accountant["guarantee"] == gaussian["guarantee"]
    assert 1 / accountant["parameter"] == pytest.approx(gaussian["mu"], rel=0.01)
    assert accountant["epsilon"] == pytest.approx(gaussian["epsilon"], rel=0.02)
    assert (accountant["p_value"] <= 0.05) == (accountant["parameter"] <= 1)


def test_the_epsilon_is_that_of_the_noise_refuted_from_below(cli: Cli) -> None:
    by_rate = found_by(cli, "--method", "one-run-fdp", *COUNTS, *POISSON, "--sampling-rate", "0.2")
    sizes = ("--batch-size", "20", "--dataset-size", "100")
    assert found_by(cli, "--method", "one-run-fdp", *COUNTS, *POISSON, *sizes) == by_rate
    mechanism = Mechanism(
        sampling="poisson",
        adjacency="add-remove",
        noise_multiplier=1.0,
        sampling_rate=0.2,
        steps=20,
        clip_norm=1.0,
        batch_size=20,
        dataset_size=100,
    )
    noise = by_rate["parameter"]
    assert by_rate["epsilon"] == least_epsilon_at(mechanism, noise, 1e-5) < epsilon_at(mechanism, noise, 1e-5)
    assert (by_rate["p_value"] <= 0.05) == (by_rate["epsilon"] >= epsilon_at(mechanism, 1.0, 1e-5))


def test_a_named_mechanism_is_bounded_beside_the_usual_hypotheses(cli: Cli, table: str) -> None:
    usual = found_by(cli, table)["bounds"]
    beside = found_by(cli, table, *ONE_STEP[2:])["bounds"]
    assert beside[:-1] == usual
    assert (beside[-1]["method"], beside[-1]["hypothesis"]) == ("one-run-fdp", "accountant")
    runs = found_by(cli, table, *ONE_STEP[2:], "--independent-runs")["bounds"]
    assert (runs[-1]["method"], runs[-1]["hypothesis"]) == ("clopper-pearson", "accountant")


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ((), "--noise-multiplier, --steps, --sampling-rate (or --batch-size and --dataset-size) missing"),
        (("--noise-multiplier", "1", "--steps", "9"), "about: --sampling-rate (or --batch-size and"),
        (("--noise-multiplier", "1", "--batch-size", "9", "--steps", "9"), "about: --dataset-size missing"),
        (("--dataset-size", "9", "--batch-size", "9", "--steps", "9"), "about: --noise-multiplier missing"),
        (("--sampling", "full", "--noise-multiplier", "1"), "about: --steps missing"),
        (
            ("--sampling", "full", "--noise-multiplier", "1", "--steps", "1", "--batch-size", "9"),
            "--dataset-size missing",
        ),
    ],
)
def test_missing_options_are_named(cli: Cli, given: tuple[str, ...], missing: str) -> None:
    asked = ("--method", "one-run-fdp", "--hypothesis", "accountant", *COUNTS, "--delta", "1e-5")
    code, out, err = cli("bound", *asked, *given)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert missing in err


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("--noise-multiplier", "0"), "--noise-multiplier = 0.0"),
        (("--noise-multiplier", "inf"), "--noise-multiplier = inf"),
        (("--steps", "0"), "--steps = 0"),
        (("--sampling-rate", "1.5"), "--sampling-rate = 1.5"),
        (("--batch-size", "3"), "--dataset-size missing"),
        (("--batch-size", "3", "--dataset-size", "9"), "nothing beside --batch-size and --dataset-size"),
        (("--sampling", "shuffle"), "--batch-size and --dataset-size instead"),
        (("--sampling", "sometimes"), "--sampling = 'sometimes'"),
        (("--adjacency", "swap"), "--adjacency = 'swap'"),
        (("--delta", "0"), "delta = 0.0"),
        (("--hypothesis", "gaussian"), "--noise-multiplier = 1.0: expected nothing"),
        (("--method", "one-run"), "hypothesis = 'accountant': expected any"),
    ],
)
def test_wrong_options_are_one_line(cli: Cli, wrong: tuple[str, ...], message: str) -> None:
    asked = ("--method", "one-run-fdp", *POISSON, "--sampling-rate", "0.2", *COUNTS, "--delta", "1e-5")
    code, out, err = cli("bound", *asked, *wrong)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (("--batch-size", "11", "--dataset-size", "10"), "--batch-size = 11"),
        (("--batch-size", "0", "--dataset-size", "10"), "--batch-size = "),
        (("--batch-size", "5", "--dataset-size", "10", "--sampling", "full"), "10, all records"),
        (("--batch-size", "5", "--dataset-size", "10", "--sampling", "fixed"), "one that PLD can account for"),
    ],
)
def test_wrong_sizes_are_one_line(cli: Cli, sizes: tuple[str, ...], message: str) -> None:
    code, out, err = cli("bound", "--method", "one-run-fdp", *POISSON, *COUNTS, "--delta", "1e-5", *sizes)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
