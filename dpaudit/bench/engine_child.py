"""What one process measures for `dpaudit bench engine`: the times of a row's steps, or the peak memory of one step.

`python -m dpaudit.bench.engine_child REQUEST`; answers are lines of JSON on standard output, the last one the result.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dpaudit.bench.engine_cases import CASES, ON_GPU, QUICK
from dpaudit.bench.engine_place import finished, largest_batch, peak_on_gpu, placed
from dpaudit.bench.engine_steps import CLIP, ORDINARY, VARIANTS, largest_error, step_of
from dpaudit.bench.opacus_steps import Refusal
from dpaudit.dp.audit_block import BLOCK, GradientCanaries, block_placement
from dpaudit.dp.loop import loop_sum
from dpaudit.dp.noise import add_noise
from dpaudit.dp.tensors import Gradients, home, trainable
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpaudit.bench.engine_cases import Case, Problem, Step

    Tell = Callable[[int], None]

__all__ = ["by_name", "main", "peak_bytes", "times"]

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


def by_name(name: str) -> Case:
    """Return the row of this name."""
    return next(case for case in (*CASES, *QUICK, *ON_GPU) if case.name == name)


def times(problem: Problem, engine_name: str, rounds: int, canaries: int, tell: Tell) -> dict[str, Any]:
    """Return wall and processor seconds of every round of every variant, the parity errors and what else a step costs.

    The variants take turns, forwards in one round and backwards in the next. tell: called with the rounds done.
    """
    steps, answers = _checked_steps(problem, engine_name)
    device = home(problem[0])
    wall: dict[str, list[float]] = {variant: [] for variant in steps}
    processor: dict[str, list[float]] = {variant: [] for variant in steps}
    for index in range(rounds):
        order = list(steps) if index % 2 == 0 else list(reversed(steps))
        for variant in order:
            seconds = _timed(steps[variant], device)
            wall[variant].append(seconds[0])
            processor[variant].append(seconds[1])
        tell(index + 1)
    model = problem[0]
    return {
        "wall": wall,
        "processor": processor,
        **answers,
        "noise": _median(lambda: _add_noise(model), rounds, device),
        "block": _median(_audit_block(canaries, device), rounds, device),
        "parameters": sum(parameter.numel() for parameter in trainable(model).values()),
        "threads": torch.get_num_threads(),
    }


def peak_bytes(problem: Problem, engine_name: str, variant: str) -> int | None:
    """Return the most resident memory of one variant's step above that of model and batch; None where not measurable.

    On a CPU Linux only: the peak is reset and read through /proc. Raises opacus_steps.Refusal.
    """
    device = home(problem[0])
    if device.type != "cpu":
        return peak_on_gpu(step_of(variant, engine_name, problem), device)
    if not _RESET.exists():
        return None
    _warm_up(problem, engine_name, variant)
    step = step_of(variant, engine_name, problem)
    gc.collect()
    before = _status("VmRSS")
    step()  # the first may check itself
    _RESET.write_text("5", encoding="ascii")
    step()
    return _status("VmHWM") - before


def _checked_steps(problem: Problem, engine_name: str) -> tuple[dict[str, Step], dict[str, Any]]:
    """Return the steps that work, each having run once, and how far each is from one record at a time."""
    model, losses, batch = problem
    expected = loop_sum(model, losses, batch, CLIP).gradients
    steps: dict[str, Step] = {}
    parity: dict[str, float] = {}
    refuses: dict[str, str] = {}
    for variant in VARIANTS:
        try:
            step = step_of(variant, engine_name, problem)
            found = step()
        except Refusal as refusal:
            refuses[variant] = str(refusal)
            continue
        steps[variant] = step
        if variant != ORDINARY:
            parity[variant] = largest_error(found, expected)
    return steps, {"parity": parity, "refuses": refuses}


def _timed(step: Callable[[], object], device: torch.device) -> tuple[float, float]:
    gc.collect()
    finished(device)
    wall, processor = time.perf_counter(), time.process_time()
    step()
    finished(device)
    return time.perf_counter() - wall, time.process_time() - processor


def _median(step: Callable[[], object], rounds: int, device: torch.device) -> float:
    step()
    return statistics.median(_timed(step, device)[0] for _ in range(rounds))


def _add_noise(model: torch.nn.Module) -> None:
    for name, parameter in trainable(model).items():
        add_noise(parameter.detach(), 1.0, Rng.from_seed(0).child(name))


def _audit_block(size: int, device: torch.device) -> Callable[[], object]:
    """Return what a block of `size` canaries adds to a step: drawing, inserting, noise, reading."""
    placement = block_placement(size)
    canaries = GradientCanaries(placement, Rng.from_seed(1).numpy().random(size) < 0.5)

    def run() -> object:
        sums: Gradients = {"model": torch.zeros(1, device=device)}
        drawn = Rng.from_seed(2).numpy().random(size) < 0.5
        canaries.contribute(sums, drawn, CLIP)
        noisy, _ = add_noise(sums[BLOCK], 1.0, Rng.from_seed(3))
        return placement.read({BLOCK: noisy})

    return run


def _warm_up(problem: Problem, engine_name: str, variant: str) -> None:
    """Run one record, so that libraries are loaded and threads are there before the memory is read."""
    model, losses, batch = problem
    step_of(variant, engine_name, (model, losses, {name: tensor[:1] for name, tensor in batch.items()}))()


def _status(field: str) -> int:
    line = next(line for line in _STATUS.read_text(encoding="ascii").splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def main(arguments: list[str]) -> None:
    """Answer one request; see the module's first lines."""
    request = json.loads(arguments[0])
    case = by_name(request["case"])

    def there(problem: Problem) -> Problem:
        return placed(problem, torch.device(request["device"]), request["precision"])

    problem = there(case.build())
    if "variant" in request:
        engine_name, variant = request["engine"], request["variant"]
        try:
            if request["what"] == "memory":
                answer: object = peak_bytes(problem, engine_name, variant)
            else:
                del problem
                answer = largest_batch(case, lambda each: step_of(variant, engine_name, there(each))())
        except Refusal:
            answer = None
    else:
        answer = times(
            problem, request["engine"], request["rounds"], request["canaries"], lambda done: _say({"done": done})
        )
    _say({"result": answer})


def _say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
