"""The bench of pair sums: all ways to the sum agree, and the command prints them."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from dpaudit.bench.pairs import bench_pairs
from dpaudit.cli.bench import app
from dpaudit.errors import InputError


@pytest.mark.parametrize("shared", [True, False])
def test_all_ways_lead_to_one_sum(shared: bool) -> None:
    found = bench_pairs(5, embedding=3, shared=shared, rounds=1)
    assert [step.name for step in found.steps] == ["ordinary", "dpaudit", "pairs, book-kept", "pair gradients"]
    assert all(step.seconds > 0 for step in found.steps)
    assert all(step.error < 1e-4 for step in found.steps if step.error is not None)


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
def test_at_64_pairs_of_the_published_network_the_sum_is_that_of_pair_gradients(shared: bool) -> None:
    found = bench_pairs(64, shared=shared, rounds=1)
    assert all(step.error < 1e-4 for step in found.steps if step.error is not None)


def test_the_command_prints_json() -> None:
    done = CliRunner().invoke(app, ["pairs", "--pairs", "3", "--rounds", "1", "--embedding", "2", "--json", "-q"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["pairs"] == 3


def test_nothing_cannot_be_measured() -> None:
    with pytest.raises(InputError, match="at least 1"):
        bench_pairs(0)
