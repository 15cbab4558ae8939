"""Designs: the published values, an honest best, and hours that are known or said not to be."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import dpaudit
from dpaudit.dp.devices import in_words
from dpaudit.errors import InputError
from dpaudit.pipeline.designs import Budget
from dpaudit.pipeline.order import open_audit
from dpaudit.pipeline.pace import earlier_pace, measured_pace
from dpaudit.pipeline.stages.plan import deciding_aims, preflight, promised
from dpaudit.planner import certified, choose, refutable, strongest
from dpaudit.progress import Silent
from dpaudit.results import Plan
from dpaudit.runs import write_json

if TYPE_CHECKING:
    from pathlib import Path

    from dpaudit.pipeline.audit import Audit
    from dpaudit.pipeline.designs import Designs


@pytest.fixture(scope="module")
def eight() -> Designs:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("dpaudit.pipeline.designs.shipped_plan", lambda *_: None)  # made anew
        return dpaudit.plan(epsilon=8, delta=1e-5, canaries=[1000], runs=[1, 4, 8])


def a_plan(runs: int = 1, canaries: int = 1000, power: float = 0.9, **expected: float) -> Plan:
    return Plan(
        attack="x",
        method="one-run-fdp",
        canaries=canaries,
        runs=runs,
        guesses_in=1,
        guesses_out=1,
        expected_epsilon=max(expected.values()),
        expected=expected,
        power=power,
        largest_epsilon=9.0,
    )


@pytest.mark.parametrize(("runs", "published"), [(1, 4.94), (4, 6.4), (8, 6.9)])
def test_epsilon_8_by_a_thousand_canaries(eight: Designs, runs: int, published: float) -> None:
    plan = next(plan for plan in eight.plans if plan.runs == runs)
    assert plan.expected["gaussian"] == pytest.approx(published, rel=0.035), "0.035: power comes before the bound"
    assert plan.expected["gaussian"] == plan.expected_epsilon


def test_every_hypothesis_has_its_number(eight: Designs) -> None:
    for plan in eight.plans:
        assert plan.expected["accountant"] == pytest.approx(plan.expected["gaussian"], rel=5e-3), "one Gaussian step"
        assert plan.expected["any"] < plan.expected["gaussian"]
        assert plan.hours is None
    assert eight.best is not None
    assert (eight.best.runs, eight.hypothesis) == (8, "accountant")
    assert eight.certified == eight.best.expected["accountant"]


def test_what_has_power_could_be_refuted(tiny: tuple[str, ...]) -> None:
    designs = dpaudit.plan("quickstart", overrides=tiny, runs=[1], canaries=[2000, 5])
    few, many = designs.plans
    assert (few.power, many.power > 0.5) == (0.0, True)
    assert refutable(few, "accountant") < designs.promise.epsilon < refutable(many, "accountant")
    assert all(many.largest[hypothesis] > epsilon for hypothesis, epsilon in many.expected.items())
    assert few.largest["gaussian"] == few.largest_epsilon


def test_the_answer_is_json_with_infinity_nowhere(eight: Designs) -> None:
    answer = json.loads(eight.model_dump_json())
    assert answer["hours_per_run"] is None
    assert answer["best"]["runs"] == 8
    assert type(eight).model_validate(answer) == eight


def test_the_best_is_within_the_budget() -> None:
    designs = dpaudit.plan(epsilon=4, delta=1e-5, canaries=[1000], budget=3.1, hours_per_run=1.0)
    assert [plan.runs for plan in designs.plans] == [1, 2, 3, 4, 8], "3: the most that can be paid for"
    assert designs.best is not None
    assert designs.best.hours == 3.0
    too_little = dpaudit.plan(epsilon=4, delta=1e-5, canaries=[1000], runs=[2], budget=1.0, hours_per_run=1.0)
    assert too_little.best is None
    assert too_little.certified is None


def test_references_are_paid_for() -> None:
    budget = Budget(hours=10.0, hours_per_run=1.0, references=4)
    assert (budget.cost(2), budget.most_runs(), budget.allows(6), budget.allows(7)) == (6.0, 6, True, False)


def test_the_strongest_is_chosen_power_first() -> None:
    blind, seeing = a_plan(power=0.1, accountant=5.0), a_plan(power=0.9, accountant=4.0)
    assert strongest([blind, seeing], "accountant") == seeing
    assert strongest([blind, a_plan(power=0.2, accountant=3.0)], "accountant") == blind


def test_of_equals_the_cheapest() -> None:
    plans = [a_plan(runs=4, any=3.001), a_plan(runs=2, canaries=9000, any=3.0), a_plan(runs=2, any=3.002)]
    assert strongest(plans, "any") == plans[2]


def test_what_holds_for_any_mechanism_holds_for_each() -> None:
    assert certified(a_plan(any=3.0, gaussian=2.0), "gaussian") == 3.0
    assert certified(a_plan(any=3.0, gaussian=4.0), "any") == 3.0


def test_a_stronger_test_is_taken_where_it_is_the_stronger() -> None:
    def usual(canaries: int, runs: int) -> Plan:
        return a_plan(runs, canaries, accountant=5.0)

    def grouped(canaries: int, runs: int) -> Plan:
        return a_plan(runs, canaries, accountant=4.0 + runs)

    for runs, chosen in ((1, 5.0), (4, 8.0)):
        plan = choose([usual, grouped], canaries=1000, runs=runs, hypothesis="accountant")
        assert (plan.runs, plan.expected["accountant"]) == (runs, chosen)


def test_a_claim_chooses_among_two_tests() -> None:
    designs = dpaudit.plan(
        noise_multiplier=1.0,
        batch_size=32,
        dataset_size=260,
        steps=6,
        delta=1e-5,
        sampling="shuffle",
        canaries=[2000],
        runs=[1],
    )
    assert designs.promise.kind == "claim"
    assert designs.hypothesis == "any"
    assert designs.plans[0].method == "one-run-joint", "never weaker than one-run"


def test_a_recipe_is_planned_without_trainer_and_images(
    tmp_path: Path, tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dpaudit.pipeline.audit.Audit.trainer", None)
    monkeypatch.setattr("dpaudit.data.digits.Digits.__getitem__", None)
    monkeypatch.chdir(tmp_path)
    designs = dpaudit.plan("quickstart", overrides=[*tiny, "trainer.name=not-installed"], runs=[1])
    assert [plan.canaries for plan in designs.plans] == [500, 5000, 50000]
    assert designs.asked == (designs.plans[1],)
    assert designs.hours_per_run is None
    assert list(tmp_path.iterdir()) == []


def test_the_plan_of_a_recipe_is_the_plan_of_its_audit(tiny: tuple[str, ...]) -> None:
    settings = [*tiny, "probes=[]", "runs.count=2"]
    planned = preflight(open_audit("quickstart", overrides=settings))
    designs = dpaudit.plan("quickstart", overrides=settings, runs=[2, 4], canaries=[5000])
    assert designs.asked == planned.plans
    assert designs.plans == (*planned.plans, *planned.more_runs)
    assert designs.promise == planned.promise.model_copy(update={"curve": None})


def test_runs_in_the_folder_tell_the_hours(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    def opened(*settings: str) -> Audit:
        return open_audit("quickstart", out=tmp_path, overrides=[*tiny, *settings])

    recipe = opened().recipe.model_dump(mode="json")
    write_json(tmp_path / "audit.json", {"recipe": recipe})
    mechanism = promised(opened()).mechanism
    assert earlier_pace(opened(), mechanism) is None, "nothing was trained yet"
    for name, seconds in (("00", 36.0), ("01", 72.0), ("02", 36.0)):
        write_json(tmp_path / "stages" / f"train-target-{name}.json", {"seconds": seconds})
        devices = [{"device": in_words(opened().device)}]
        write_json(tmp_path / f"target-{name}" / "manifest.json", {"compute": {"devices": devices}})
    pace = earlier_pace(opened(), mechanism)
    assert pace is not None
    assert pace.hours == pytest.approx(36 / 3600)
    assert pace.source == f"{tmp_path}: 6 steps of 6 s"
    longer = earlier_pace(opened("privacy.epsilon=2"), mechanism.model_copy(update={"steps": 60}))
    assert longer is not None
    assert longer.hours == pytest.approx(360 / 3600)
    assert earlier_pace(opened("privacy.batch_size=16"), mechanism) is None, "steps of another size"


def test_measuring_times_real_steps_and_leaves_nothing(
    tmp_path: Path, tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    audit = open_audit("quickstart", overrides=[*tiny, "privacy.steps=1000"])
    pace = measured_pace(audit, promised(audit).mechanism, Silent())
    assert pace.source.startswith("measured: 4 steps of")
    seconds = float(pace.source.split()[-2])
    assert pace.hours == pytest.approx(seconds * 1000 / 3600, rel=0.01)
    assert list(tmp_path.iterdir()) == []


def test_each_deciding_bound_has_its_designs(tiny: tuple[str, ...]) -> None:
    both = "bounds.decide=[{attack: audit_block, weight: 3}, {attack: loss-pool}]"
    audit = open_audit("quickstart", overrides=[*tiny, both])
    aims = deciding_aims(audit, promised(audit))
    assert [(aim.attack, canaries) for aim, canaries in aims] == [("audit_block", 5000), ("loss-pool", 50)]
    assert [aim.confidence for aim, _ in aims] == pytest.approx([1 - 0.0375, 1 - 0.0125])
    designs = dpaudit.plan("quickstart", overrides=[*tiny, both], runs=[1], canaries=[50])
    assert [plan.attack for plan in designs.plans] == ["audit_block", "loss-pool"]
    assert [plan.canaries for plan in designs.asked] == [5000, 50]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"recipe": "quickstart", "overrides": ["privacy.epsilon=inf"]}, "privacy.epsilon"),
        ({"recipe": "quickstart", "overrides": ["privacy.noise_multiplier=0"]}, "privacy.noise_multiplier"),
        ({"recipe": "quickstart", "overrides": ["privacy.simulate_batch=8"]}, "privacy.simulate_batch"),
        ({"recipe": "quickstart", "overrides": ["bounds.decide=[]"]}, "bounds.decide"),
        ({"recipe": "quickstart", "overrides": ["data.split.audit_pool=5000"]}, "data.split"),
        ({"recipe": "quickstart", "epsilon": 3.0}, "epsilon"),
        ({"recipe": "quickstart", "hours_per_run": 1.0, "measure": True}, "measure"),
        ({"recipe": "quickstart", "budget": -1.0, "hours_per_run": 1.0}, "budget"),
        ({"recipe": "quickstart", "hours_per_run": 0.0}, "hours_per_run"),
        ({"epsilon": 3.0, "delta": 1e-5, "budget": 2.0}, "budget"),
        ({"epsilon": 3.0, "delta": 1e-5, "measure": True}, "measure"),
        ({"epsilon": 3.0, "delta": 1e-5, "overrides": ["a=1"]}, "--set"),
        ({"epsilon": 3.0, "delta": 1e-5, "canaries": [0]}, "canaries"),
        ({"epsilon": 3.0, "delta": 1e-5, "runs": [-1]}, "runs"),
        ({"epsilon": 3.0, "delta": 1e-5, "confidence": 2.0, "canaries": [9]}, "confidence"),
        ({}, "epsilon"),
    ],
)
def test_what_cannot_be_planned_is_one_line(arguments: dict[str, object], field: str, tmp_path: Path) -> None:
    del tmp_path
    with pytest.raises(InputError) as caught:
        dpaudit.plan(**arguments)  # type: ignore[arg-type]  # wrong on purpose
    assert caught.value.field == field
    assert "\n" not in str(caught.value)
