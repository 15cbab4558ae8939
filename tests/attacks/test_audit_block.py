"""The attack on gradient canaries is as strong as theory says, on the real step, and no stronger."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from dpaudit.attacks.audit_block import AuditBlock
from dpaudit.data.examples import Examples
from dpaudit.dp.audit_block import GradientCanaries, block_placement
from dpaudit.dp.step import DpStep
from dpaudit.dp.trace import AccumulatedTraceWriter, StoredTraceWriter, open_trace
from dpaudit.errors import DpauditError
from dpaudit.likelihood import log_likelihood_ratio
from dpaudit.mechanism import Mechanism
from dpaudit.plugins import AttackView, Candidates, Needs
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from dpaudit.dp.tensors import Batch
    from dpaudit.dp.trace import TraceWriter
    from dpaudit.plugins import Target, Trace

ROOT = Rng.from_seed(61)
NOBODY = Examples(ids=np.array([], dtype=np.str_), images=np.zeros((0, 3, 8, 8), dtype=np.uint8))


class One(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


@dataclasses.dataclass
class Steps:
    values: NDArray[np.float32]

    def steps(self) -> Iterator[NDArray[np.float32]]:
        yield from self.values


@dataclasses.dataclass
class Traced:
    """A target of which only the mechanism and a trace can be seen: reading anything else fails."""

    mechanism: Mechanism
    seen: Any

    def trace(self, family: str) -> Trace:
        assert family == "block"
        return cast("Trace", self.seen)


def mechanism(**changes: Any) -> Mechanism:
    values = {
        "sampling": "poisson",
        "adjacency": "add-remove",
        "noise_multiplier": 2.0,
        "sampling_rate": 0.25,
        "steps": 30,
        "clip_norm": 0.5,
        "batch_size": 10,
        "dataset_size": 40,
    }
    return Mechanism.model_validate(values | changes)


def nothing(at: NDArray[np.int64]) -> Batch:
    raise AssertionError(at)


def audited(how: Mechanism, count: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return what the real step releases at each canary, (steps, count), and who was in."""
    members = ROOT.child("coins").numpy().random(count) < 0.5
    step = DpStep(
        mechanism=how,
        losses=lambda _model, _batch: torch.zeros(0),
        members=np.zeros(how.dataset_size, dtype=bool),
        sampling=ROOT.child("sampling"),
        noise=ROOT.child("noise"),
        canaries=(GradientCanaries(block_placement(count), members),),
    )
    model = One()
    return np.stack([step(number, model, nothing).canaries["block"] for number in range(how.steps)]), members


def scores(how: Mechanism, seen: object, count: int) -> NDArray[np.float64]:
    candidates = Candidates(family="block", ids=block_placement(count).ids)
    target = cast("Target", Traced(how, seen))
    view = AttackView(target=target, candidates=candidates, population=NOBODY, rng=ROOT)
    return AuditBlock().score(view)


def auc(found: NDArray[np.float64], members: NDArray[np.bool_]) -> float:
    ranks = stats.rankdata(found)
    inside = int(members.sum())
    return float((ranks[members].sum() - inside * (inside + 1) / 2) / (inside * (len(members) - inside)))


def standard_error(count: int) -> float:
    """Return the largest standard error that the AUC of `count` independent candidates can have near one half."""
    return float(np.sqrt((count + 1) / (12 * (count / 2) ** 2)))


def simulated_auc(how: Mechanism, count: int) -> float:
    """Return the AUC of the exact likelihood ratio in a plain simulation that shares no code with the step."""
    generator = np.random.default_rng(7)
    inside = np.arange(count) % 2 == 0
    total = np.zeros(count)
    for _ in range(how.steps):
        drawn = inside & (generator.random(count) < how.sampling_rate)
        y = drawn + how.noise_multiplier * generator.standard_normal(count)
        ratio = np.exp((2 * y - 1) / (2 * how.noise_multiplier**2))
        total += np.log(1 - how.sampling_rate + how.sampling_rate * ratio)
    return auc(total, inside)


