"""The table: certified bounds hold, planted faults are found out, labels say what to expect, JSON stays as it is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dpaudit.bench.assuming import under_independence
from dpaudit.bench.bounds import BoundsBench, Row, bench_bounds, measure, measure_all
from dpaudit.bench.certified import certified
from dpaudit.bench.estimates import estimates
from dpaudit.bench.uncorrected import uncorrected
from dpaudit.bench.wrong import Wrong, most_excused
from dpaudit.errors import InputError
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from dpaudit.bench.contender import Contender

FAST = [c for c in certified() if c.slow == 1 and c.strategy in ("fixed", "best of 4", "no threshold")]


def one(candidates: list[Contender], method: str, hypothesis: str, strategy: str) -> Contender:
    (found,) = [c for c in candidates if (c.method, c.family.hypothesis, c.strategy) == (method, hypothesis, strategy)]
    return found


def test_certified_bounds_hold() -> None:
    bench = measure_all("bounds", FAST, 30)
    assert [row.method for row in bench.rows] == [c.method for c in FAST]
    assert bench.broken == ()
    assert all(row.holds and row.fails == () for row in bench.rows)
    assert {row.noise.audits for row in bench.rows} == {30}


def test_a_wrong_bound_that_is_called_certified_is_found_out() -> None:
    planted = replace(uncorrected()[4], claim="certified")
    bench = measure_all("bounds", [FAST[0], planted], 40)
    assert [row.method for row in bench.broken] == ["katz-log"]
    assert "noise" in bench.broken[0].fails


def test_a_bound_that_is_a_little_too_large_is_found_out_on_a_mechanism() -> None:
    fine = one(certified(), "auc-kl", "gaussian", "no threshold")
    inflated = replace(fine, epsilon=lambda _, runs: 1.4 * fine.epsilon(fine.family, runs))
    row = measure(inflated, 60, Rng.from_seed(0))
    assert row.holds is False
    assert row.fails == ("gaussian",), "it still sees no leak in noise"


def test_assuming_independence_fails_on_the_counter_example_as_labelled() -> None:
    candidate = one(under_independence(), "clopper-pearson", "gaussian", "fixed")
    row = measure(candidate, 100, Rng.from_seed(0))
    assert row.fails == ("counter-example",)
    assert row.holds is True
    relabelled = measure(replace(candidate, claim="certified"), 100, Rng.from_seed(0))
    assert relabelled.holds is False


def test_the_same_counts_from_independent_runs_hold_on_the_counter_example() -> None:
    row = measure(one(certified(), "clopper-pearson", "gaussian", "fixed"), 100, Rng.from_seed(0))
    assert row.coverage["counter-example"].wrong <= 5


def test_estimates_claim_nothing() -> None:
    row = measure(one(estimates(), "one-shot", "none", "no threshold"), 60, Rng.from_seed(0))
    assert row.holds is None
    assert "gaussian" in row.fails, "most of its estimates are above the truth"
    assert row.tightness == pytest.approx(1, abs=0.2)


def test_each_mechanism_is_measured_where_the_hypothesis_holds_it() -> None:
    rows = {c.family.hypothesis: measure(c, 2, Rng.from_seed(0)) for c in FAST}
    every = {"gaussian", "randomised response", "laplace", "subsampled gaussian", "counter-example"}
    assert set(rows["any"].coverage) == every
    assert set(rows["gaussian"].coverage) == {"gaussian", "counter-example"}
    pure = measure(one(estimates(), "katz-log", "any", "fixed"), 2, Rng.from_seed(0))
    assert set(pure.coverage) == every - {"gaussian", "subsampled gaussian"}, "they have no epsilon at delta 0"
    assert pure.ideal == "randomised response"


def test_a_row_is_the_same_alone_and_among_others() -> None:
    alone = measure(FAST[3], 20, Rng.from_seed(0))
    among = measure_all("bounds", FAST[:5], 20).rows[3]
    assert alone.model_copy(update={"milliseconds": 0.0}) == among.model_copy(update={"milliseconds": 0.0})
    other = measure_all("bounds", FAST[:5], 20, seed=1).rows[3]
    assert other.epsilon != among.epsilon


def test_what_chance_excuses() -> None:
    assert most_excused(100, 0.05) == 17
    rng = np.random.default_rng(0)
    assert (rng.binomial(2000, 0.05, size=20_000) <= most_excused(2000, 0.05)).all()
    assert (rng.binomial(2000, 0.10, size=20_000) > most_excused(2000, 0.05)).mean() > 0.999
    assert not Wrong.of(147, 2000).excused


def test_the_json_stays_as_it_is() -> None:
    bench = measure_all("bounds", FAST[:1], 2)
    assert BoundsBench.model_validate_json(bench.model_dump_json()) == bench
    top = {"schema_version", "audits", "seed", "canaries", "delta", "confidence", "rows"}
    assert set(bench.model_dump()) == top
    labels = {"method", "hypothesis", "strategy", "claim", "trials", "runs"}
    numbers = {"noise", "coverage", "ideal", "epsilon", "tightness", "milliseconds", "holds", "fails"}
    assert set(Row.model_fields) == labels | numbers
    assert set(bench.model_dump()["rows"][0]["noise"]) == {"audits", "wrong", "share"}


def test_no_audits_are_refused() -> None:
    with pytest.raises(InputError, match="audits = 0"):
        bench_bounds(0)


@pytest.mark.slow
def test_the_whole_table_holds() -> None:
    bench = bench_bounds(400)
    assert bench.broken == ()
    failing = {(row.method, row.claim) for row in bench.rows if row.holds is False}
    assert {method for method, _ in failing} >= {"one-run", "one-run-fdp", "katz-log"}
    assert {claim for _, claim in failing} == {"uncorrected"}
    interacting = [row for row in bench.rows if row.claim == "under_independence" and row.hypothesis == "gaussian"]
    assert sum("counter-example" in row.fails for row in interacting) >= 4
