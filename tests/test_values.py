"""The values that everything else trusts: errors, keys, coins and scores."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy import stats

from dpaudit.canaries import FAMILIES, INSERTS, Coins, draw_coins
from dpaudit.errors import DamagedRunError, DpauditError, FalsifiedError, InputError, RecipeError
from dpaudit.rng import Rng
from dpaudit.scores import LabelledScores, ScoreTable, ThreatModel, join

# Errors


def test_exit_codes_and_kinds() -> None:
    codes = [each.exit_code for each in (DpauditError, InputError, RecipeError, DamagedRunError, FalsifiedError)]
    assert codes == [1, 2, 2, 2, 3]
    assert issubclass(RecipeError, InputError)
    assert issubclass(DamagedRunError, InputError)
    assert not issubclass(FalsifiedError, InputError)


def test_refusals_are_one_short_line_whatever_the_value() -> None:
    text = str(InputError("title", "one\ntwo " * 100, "a short title"))
    assert "\n" not in text
    assert len(text) < 200
    assert text.endswith("…: expected a short title")


def test_a_recipe_error_ends_with_its_place() -> None:
    error = RecipeError("privacy.delta", 2, "less", "mine.yaml:7")
    assert str(error) == "privacy.delta = 2: expected less (mine.yaml:7)"
    assert (error.field, error.value, error.expected, error.where) == ("privacy.delta", 2, "less", "mine.yaml:7")


# Keys


def test_children_of_different_names_have_different_keys() -> None:
    root = Rng.from_seed(0)
    paths: list[tuple[str | int, ...]] = [(), ("a",), ("b",), ("a", "b"), ("b", "a"), ("ab",), ("a", ""), ("", "a")]
    paths += [(1,), ("1",), (1, 1), (11,), ("a", 1), ("a", "1"), ("int:1",), ("a:b",), (-1,)]
    paths += [("noise", step, name) for step in range(200) for name in ("weight", "bias")]
    keys = {root.child(*path).key for path in paths} | {root.key, root.child("a").child("b").key}
    assert len(keys) == len(paths) + 2
    assert {len(key) for key in keys} == {32}


def test_seeds_are_reproducible_and_the_system_never_repeats() -> None:
    assert Rng.from_seed(7) == Rng.from_seed(7)
    assert len({Rng.from_seed(seed).key for seed in range(1000)} | {Rng.from_seed(-1).key}) == 1001
    assert len({Rng.from_system().key for _ in range(100)}) == 100


def test_a_stream_can_be_opened_again_and_differs_from_its_neighbours() -> None:
    root = Rng.from_seed(1)
    first, again, next_ = (root.child("noise", step).numpy().standard_normal(20_000) for step in (0, 0, 1))
    assert np.array_equal(first, again)
    assert abs(np.corrcoef(first, next_)[0, 1]) < 4.5 / math.sqrt(20_000)


def test_integers_stay_within_their_bits() -> None:
    draws = [Rng.from_seed(seed).integer(8) for seed in range(2000)]
    assert (min(draws), max(draws)) == (0, 255)
    assert 0 <= Rng.from_seed(1).integer() < 2**63


def test_uniform_rows_depend_on_the_key_and_their_own_id_alone() -> None:
    rng, ids = Rng.from_seed(3), np.array([f"row/{row}" for row in range(50)])
    whole = rng.uniform(ids, 8)
    order = np.random.default_rng(0).permutation(50)
    assert np.array_equal(rng.uniform(ids[order], 8), whole[order])
    assert np.array_equal(np.concatenate([rng.uniform(ids[[row]], 8) for row in range(50)]), whole)
    assert np.array_equal(rng.uniform(ids, 3), whole[:, :3])
    assert not np.isin(rng.child("other").uniform(ids, 8), whole).any()
    assert rng.uniform(np.array([], dtype=np.str_), 8).shape == (0, 8)


def test_uniform_does_not_care_how_wide_the_id_array_is() -> None:
    rng = Rng.from_seed(3)
    assert np.array_equal(rng.uniform(np.array(["a"]), 2), rng.uniform(np.array(["a", "long"])[:1], 2))


def test_uniforms_are_uniform_and_independent_across_ids_columns_and_keys() -> None:
    ids = np.array([f"digits/{row}" for row in range(4000)])
    draws = Rng.from_seed(4).uniform(ids, 16)
    assert draws.min() >= 0
    assert draws.max() < 1
    assert stats.kstest(draws.ravel(), "uniform").pvalue > 1e-3
    assert all(stats.kstest(column, "uniform").pvalue > 1e-3 / 16 for column in draws.T)
    other = Rng.from_seed(5).uniform(ids, 16)
    limit = 5 / math.sqrt(draws.size)
    for one, two in ((draws[:-1], draws[1:]), (draws[:, :-1], draws[:, 1:]), (draws, other)):
        assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < limit


def test_the_uniformity_test_would_see_a_rounded_stream() -> None:
    draws = Rng.from_seed(4).uniform(np.array([f"digits/{row}" for row in range(4000)]), 16)
    assert stats.kstest(np.floor(draws * 16).ravel() / 16, "uniform").pvalue < 1e-3


# Coins


def names(family: str, count: int) -> Any:
    return np.array([f"{family}:{index}" for index in range(count)])


@pytest.mark.parametrize("rng", [None, Rng.from_seed(0)], ids=["system", "seed"])
def test_coins_are_fair_and_independent(rng: Rng | None) -> None:
    count = 200_000
    ids: dict[str, Any] = {family: names(family, count) for family in FAMILIES}
    heads = draw_coins(ids, rng).heads
    limit = 6 / math.sqrt(count)  # six standard deviations: the system's coins may fail once in 10^8 runs
    signs = {family: 2.0 * heads[family] - 1 for family in FAMILIES}
    for family in FAMILIES:
        assert heads[family].shape == (count,)
        assert abs(signs[family].mean()) < limit
        for lag in (1, 2, 7, 8):  # eight coins come from one byte
            assert abs((signs[family][lag:] * signs[family][:-lag]).mean()) < limit
    for one, two in pairwise(FAMILIES):
        assert abs((signs[one] * signs[two]).mean()) < limit


def test_seeded_coins_repeat_and_system_coins_do_not() -> None:
    ids = {"block": names("block", 256)}
    one, two = draw_coins(ids, Rng.from_seed(1)), draw_coins(ids, Rng.from_seed(1))
    assert one.commitment() == two.commitment()
    assert not np.array_equal(one.heads["block"], draw_coins(ids, Rng.from_seed(2)).heads["block"])
    first, second = draw_coins(ids, None), draw_coins(ids, None)
    assert first.salt != second.salt
    assert len(first.salt) == 32
    assert not np.array_equal(first.heads["block"], second.heads["block"])


def test_one_family_does_not_change_the_coins_of_another() -> None:
    alone = draw_coins({"pool": names("pool", 99)}, Rng.from_seed(1))
    both = draw_coins({"block": names("block", 5), "pool": names("pool", 99)}, Rng.from_seed(1))
    assert np.array_equal(alone.heads["pool"], both.heads["pool"])


@pytest.fixture
def coins() -> Coins:
    return draw_coins({"pool": names("pool", 13), "block": names("block", 16)}, Rng.from_seed(3))


def test_the_commitment_binds_every_coin(coins: Coins) -> None:
    seen = {coins.commitment()}
    for family, heads in coins.heads.items():
        for index in range(len(heads)):
            turned = heads.copy()
            turned[index] = ~turned[index]
            seen.add(replace(coins, heads={**coins.heads, family: turned}).commitment())
    assert len(seen) == 1 + 13 + 16


def test_the_commitment_binds_salt_ids_and_families(coins: Coins) -> None:
    others = [
        replace(coins, salt=bytes(32)),
        replace(coins, ids={**coins.ids, "pool": coins.ids["pool"][::-1]}),
        replace(coins, ids={**coins.ids, "pool": names("pole", 13)}),
        replace(
            coins,
            ids={"inputs": coins.ids["pool"], "block": coins.ids["block"]},
            heads={"inputs": coins.heads["pool"], "block": coins.heads["block"]},
        ),
        replace(coins, ids={"pool": coins.ids["pool"]}, heads={"pool": coins.heads["pool"]}),
    ]
    assert len({each.commitment() for each in [coins, *others]}) == 1 + len(others)
    for other in others:
        with pytest.raises(DamagedRunError, match="sealed coins"):
            other.check(coins.commitment())


def test_the_commitment_does_not_depend_on_the_order_of_families(coins: Coins) -> None:
    turned = Coins(ids=dict(reversed(coins.ids.items())), heads=dict(reversed(coins.heads.items())), salt=coins.salt)
    turned.check(coins.commitment())


def test_the_commitment_hides_the_coins_behind_the_salt() -> None:
    ids = {"pool": np.array(["a"])}
    assert len({draw_coins(ids, None).commitment() for _ in range(50)}) == 50


def test_members_are_keyed_by_id(coins: Coins) -> None:
    members = coins.members("pool")
    assert list(members) == coins.ids["pool"].tolist()
    assert [members[name] for name in coins.ids["pool"].tolist()] == coins.heads["pool"].tolist()
    assert {type(value) for value in members.values()} == {bool}


def test_every_family_says_what_its_attacker_inserts() -> None:
    assert set(INSERTS) == set(FAMILIES)


# Scores

THREAT = ThreatModel(access="outputs", inserts="inputs")


def table(scores: list[float], ids: list[str]) -> ScoreTable:
    return ScoreTable(
        attack="loss", run="target-00", family="pool", threat_model=THREAT, ids=np.array(ids), scores=np.array(scores)
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_are_refused_with_the_candidate(bad: float) -> None:
    with pytest.raises(DpauditError, match=r"^attack loss: 1 scores are not finite \(first: candidate b\)$"):
        table([0.0, bad, 1.0], ["a", "b", "c"])
    with pytest.raises(InputError, match="expected finite numbers"):
        LabelledScores(scores=np.array([0.0, bad]), member=np.array([True, False]))


def test_scores_of_another_shape_are_refused() -> None:
    with pytest.raises(DpauditError, match=r"scores have shape \(2,\), expected \(3,\)"):
        table([0.0, 1.0], ["a", "b", "c"])
    with pytest.raises(InputError, match="two columns of one length"):
        LabelledScores(scores=np.zeros(2), member=np.zeros(3, dtype=np.bool_))
    with pytest.raises(InputError, match="two columns of one length"):
        LabelledScores(scores=np.zeros((2, 1)), member=np.zeros((2, 1), dtype=np.bool_))


def test_scores_meet_coins_by_id_not_by_position() -> None:
    joined = join(table([3.0, 1.0, 2.0], ["c", "a", "b"]), {"a": True, "b": False, "c": False, "other": True})
    assert joined.scores.tolist() == [3.0, 1.0, 2.0]
    assert joined.member.tolist() == [False, True, False]
    assert len(joined) == 3


def test_a_candidate_without_a_coin_is_refused() -> None:
    with pytest.raises(InputError, match="scores of loss = 'b': expected a candidate that has a coin"):
        join(table([1.0, 2.0], ["a", "b"]), {"a": True})
