"""Designs that come with the package: they are what would be planned, and no other question finds them."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dpaudit.errors import InputError
from dpaudit.pipeline.aim import Aim
from dpaudit.pipeline.designs import made_plan, plan_design
from dpaudit.pipeline.promises import Stated, stated_promise
from dpaudit.pipeline.shipped import question, shipped_plan

if TYPE_CHECKING:
    from dpaudit.results import Plan

SCRIPT = Path(__file__).parents[2] / "docs" / "designs.py"


@pytest.fixture(scope="module")
def questions() -> list[tuple[Aim, int, int]]:
    spec = importlib.util.spec_from_file_location("designs", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return list(module.questions())


def aim(epsilon: float = 8, **given: Any) -> Aim:
    return Aim(promise=stated_promise(Stated(epsilon=epsilon, delta=1e-5)), attack="mine", **given)


def same(shipped: Plan, made: Plan) -> None:
    assert (shipped.guesses_in, shipped.guesses_out) == (made.guesses_in, made.guesses_out)
    assert shipped.surest == made.surest
    assert (shipped.error_rates is None) == (made.error_rates is None)
    assert shipped.expected == pytest.approx(made.expected, rel=2e-3)
    assert shipped.largest == pytest.approx(made.largest, rel=2e-3)
    assert shipped.power == pytest.approx(made.power, abs=1e-3)


def test_every_question_of_the_script_is_answered_and_nothing_else(questions: list[tuple[Aim, int, int]]) -> None:
    asked = {question(*each) for each in questions}
    for each in questions:
        assert shipped_plan(*each) is not None, f"run docs/designs.py: {question(*each)}"
    from dpaudit.pipeline.shipped import _shipped  # noqa: PLC0415  # what the file holds has no other reader

    assert set(_shipped()) == asked


@pytest.mark.parametrize(("epsilon", "runs"), [(1, 1), (4, 2)])
def test_a_shipped_design_is_the_planned_one(epsilon: float, runs: int) -> None:
    shipped = shipped_plan(aim(epsilon), 1000, runs)
    assert shipped is not None
    same(shipped, made_plan(aim(epsilon), 1000, runs))


@pytest.mark.slow
def test_shipped_designs_are_the_planned_ones(questions: list[tuple[Aim, int, int]]) -> None:
    for each in questions[::8]:
        shipped = shipped_plan(*each)
        assert shipped is not None
        same(shipped, made_plan(*each))


def test_an_audit_is_given_the_shipped_design_under_its_attack_s_name() -> None:
    plan = plan_design(aim(), 1000, 4)
    assert plan.attack == "mine"
    assert plan == shipped_plan(aim(), 1000, 4)


@pytest.mark.parametrize(
    "change",
    [
        {"noise_multiplier": 0.6003},
        {"sampling_rate": 0.5, "sampling": "poisson"},
        {"steps": 2},
        {"adjacency": "replace-one"},
        {"sampling": "fixed"},
    ],
)
def test_another_mechanism_is_another_question(change: dict[str, Any]) -> None:
    asked = aim()
    mechanism = asked.promise.mechanism.model_copy(update=change)
    other = replace(asked, promise=asked.promise.model_copy(update={"mechanism": mechanism}))
    assert question(other, 1000, 4) != question(asked, 1000, 4)
    assert shipped_plan(other, 1000, 4) is None


@pytest.mark.parametrize(
    "change",
    [
        {"confidence": 0.9},
        {"methods": ("one-run-fdp",)},
        {"hypothesis": "any"},
        {"hypothesis": "gaussian"},
        {"enough_power": 0.5},
        {"sharing": 8},
    ],
)
def test_another_aim_is_another_question(change: dict[str, Any]) -> None:
    assert question(aim(**change), 1000, 4) != question(aim(), 1000, 4)
    assert shipped_plan(aim(**change), 1000, 4) is None


@pytest.mark.parametrize(
    "update", [{"delta": 1e-6}, {"kind": "claim"}, {"run": stated_promise(Stated(epsilon=1, delta=1e-5)).mechanism}]
)
def test_another_promise_is_another_question(update: dict[str, Any]) -> None:
    asked = aim()
    other = replace(asked, promise=asked.promise.model_copy(update=update))
    assert question(other, 1000, 4) != question(asked, 1000, 4)


def test_neither_the_clip_norm_nor_the_name_of_the_attack_matters() -> None:
    asked = aim()
    mechanism = asked.promise.mechanism.model_copy(update={"clip_norm": 0.1})
    other = replace(asked, attack="else", promise=asked.promise.model_copy(update={"mechanism": mechanism}))
    assert question(other, 1000, 4) == question(asked, 1000, 4)


def test_what_is_refused_is_refused_as_before() -> None:
    with pytest.raises(InputError, match="canaries"):
        plan_design(aim(), 0, 1)
