"""Other tools through the same harness: absent ones say so, present ones are asked as their documentation says."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from typing import TYPE_CHECKING

import pytest

from dpaudit.bench import peers
from dpaudit.bench.peers import Peer, bench_peers, jax_privacy_contenders

if TYPE_CHECKING:
    from dpaudit.rng import Array


@dataclass
class Bonferroni:
    pass


@dataclass
class Split:
    seed: int


@dataclass
class CanaryScoreAuditor:
    """Stands for jax_privacy's: says nothing but in one method, which claims a leak in everything."""

    in_canary_scores: Array
    out_canary_scores: Array

    def epsilon_clopper_pearson(self, significance: float, delta: float, *, threshold_strategy: object) -> float:
        assert significance == pytest.approx(0.05)
        assert delta == 1e-5
        assert len(self.in_canary_scores) == len(self.out_canary_scores) == 500
        assert isinstance(threshold_strategy, Bonferroni | Split)
        return 0.0

    def epsilon_one_run(self, significance: float, delta: float, *, threshold_strategy: object) -> float:
        assert significance == pytest.approx(0.05)
        assert delta == 1e-5
        assert isinstance(threshold_strategy, Bonferroni | Split)
        assert len(self.in_canary_scores) + len(self.out_canary_scores) == 1000
        return 0.0

    epsilon_one_run_fdp = epsilon_one_run

    def epsilon_from_gdp(self, significance: float, delta: float) -> float:
        assert significance == pytest.approx(0.05)
        assert delta == 1e-5
        return 5.0

    def epsilon_raw_counts(self, min_count: int = 50, delta: float = 0) -> float:
        assert (min_count, delta) == (50, 1e-5)
        return 1.0


class Auditing:
    CanaryScoreAuditor = CanaryScoreAuditor
    Bonferroni = Bonferroni
    Split = Split


def absent(_: str) -> str:
    raise PackageNotFoundError


def test_an_absent_peer_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "version", absent)
    assert bench_peers(5) == (Peer(name="jax_privacy", version=None, bench=None),)


def test_a_present_peer_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "version", lambda _: "2.0.0")
    monkeypatch.setattr(peers, "import_module", lambda _: Auditing)
    (peer,) = bench_peers(20)
    assert peer.version == "2.0.0"
    assert peer.bench is not None
    rows = {(row.method, row.strategy): row for row in peer.bench.rows}
    assert len(rows) == len(jax_privacy_contenders(Auditing)) == 8
    assert rows["epsilon_clopper_pearson", "Split"].holds is True
    accusing = rows["epsilon_from_gdp", "all thresholds"]
    assert accusing.holds is False
    assert accusing.fails == ("noise", "gaussian", "counter-example")
    assert rows["epsilon_raw_counts", "best of all"].holds is None
