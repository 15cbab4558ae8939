"""Reference difference, LiRA, RMIA and quantile regression: against slow obvious twins and a known truth."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

from dpaudit.attacks.lira import Lira
from dpaudit.attacks.quantile_regression import QuantileRegression
from dpaudit.attacks.reference_difference import ReferenceDifference
from dpaudit.attacks.rmia import Rmia
from dpaudit.data.examples import Examples
from dpaudit.errors import InputError
from dpaudit.metrics import auc
from dpaudit.plugins import Attack, AttackView, Candidates
from dpaudit.rng import Rng
from dpaudit.scores import LabelledScores

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from dpaudit.canaries import Family
    from dpaudit.mechanism import Mechanism
    from dpaudit.plugins import Moment, Trace


CALIBRATED = (
    ReferenceDifference(),
    Lira(),
    Lira(mode="offline"),
    Lira(variance="stabilised"),
    Rmia(),
    Rmia(mode="offline"),
    QuantileRegression(),
)


def records(count: int, first: int = 0) -> Examples:
    numbers = np.arange(first, first + count)
    images = np.zeros((count, 3, 1, 1), dtype=np.uint8)
    return Examples(
        ids=np.array([f"record/{number}" for number in numbers]), images=images, labels=np.zeros(count, int)
    )


class Told:
    """Says signal `name` of record/i as values[name][i]; embeds as features[i]. It counts what it was asked."""

    def __init__(self, values: Mapping[str, NDArray[np.float64]], features: NDArray[np.float64] | None = None) -> None:
        self.values, self.features = values, features
        self.calls: list[tuple[str, bytes]] = []

    def signal(self, name: str, examples: Examples, rng: Rng) -> NDArray[np.float64]:
        self.calls.append((name, rng.key))
        return self.values[name][_rows(examples)]

    def embed(self, examples: Examples) -> NDArray[np.float32]:
        assert self.features is not None
        return self.features[_rows(examples)].astype(np.float32)

    @property
    def mechanism(self) -> Mechanism:
        raise AssertionError

    def logits(self, examples: Examples) -> NDArray[np.float32]:
        raise AssertionError(examples)

    token_log_likelihoods = image_vectors = text_vectors = logits

    def weights(self, at: Moment = "final") -> Mapping[str, NDArray[np.float32]]:
        raise AssertionError(at)

    def gradients(self, examples: Examples, rng: Rng, at: Moment = "final") -> Iterator[NDArray[np.float32]]:
        raise AssertionError(examples, rng, at)

    def trace(self, family: Family) -> Trace:
        raise AssertionError(family)


def _rows(examples: Examples) -> NDArray[np.int64]:
    return np.array([int(name.split("/")[1]) for name in examples.ids.tolist()], dtype=np.int64)


def view_of(
    target: Told, candidates: int, population: int = 0, references: Sequence[tuple[Told, NDArray[np.bool_]]] = ()
) -> AttackView:
    examples = records(candidates)
    return AttackView(
        target=target,
        candidates=Candidates(family="pool", ids=examples.ids, examples=examples),
        population=records(population, candidates),
        rng=Rng.from_seed(0),
        references=tuple(references),
    )


def world(count: int, references: int, *, gain: float, seed: int = 0) -> tuple[AttackView, np.ndarray]:
    """Return a view and who is a member. A loss = difficulty of the record (its feature) + noise - gain of a member."""
    generator = np.random.default_rng(seed)
    population = 200
    difficulty = 3 * generator.gamma(2.0, 1.0, count + population)
    masks = np.array([generator.permutation(references) < references // 2 for _ in range(count)]).T
    member = generator.random(count) < 0.5

    def told(inside: np.ndarray) -> Told:
        loss = difficulty + 0.5 * generator.normal(size=count + population)
        loss[:count] -= gain * inside
        noisy = difficulty[:, None] + 0.1 * generator.normal(size=(count + population, 3))
        return Told({"loss": np.maximum(loss, 0.0)}, features=noisy)

    others = [(told(mask), mask) for mask in masks]
    return view_of(told(member), count, population, others), member


def success(attack: Attack, view: AttackView, member: np.ndarray) -> float:
    return auc(LabelledScores(scores=attack.score(view), member=member)).value


@pytest.mark.parametrize("attack", CALIBRATED, ids=repr)
def test_it_is_an_attack_that_finds_members_where_difficulty_hides_them(attack: Attack) -> None:
    assert isinstance(attack, Attack)
    view, member = world(800, 8, gain=1.0)
    loss = -view.target.signal("loss", view.candidates.records, view.rng)
    plain = auc(LabelledScores(scores=loss, member=member)).value
    assert plain < 0.6
    assert success(attack, view, member) > plain + 0.1


@pytest.mark.parametrize("attack", CALIBRATED, ids=repr)
def test_without_leakage_it_is_at_chance(attack: Attack) -> None:
    view, member = world(1500, 8, gain=0.0, seed=1)
    assert abs(success(attack, view, member) - 0.5) < 4 * 0.289 * np.sqrt(4 / 1500)


@pytest.mark.parametrize("attack", CALIBRATED, ids=repr)
def test_a_score_is_finite_and_repeats(attack: Attack) -> None:
    view, _ = world(30, 6, gain=1.0)
    scores = attack.score(view)
    assert scores.shape == (30,)
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(attack.score(view), scores)


def test_the_difference_is_its_twin() -> None:
    view, _ = world(40, 6, gain=1.0)
    found = ReferenceDifference().score(view)
    for at in range(40):
        others = [told.values["loss"][at] for told, mask in view.references if not mask[at]]  # type: ignore[attr-defined]  # Told
        assert found[at] == pytest.approx(np.mean(others) - view.target.values["loss"][at])  # type: ignore[attr-defined]


def losses_of(view: AttackView, at: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Return a candidate's signal at the target, and at the references with it and without it."""
    values = np.array([-told.values["loss"][at] for told, _ in view.references])  # type: ignore[attr-defined]  # Told
    inside = np.array([mask[at] for _, mask in view.references])
    return -view.target.values["loss"][at], values[inside], values[~inside]  # type: ignore[attr-defined]


