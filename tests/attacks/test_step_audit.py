"""The attack on single steps: its score is the log likelihood ratio, whatever the noise."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from scipy import stats

from dpaudit.attacks.step_audit import StepAudit
from dpaudit.dp.step_coins import step_ids
from dpaudit.errors import DpauditError
from dpaudit.metrics import auc
from dpaudit.scores import LabelledScores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from dpaudit.plugins import AttackView

NUMBERS = np.random.default_rng(5)


class Rows:
    def __init__(self, rows: NDArray[np.float32]) -> None:
        self.rows = rows

    def steps(self) -> Iterator[NDArray[np.float32]]:
        yield from self.rows


def view(rows: NDArray[Any], candidates: int) -> AttackView:
    target = SimpleNamespace(trace=lambda _: Rows(rows.astype(np.float32)))
    found = SimpleNamespace(family="steps", ids=step_ids("steps", candidates))
    return cast("AttackView", SimpleNamespace(target=target, candidates=found))


def test_the_score_is_the_log_likelihood_ratio_times_the_variance() -> None:
    std, apart = 0.7, np.array([0.2, 1.5, 0.0])
    along = np.array([1.0, -0.3, 0.0])
    ratio = stats.norm.logpdf(along, apart, std) - stats.norm.logpdf(along, 0, std)
    scores = StepAudit().score(view(np.stack([along, apart], axis=1), 3))
    assert scores == pytest.approx(ratio * std**2, abs=1e-6)


def test_it_tells_members_as_well_as_a_gaussian_allows() -> None:
    coins, distance = NUMBERS.random(20_000) < 0.5, 1.5
    along = NUMBERS.normal(size=len(coins)) + coins * distance
    scores = StepAudit().score(view(np.stack([along, np.full(len(coins), distance)], axis=1), len(coins)))
    found = auc(LabelledScores(scores=scores, member=coins)).value
    assert found == pytest.approx(stats.norm.cdf(distance / np.sqrt(2)), abs=0.01)


@pytest.mark.parametrize("shape", [(3, 2), (4, 1)])
def test_a_trace_of_something_else_is_an_error(shape: tuple[int, int]) -> None:
    with pytest.raises(DpauditError, match="of each of the 4 candidates"):
        StepAudit().score(view(np.zeros(shape), 4))
