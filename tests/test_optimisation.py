"""Optimizers and schedules as a recipe says them: their values, and one line for what is wrong."""

from __future__ import annotations

import math

import pytest

from dpaudit.errors import InputError
from dpaudit.optimisation import AdamW, CappedCosine, Constant, Cosine, Lars, Schedule, Sgd
from dpaudit.recipes.recipe import Recipe, load_recipe


def recipe(*overrides: str) -> Recipe:
    return load_recipe("quickstart", overrides).recipe


def factors(schedule: Schedule, steps: int) -> list[float]:
    return [schedule.factor(step, steps) for step in range(steps)]


def test_the_ramp_moves_from_the_first_step_and_ends_at_the_full_rate() -> None:
    assert factors(Constant(warmup=4), 6) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert factors(Constant(), 3) == [1.0, 1.0, 1.0]


def test_cosine_begins_where_the_ramp_ends() -> None:
    found = factors(Cosine(warmup=2), 6)
    assert found[:2] == [0.5, 1.0]
    assert found[2:] == pytest.approx([(1 + math.cos(math.pi * at / 4)) / 2 for at in range(4)])


def test_dp_cap_stopped_its_cosine_early() -> None:
    schedule = Cosine(warmup=2000, total=10_000)
    assert schedule.factor(1999, 5708) == schedule.factor(2000, 5708) == 1.0
    assert schedule.factor(5708, 5708) == pytest.approx(0.557, abs=5e-4)
    assert schedule.factor(20_000, 30_000) == 0.0  # after its end the rate stays 0 and does not rise again


def test_vip_takes_the_smaller_of_ramp_and_cosine() -> None:
    schedule = CappedCosine(warmup=1000)
    expected = [min((t + 1) / 1000, (1 + math.cos(math.pi * t / 10_000)) / 2) for t in range(10_000)]
    assert factors(schedule, 10_000) == pytest.approx(expected)
    assert schedule.factor(999, 10_000) != pytest.approx(Cosine(warmup=1000).factor(999, 10_000))


def test_a_recipe_names_its_optimizer_or_leaves_it_to_the_trainer() -> None:
    assert recipe().optimizer is None
    assert recipe("optimizer={name: sgd, learning_rate: 32}").optimizer == Sgd(learning_rate=32)
    published = "{name: adamw, learning_rate: 5.12e-4, schedule: {name: cosine, warmup: 2000, total: 10000}}"
    schedule = Cosine(warmup=2000, total=10_000)
    assert recipe(f"optimizer={published}").optimizer == AdamW(learning_rate=5.12e-4, schedule=schedule)
    assert AdamW(learning_rate=1).betas == (0.9, 0.95)
    assert recipe("optimizer={name: lars, learning_rate: 6.4}").optimizer == Lars(learning_rate=6.4)


@pytest.mark.parametrize(
    ("setting", "field", "expected"),
    [
        ("optimizer=sgd", "optimizer", "a mapping"),
        ("optimizer={learning_rate: 1}", "optimizer", "one with a 'name'"),
        ("optimizer={name: adam, learning_rate: 1}", "optimizer", "one that is named 'sgd', 'adamw', 'lars'"),
        ("optimizer={name: sgd}", "optimizer.learning_rate", "it has no default"),
        ("optimizer={name: sgd, learning_rate: 0}", "optimizer.learning_rate", "a number above 0"),
        ("optimizer={name: sgd, learning_rate: inf}", "optimizer.learning_rate", "a finite number"),
        ("optimizer={name: sgd, learning_rate: 1, momentun: 0}", "optimizer.momentun", "did you mean 'momentum'?"),
        ("optimizer={name: sgd, learning_rate: 1, momentum: 1}", "optimizer.momentum", "a number below 1"),
        ("optimizer={name: adamw, learning_rate: 1, betas: [0.9, 2]}", "optimizer.betas.1", "a number below 1"),
        ("optimizer={name: sgd, learning_rate: 1, trust: 1}", "optimizer.trust", "one of 'learning_rate', 'momentum'"),
        (
            "optimizer={name: lars, learning_rate: 1, schedule: {name: cosine, warmup: -1}}",
            "optimizer.schedule.warmup",
            "a number of at least 0",
        ),
        (
            "optimizer={name: lars, learning_rate: 1, schedule: {name: step}}",
            "optimizer.schedule",
            "one that is named 'constant', 'cosine', 'capped-cosine'",
        ),
        ("weights.ema_decay=1", "weights.ema_decay", "a number below 1"),
        ("weights.evaluate=ema", "weights.evaluate", "no average is kept"),
        ("privacy.simulate_batch=300", "privacy.simulate_batch", "at most batch_size = 256"),
    ],
)
def test_what_is_wrong_is_named(setting: str, field: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        recipe(setting)
    assert caught.value.field == field
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_simulation_claims_nothing() -> None:
    with pytest.raises(InputError, match="a simulation promises nothing"):
        recipe("privacy.simulate_batch=16", "privacy.claimed_epsilon=1")