def test_lira_is_its_twin() -> None:
    view, _ = world(40, 8, gain=1.0)
    online, offline = (Lira(mode=mode, variance="each").score(view) for mode in ("online", "offline"))
    for at in range(40):
        signal, within, without = losses_of(view, at)
        normal = [stats.norm(np.median(side), side.std()) for side in (within, without)]
        assert online[at] == pytest.approx(normal[0].logpdf(signal) - normal[1].logpdf(signal), rel=1e-8)
        assert offline[at] == pytest.approx(-normal[1].logsf(signal), rel=1e-8)


def test_lira_fixes_the_variance_below_64_references() -> None:
    for references, variance in ((62, "fixed"), (64, "each")):
        view, _ = world(10, references, gain=1.0)
        np.testing.assert_array_equal(Lira().score(view), Lira(variance=variance).score(view))  # type: ignore[arg-type]


def test_equal_sides_say_nothing() -> None:
    values = np.random.default_rng(2).normal(size=(4, 30))
    masks = np.repeat([[True], [True], [False], [False]], 30, axis=1)
    others = [(Told({"loss": values[row % 2]}), mask) for row, mask in enumerate(masks)]
    scores = Lira().score(view_of(Told({"loss": values[3]}), 30, references=others))
    np.testing.assert_allclose(scores, 0.0, atol=1e-12)


@pytest.mark.parametrize(("mode", "a"), [("online", 0.33), ("offline", 0.33), ("offline", 0.0), ("offline", 1.0)])
@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_rmia_is_its_twin(mode: str, a: float, gamma: float) -> None:
    view, _ = world(30, 6, gain=0.7)
    found = Rmia(mode=mode, a=a, gamma=gamma).score(view)  # type: ignore[arg-type]
    likelihood = np.exp(-np.array([told.values["loss"] for told, _ in view.references]))  # type: ignore[attr-defined]
    target, inside = np.exp(-view.target.values["loss"]), np.array([mask for _, mask in view.references])  # type: ignore[attr-defined]
    ratio_z = target[30:] / (((1 + a) * likelihood[:, 30:].mean(axis=0) + 1 - a) / 2)
    for at in range(30):
        without = likelihood[~inside[:, at], at].mean()
        expected = (likelihood[inside[:, at], at].mean() + without) / 2
        if mode == "offline":
            expected = ((1 + a) * without + 1 - a) / 2
        share = np.mean(target[at] / expected / ratio_z >= gamma)
        # within one population record's share the order is that of the ratio itself
        assert share * 200 == pytest.approx(np.floor(found[at] * 201 + 1e-9))


def test_rmia_breaks_ties_by_the_ratio() -> None:
    view, _ = world(300, 6, gain=1.0)
    assert len(np.unique(Rmia().score(view))) == 300


def test_rmia_chooses_a_without_the_target() -> None:
    view, _ = world(200, 8, gain=1.0)
    other, _ = world(200, 8, gain=1.0, seed=5)
    chosen = [Rmia(mode="offline", a=a / 10).score(view) for a in range(11)]
    found = Rmia(mode="offline").score(view)
    assert any(np.array_equal(found, each) for each in chosen)
    swapped = replace(view, target=other.target)
    picked = next(a for a, each in enumerate(chosen) if np.array_equal(found, each))
    np.testing.assert_array_equal(
        Rmia(mode="offline").score(swapped), Rmia(mode="offline", a=picked / 10).score(swapped)
    )


def test_quantile_regression_learns_mean_and_spread() -> None:
    generator = np.random.default_rng(3)
    x = generator.normal(size=(6000, 2))
    signal = 2 * x[:, 0] + np.exp(0.5 * x[:, 1]) * generator.normal(size=6000)
    scores = QuantileRegression().score(view_of(Told({"loss": -signal}, features=x), 2000, 4000))
    truth = (signal - 2 * x[:, 0])[:2000] / np.exp(0.5 * x[:2000, 1])
    assert (np.abs(scores - truth) <= 0.2 * np.abs(truth) + 0.2).all()


def test_a_quantile_without_informative_features_is_the_empirical_one() -> None:
    generator = np.random.default_rng(4)
    signal, nothing = generator.normal(size=600), np.zeros((600, 1))
    scores = QuantileRegression(quantile=0.9).score(view_of(Told({"loss": -signal}, features=nothing), 100, 500))
    np.testing.assert_allclose(scores, signal[:100] - np.quantile(signal[100:], 0.9), atol=0.05)


@pytest.mark.parametrize("attack", CALIBRATED, ids=repr)
def test_a_signal_that_nobody_knows_is_refused(attack: Attack) -> None:
    with pytest.raises(InputError, match="signal = 'nonsense'"):
        type(attack)(signal="nonsense")  # type: ignore[call-arg]


def test_bad_options_are_refused() -> None:
    for make, message in (
        (lambda: Lira(draws=0), "draws = 0"),
        (lambda: Rmia(gamma=0.0), "gamma = 0.0"),
        (lambda: Rmia(a=1.5), "a = 1.5"),
        (lambda: Rmia(signal="cosine"), "signal = 'cosine': expected a likelihood"),
        (lambda: QuantileRegression(quantile=1.0), "quantile = 1.0"),
    ):
        with pytest.raises(InputError, match=message):
            make()
