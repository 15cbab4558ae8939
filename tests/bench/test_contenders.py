"""Who is measured: every method and strategy once, and the short way to count errors counts what the bound says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from dpaudit.bench.bounds import contenders
from dpaudit.bench.contender import CANARIES, Contender
from dpaudit.bounds.methods import METHODS
from dpaudit.scores import LabelledScores

if TYPE_CHECKING:
    from dpaudit.bench.contender import Runs

EVERYONE = contenders()


def named(contender: Contender) -> str:
    return f"{contender.method}, {contender.family.hypothesis}, {contender.strategy}, {contender.claim}"


def shifted(contender: Contender, shift: float, seed: int) -> Runs:
    """Return scores of two Gaussians that are `shift` apart."""
    rng = np.random.default_rng([seed, round(10 * shift)])
    alone = contender.trials == "independent runs"
    runs = []
    for _ in range(contender.runs):
        member = np.arange(CANARIES) < CANARIES // 2 if alone else rng.random(CANARIES) < 0.5
        runs.append(LabelledScores(scores=rng.normal(size=CANARIES) + shift * member, member=member))
    return runs


def test_no_row_is_there_twice() -> None:
    names = [named(contender) for contender in EVERYONE]
    assert len(set(names)) == len(names)


def test_every_method_under_every_hypothesis_with_every_strategy_that_applies() -> None:
    found = {(c.method, c.family.hypothesis) for c in EVERYONE if c.claim != "uncorrected"}
    listed = {(method.name, hypothesis) for method in METHODS.values() for hypothesis in method.hypotheses}
    assert listed <= found
    for method in ("one-run", "one-run-fdp", "one-run-joint", "clopper-pearson"):
        strategies = {c.strategy for c in EVERYONE if c.method == method and c.claim == "certified"}
        assert {"fixed", "split", "5 folds", "best of 4"} <= strategies


def test_no_row_claims_more_than_its_method() -> None:
    for contender in EVERYONE:
        if contender.claim == "certified":
            assert METHODS[contender.method].guarantee == "certified"
        elif METHODS[contender.method].guarantee == "under_independence":
            assert contender.claim == "under_independence"


@pytest.mark.parametrize("contender", EVERYONE, ids=named)
def test_an_audit_is_counted_as_wrong_if_and_only_if_its_bound_exceeds_the_truth(contender: Contender) -> None:
    truths = {"any": 2.0, "gaussian": 1.0, "none": 1.0, "accountant": 1.0}  # parameters
    truth = truths[contender.family.hypothesis]
    seen = set()
    for shift in (0.0, 2.5) if contender.slow > 1 else (0.0, 1.0, 1.3, 2.5, 4.0):
        runs = shifted(contender, shift, 5)
        wrong = contender.exceeds(runs, truth)
        assert wrong == (contender.epsilon(contender.family, runs) > contender.family.epsilon(truth))
        seen.add(wrong)
    assert False in seen
