"""`dpaudit bench engine` elsewhere than on a CPU, as far as that can be seen without a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from dpaudit.bench import engine as bench
from dpaudit.bench.engine import bench_engine
from dpaudit.bench.engine_cases import ON_GPU
from dpaudit.bench.engine_child import by_name, times
from dpaudit.bench.engine_place import LARGEST, finished, largest_batch, peak_on_gpu, placed
from dpaudit.bench.engine_steps import OURS, VARIANTS
from dpaudit.cli.engine_table import gpu_rows
from dpaudit.dp.precision import InBfloat16

if TYPE_CHECKING:
    from dpaudit.bench.engine_cases import Problem

CPU = torch.device("cpu")


@pytest.mark.parametrize(("room", "found"), [(0, 0), (1, 1), (2, 2), (5, 4), (6, 6), (49, 48), (1 << 20, LARGEST)])
def test_the_largest_batch_is_found_to_the_next_half(room: int, found: int) -> None:
    def run(problem: Problem) -> None:
        records = len(problem[2]["images"])
        if records > room:
            raise torch.OutOfMemoryError

    case = by_name("mae-micro")
    light = type(case)(name="light", title="", records=1, draw=lambda n: (torch.nn.Identity(), _none, _images(n)))
    assert largest_batch(light, run) == found


def _none(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    raise AssertionError(model, batch)


def _images(count: int) -> dict[str, torch.Tensor]:
    return {"images": torch.zeros(count, 1)}


def test_a_problem_is_measured_in_bfloat16() -> None:
    problem = placed(by_name("mae-micro").build(), CPU, "bf16")
    assert isinstance(problem[1], InBfloat16)
    found = times(problem, "bookkeeping", 1, 50, lambda _: None)
    assert found["parity"][OURS] < 0.02
    assert found["parity"][OURS] > 1e-6  # of float32 it would be less
    finished(CPU)
    assert peak_on_gpu(dict, CPU) is None


def test_the_table_of_a_gpu_has_images_per_second_and_the_largest_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[dict[str, Any]] = []

    def child(request: dict[str, Any], _settings: object, _task: object) -> Any:
        requests.append(request)
        if "variant" in request:
            return {"memory": 3 << 30, "largest batch": 384}[request["what"]]
        seconds = {variant: [0.5] for variant in VARIANTS}
        answer = {"wall": seconds, "processor": seconds, "parity": {}, "refuses": {}, "threads": 1}
        return answer | {"noise": 0.1, "block": 0.1, "parameters": 1}

    monkeypatch.setattr(bench, "_child", child)
    monkeypatch.setattr(bench, "device_of", lambda _: torch.device("cuda", 0))
    monkeypatch.setattr(bench, "in_words", lambda _: "cuda:0 (a GPU)")
    measured = bench_engine(device="cuda", precision="bf16")
    assert [row.name for row in measured.rows] == [case.name for case in ON_GPU]
    assert {(request["device"], request["precision"]) for request in requests} == {("cuda:0", "bf16")}
    assert measured.on_gpu
    assert gpu_rows(measured)[1] == ["MAE ViT-Base/16 224 px", "ordinary", "64", "128", "384", "3.00 GiB"]
