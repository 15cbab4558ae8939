"""Sweeps: readable folders, refusals before training, failures that stop nothing, and going on."""

from __future__ import annotations

import json
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import dpaudit
from dpaudit.calls import sweeps
from dpaudit.calls.sweeps import Outcome, Point, grid, parse_axis
from dpaudit.cli.sweep import _judge
from dpaudit.errors import DpauditError, FalsifiedError, InputError
from dpaudit.executors import Executor
from dpaudit.pipeline.order import advance
from dpaudit.progress import Silent
from dpaudit.recipes.recipe import load_recipe

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpaudit.pipeline.audit import Audit

SMALL = ("privacy.steps=2", "canaries.block=1000", "canaries.inputs.noise=0", "probes=[]", "attacks=[audit_block]")


def test_a_grid_has_every_combination_in_folders_that_say_which() -> None:
    points = grid("quickstart", {"privacy.epsilon": [1, float("inf")], "weights.ema_decay": [None, 0.9]}, out="here")
    assert [str(point.folder) for point in points] == [
        "here/epsilon-1_ema-decay-null",
        "here/epsilon-1_ema-decay-0.9",
        "here/epsilon-inf_ema-decay-null",
        "here/epsilon-inf_ema-decay-0.9",
    ]
    assert grid("quickstart", {"seed": [1]})[0].folder == Path("sweeps/quickstart/seed-1")


@pytest.mark.parametrize(
    "value", [1, 0.5, 1e-05, float("inf"), None, True, "a, b: c", [1, "x"], {"name": "vip", "size": "micro"}, "é'\""]
)
def test_a_value_goes_through_the_override_unchanged(value: object) -> None:
    key, values = parse_axis(f"any.key={sweeps._flow(value)}")
    assert (key, values) == ("any.key", (value,))


def test_whole_sections_and_plain_names_are_values_of_a_recipe() -> None:
    axis = dict([parse_axis("trainer={name: vip, size: micro},dp-cap")])
    points = grid("quickstart", axis)
    assert [point.name for point in points] == ["trainer-vip-micro", "trainer-dp-cap"]
    assert [load_recipe("quickstart", point.settings).recipe.trainer.name for point in points] == ["vip", "dp-cap"]


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({}, "--over = '': expected at least one KEY=VALUE"),
        ({"privacy.epsilonn": [1]}, "privacy.epsilonn"),
        ({"privacy.epsilon": [1, -1]}, "privacy.epsilon = -1"),
        ({"privacy.epsilon": []}, "expected at least one value"),
        ({"privacy.epsilon": [1, 1]}, "expected values that differ"),
    ],
)
def test_what_no_recipe_may_hold_is_refused(over: dict[str, list[object]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        grid("quickstart", over)


@pytest.mark.parametrize("text", ["privacy.epsilon", "=1", "privacy.epsilon=1,,2", "privacy.epsilon="])
def test_an_axis_is_a_key_and_values(text: str) -> None:
    with pytest.raises(InputError, match="--over"):
        parse_axis(text)


def test_a_value_that_a_plug_in_refuses_stops_the_sweep_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"trainer\.size = 'mikro'"):
        dpaudit.sweep("quickstart", {"trainer.size": ["micro", "mikro"]}, out=tmp_path / "s", overrides=SMALL)
    assert not (tmp_path / "s").exists()


def test_what_a_point_raises_is_a_line_and_not_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object, **__: object) -> None:
        raise RuntimeError("a stranger's\n plug-in")

    monkeypatch.setattr(sweeps, "advance", breaks)
    found = sweeps._work("quickstart", Silent(), None, Point(name="a", folder=tmp_path / "a", settings=()))
    assert (found.status, found.reason) == ("failed", "RuntimeError: a stranger's plug-in")
    assert found.log == tmp_path / "a.log"
    text = found.log.read_text()
    assert text.startswith("Traceback")
    assert "in breaks" in text
    assert found.log.stat().st_mode & 0o077 == 0
    assert not (tmp_path / "a").exists()  # the same command must find an empty place, or one that is ours


def test_what_was_foreseen_needs_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise DpauditError("no such thing")

    monkeypatch.setattr(sweeps, "advance", refuses)
    found = sweeps._work("quickstart", Silent(), None, Point(name="a", folder=tmp_path / "a", settings=()))
    assert (found.reason, found.log) == ("no such thing", None)
    assert list(tmp_path.iterdir()) == []