def test_one_step_has_the_auc_of_the_subsampled_gaussian() -> None:
    how = mechanism(steps=1, noise_multiplier=0.7, sampling_rate=0.6)
    values, members = audited(how, 20_000)
    expected = 0.6 * stats.norm.cdf(1 / (0.7 * np.sqrt(2))) + 0.4 * 0.5
    assert auc(scores(how, Steps(values), 20_000), members) == pytest.approx(expected, abs=4 * standard_error(20_000))


def test_full_participation_has_the_auc_of_the_composed_gaussian() -> None:
    how = mechanism(sampling="full", sampling_rate=1.0, noise_multiplier=5.0)
    values, members = audited(how, 10_000)
    expected = stats.norm.cdf(np.sqrt(30) / 5 / np.sqrt(2))
    assert auc(scores(how, Steps(values), 10_000), members) == pytest.approx(expected, abs=4 * standard_error(10_000))


def test_many_poisson_steps_have_the_auc_of_a_plain_simulation() -> None:
    how = mechanism(noise_multiplier=0.6, sampling_rate=0.1)
    values, members = audited(how, 10_000)
    found, expected = auc(scores(how, Steps(values), 10_000), members), simulated_auc(how, 200_000)
    assert found == pytest.approx(expected, abs=4 * standard_error(10_000))
    assert found > auc(values.sum(0).astype(np.float64), members) + 0.02  # the rate is worth knowing
    assert auc(-scores(how, Steps(values), 10_000), members) < 0.5


def test_noise_of_the_wrong_scale_is_seen() -> None:
    """Half the noise that the mechanism claims: the attack does better than the claim allows."""
    claimed, executed = mechanism(noise_multiplier=2.0), mechanism(noise_multiplier=1.0)
    values, members = audited(executed, 10_000)
    expected = simulated_auc(claimed, 200_000)
    assert auc(scores(claimed, Steps(values), 10_000), members) > expected + 10 * standard_error(10_000)


def test_without_noise_every_member_that_was_ever_drawn_is_found() -> None:
    how = mechanism(noise_multiplier=0.0)
    values, members = audited(how, 500)
    found, drawn = scores(how, Steps(values), 500), values.any(0)
    assert drawn.mean() > 0.4
    assert members[drawn].all()
    assert found[drawn].min() > found[~drawn].max()
    np.testing.assert_allclose(found, np.round(found), atol=1e-5)


@pytest.mark.parametrize("noise_multiplier", [0.0, 0.5, 2.0])
def test_stored_and_accumulated_traces_give_the_same_scores(noise_multiplier: float, tmp_path: Path) -> None:
    how = mechanism(noise_multiplier=noise_multiplier)
    values, _ = audited(how, 50)
    writers: list[TraceWriter] = [
        StoredTraceWriter(tmp_path / "a", 50),
        AccumulatedTraceWriter(tmp_path / "b", 50, how),
    ]
    for writer in writers:
        for row in values:
            writer.record(row)
        writer.compact()
    stored, accumulated = (scores(how, open_trace(tmp_path / name), 50) for name in "ab")
    np.testing.assert_array_equal(stored, accumulated)
    np.testing.assert_allclose(stored, log_likelihood_ratio(values, how).sum(0), rtol=1e-9, atol=1e-9)


def test_permuting_the_candidates_permutes_the_scores() -> None:
    values, _ = audited(mechanism(), 50)
    order = np.random.default_rng(0).permutation(50)
    found = scores(mechanism(), Steps(values), 50)
    np.testing.assert_array_equal(scores(mechanism(), Steps(values[:, order]), 50), found[order])


def test_a_trace_of_other_steps_or_canaries_is_refused() -> None:
    values, _ = audited(mechanism(), 50)
    with pytest.raises(DpauditError, match="29 steps, expected the 30"):
        scores(mechanism(), Steps(values[1:]), 50)
    with pytest.raises(DpauditError, match="49 canaries, expected the 50"):
        scores(mechanism(), Steps(values[:, 1:]), 50)


def test_it_needs_every_step() -> None:
    assert AuditBlock().needs == Needs(access="all steps", families=("block", "coordinates"))
