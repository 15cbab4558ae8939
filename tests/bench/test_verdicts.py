"""Whole verdicts on noise: rarely VIOLATED while alpha is shared, and often when it is not."""

from __future__ import annotations

import pytest

from dpaudit.bench.verdicts import ATTACKS, VerdictsOnNoise, bench_verdicts
from dpaudit.errors import InputError


def test_noise_is_rarely_accused() -> None:
    found = bench_verdicts(40)
    assert found.holds
    assert (found.attacks, found.bounds) == (ATTACKS, 3)
    assert found.level == pytest.approx(0.05 / 30)
    assert found.violated.audits == 40


def test_without_sharing_alpha_noise_is_accused_in_most_audits() -> None:
    found = bench_verdicts(20, level=0.05)
    assert found.violated.share.value > 0.4
    assert not found.holds


def test_the_audits_are_not_all_the_same() -> None:
    found = bench_verdicts(15, level=0.02)
    assert 0 < found.violated.wrong < 15
    assert found == bench_verdicts(15, level=0.02)
    assert found != bench_verdicts(15, level=0.02, seed=1)


def test_no_audits_are_refused() -> None:
    with pytest.raises(InputError, match="audits = 0"):
        bench_verdicts(0)


def test_the_json_stays_as_it_is() -> None:
    assert set(VerdictsOnNoise.model_fields) == {"schema_version", "attacks", "bounds", "level", "seed", "violated"}


@pytest.mark.slow
def test_noise_is_accused_in_at_most_five_per_cent_of_500_audits() -> None:
    found = bench_verdicts(500)
    assert found.holds
    assert found.violated.wrong <= 25
