"""A promise is the same whether a recipe or a handful of numbers makes it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from dpaudit.errors import InputError
from dpaudit.pipeline.order import open_audit
from dpaudit.pipeline.promises import Stated, recipe_mechanism, recipe_promise, stated_promise, step_promise
from dpaudit.results import Promise

NUMBERS = Stated(delta=1e-5, epsilon=8.0, batch_size=32, dataset_size=260, steps=6)


def test_a_recipe_and_its_numbers_promise_the_same(tiny: tuple[str, ...]) -> None:
    audit = open_audit("quickstart", overrides=tiny)
    mechanism = recipe_mechanism(audit.loaded, audit.sizes.universe)
    promise = recipe_promise(audit.loaded, mechanism)
    stated = stated_promise(NUMBERS)
    assert stated.epsilon == promise.epsilon
    assert stated.mechanism.noise_multiplier == mechanism.noise_multiplier
    assert 7.9 < promise.epsilon <= 8


def test_sizes_are_those_of_the_population(tiny: tuple[str, ...]) -> None:
    for settings in (tiny, [*tiny, "data.limit=null"], [*tiny, "canaries.inputs.noise=0"]):
        audit = open_audit("quickstart", overrides=settings)
        assert audit.sizes.universe == len(audit.population.universe)
        counted = {family: len(ids) for family, ids in audit.population.candidate_ids().items()}
        assert audit.sizes.candidates == counted


def test_without_sizes_the_promise_is_one_gaussian_step() -> None:
    promise = stated_promise(Stated(epsilon=8.0, delta=1e-5))
    assert (promise.mechanism.sampling, promise.mechanism.steps) == ("full", 1)
    assert promise.mechanism.noise_multiplier == pytest.approx(0.6, abs=1e-3), "mu(8, 1e-5) = 1.666"


def test_what_no_accountant_promises_is_a_claim() -> None:
    promise = stated_promise(replace(NUMBERS, sampling="shuffle"))
    assert promise.kind == "claim"
    assert "does not earn it" in promise.note


def test_a_promise_of_a_stream_says_so_and_survives_json(tiny: tuple[str, ...]) -> None:
    stream = ["privacy.sampling=shuffle", "privacy.shuffle_buffer=7"]
    audit = open_audit("quickstart", overrides=[*tiny, *stream])
    promise = recipe_promise(audit.loaded, recipe_mechanism(audit.loaded, audit.sizes.universe))
    assert promise.note.endswith("shuffle sampling (streamed in storage order, buffer 7) does not earn it")
    for each in (promise, step_promise(promise)):
        assert Promise.model_validate_json(each.model_dump_json()) == each


@pytest.mark.parametrize(
    ("change", "field", "expected"),
    [
        ({"epsilon": None}, "epsilon", "or a noise multiplier"),
        ({"noise_multiplier": 1.0}, "noise_multiplier", "epsilon is given too"),
        ({"epsilon": math.inf}, "epsilon", "no promise to plan against"),
        ({"epsilon": 0.0}, "epsilon", "above 0"),
        ({"epsilon": math.nan}, "epsilon", "above 0"),
        ({"epsilon": None, "noise_multiplier": 0.0}, "noise_multiplier", "without noise there is no promise"),
        ({"delta": None}, "delta", "between 0 and 1"),
        ({"delta": 1.0}, "delta", "between 0 and 1"),
        ({"steps": None}, "steps", "go together"),
        ({"batch_size": 0}, "batch_size", "at least 1"),
        ({"batch_size": 261}, "batch_size", "dataset size"),
        ({"sampling": "full"}, "batch_size", "all records"),
        ({"sampling": "poison"}, "sampling", "one of poisson"),
        ({"adjacency": "near"}, "adjacency", "one of add-remove"),
    ],
)
def test_a_wrong_number_is_named(change: dict[str, object], field: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected) as caught:
        stated_promise(replace(NUMBERS, **change))  # type: ignore[arg-type]  # wrong on purpose
    assert caught.value.field == field