def test_points_that_are_done_are_compared_in_the_order_of_the_grid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*arguments: object) -> Outcome:
        point = arguments[-1]
        assert isinstance(point, Point)
        return outcome(point.name, "" if point.name == "seed-1" else "CONSISTENT", point)

    compared: list[object] = []
    monkeypatch.setattr(sweeps, "_work", work)
    monkeypatch.setattr(sweeps, "_check", lambda *_: None)
    monkeypatch.setattr("dpaudit.calls.verbs.compare", lambda folders, out: compared.extend([*folders, out]))
    found = dpaudit.sweep("quickstart", {"seed": [2, 1, 0]}, out=tmp_path)
    assert [each.status for each in found.outcomes] == ["done", "failed", "done"]
    assert compared == [tmp_path / "seed-2", tmp_path / "seed-0", tmp_path]
    assert found.page == tmp_path / "compare.html"


@pytest.mark.slow
def test_a_sweep_goes_on_tells_failures_and_compares(
    tmp_path: Path, tiny: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def breaks_once(audit: Audit, *arguments: object, **options: object) -> None:
        calls.append(audit.path.name)
        if len(calls) == 1:
            raise RuntimeError("a stranger's plug-in")
        advance(audit, *arguments, **options)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(sweeps, "advance", breaks_once)
    over, out = {"privacy.epsilon": [2, 8]}, tmp_path / "s"
    first = dpaudit.sweep("quickstart", over, out=out, overrides=(*tiny, *SMALL))
    assert [each.status for each in first.outcomes] == ["failed", "done"]
    assert first.page == out / "compare.html"
    weights = out / "epsilon-8" / "target-00" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    again = dpaudit.sweep("quickstart", over, out=out, overrides=(*tiny, *SMALL))
    assert [each.status for each in again.outcomes] == ["done", "done"]
    assert weights.stat().st_mtime_ns == before
    assert calls == ["epsilon-2", "epsilon-8"] * 2
    results = [json.loads((folder / "results.json").read_text()) for folder in again.done]
    assert [result["recipe"]["privacy"]["epsilon"] for result in results] == [2.0, 8.0]
    assert "epsilon-2" in (out / "compare.html").read_text()


class Killed:
    """An executor whose process is killed at the second point."""

    name, jobs = "local", 2

    def each(self, work: Callable[[Point], Outcome], points: list[Point]) -> object:
        yield Outcome(point=points[0], status="failed", reason=f"{work is not None}")
        raise BrokenProcessPool


def test_a_killed_process_is_told_and_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "_check", lambda *_: None)
    found = dpaudit.sweep("quickstart", {"seed": [0, 1]}, out=tmp_path, executor=Killed())  # type: ignore[arg-type]  # acts as one
    assert found.page is None
    assert "killed" in found.outcomes[1].reason


def outcome(name: str, verdict: str = "", point: Point | None = None) -> Outcome:
    point = point or Point(name=name, folder=Path(name), settings=())
    return Outcome(point=point, status="done" if verdict else "failed", verdict=verdict)


def test_the_exit_code_puts_a_promise_that_fell_before_a_point_that_failed() -> None:
    _judge([outcome("a", "CONSISTENT"), outcome("b", "INCONCLUSIVE")])
    with pytest.raises(FalsifiedError, match=r"at b$"):
        _judge([outcome("a"), outcome("b", "VIOLATED")])
    with pytest.raises(FalsifiedError, match=r"at b$"):
        _judge([outcome("b", "UNSOUND")])
    with pytest.raises(DpauditError, match="1 of 2 points failed") as caught:
        _judge([outcome("a"), outcome("b", "CONSISTENT")])
    assert caught.value.exit_code == 1


@pytest.mark.slow
def test_points_are_worked_on_in_processes(tmp_path: Path, tiny: tuple[str, ...]) -> None:
    over = {"privacy.epsilon": [2, 8]}
    found = dpaudit.sweep("quickstart", over, out=tmp_path, overrides=(*tiny, *SMALL), executor=Executor(jobs=2))
    assert [each.status for each in found.outcomes] == ["done", "done"]
