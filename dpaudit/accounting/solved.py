"""A mechanism from its numbers, one of which may be left open: it is what a target epsilon allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpaudit.accounting.calibrate import calibrate_batch_size, calibrate_noise, calibrate_steps
from dpaudit.errors import InputError
from dpaudit.mechanism import Adjacency, Mechanism, Sampling
from dpaudit.results import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Numbers", "solved_mechanism"]

_FIRST_GUESS = {"noise_multiplier": 1.0, "batch_size": 1, "steps": 1000}
_SOLVERS: dict[str, Callable[[float, float, Mechanism], float]] = {
    "noise_multiplier": calibrate_noise,
    "batch_size": calibrate_batch_size,
    "steps": calibrate_steps,
}


class Numbers(Value):
    """What `dpaudit account` is told. None: to be found from a target epsilon."""

    noise_multiplier: float | None = None
    batch_size: int | None = None
    steps: int | None = None
    dataset_size: int
    sampling: Sampling = "poisson"
    adjacency: Adjacency = "add-remove"

    @property
    def open(self) -> tuple[str, ...]:
        """Return the names of the numbers that are left open."""
        return tuple(name for name in _FIRST_GUESS if getattr(self, name) is None)


def solved_mechanism(numbers: Numbers, epsilon: float | None, delta: float) -> Mechanism:
    """Return the mechanism: with a target epsilon, the least noise, most steps or largest batch that keeps it.

    >>> numbers = Numbers(batch_size=100, dataset_size=100, steps=16, sampling="full")
    >>> round(solved_mechanism(numbers, epsilon=4.38, delta=1e-5).noise_multiplier, 2)
    4.0

    Raises:
        InputError: Names the number that is wrong, or that is missing or too much beside epsilon.
    """
    for field, value, right, expected in _requirements(numbers, epsilon, delta):
        if not right:
            raise InputError(field, value, expected)
    template = _template(numbers)
    if epsilon is None:
        return template
    name = numbers.open[0]
    value = _SOLVERS[name](epsilon, delta, template)
    rate = {"sampling_rate": value / numbers.dataset_size} if name == "batch_size" else {}
    return template.model_copy(update={name: value, **rate})


def _template(numbers: Numbers) -> Mechanism:
    given = {name: getattr(numbers, name) for name in _FIRST_GUESS if name not in numbers.open}
    found = {**_FIRST_GUESS, **given}
    return Mechanism.model_validate(
        {
            **found,
            "sampling": numbers.sampling,
            "adjacency": numbers.adjacency,
            "sampling_rate": found["batch_size"] / numbers.dataset_size,
            "clip_norm": 1.0,
            "dataset_size": numbers.dataset_size,
        }
    )


def _requirements(numbers: Numbers, epsilon: float | None, delta: float) -> Iterator[tuple[str, object, bool, str]]:
    """Yield (field, value, whether it is right, what is expected)."""
    noise, batch, steps, size = numbers.noise_multiplier, numbers.batch_size, numbers.steps, numbers.dataset_size
    yield "delta", delta, 0 < delta < 1, "a number between 0 and 1, both excluded"
    yield "noise_multiplier", noise, noise is None or noise >= 0, "a number of at least 0"
    yield "dataset_size", size, size >= 1, "at least 1"
    yield "batch_size", batch, batch is None or 1 <= batch <= size, f"1 to the dataset size ({size})"
    full = numbers.sampling != "full" or batch == size
    yield "batch_size", batch, full, f"{size}, all records, with sampling full"
    yield "steps", steps, steps is None or steps >= 0, "at least 0"
    missing = numbers.open
    if epsilon is None:
        yield next(iter(missing), ""), None, not missing, "a number, or a target epsilon to find it from"
        return
    yield "epsilon", epsilon, epsilon > 0, "a number above 0"
    yield "epsilon", epsilon, bool(missing), "none: noise multiplier, batch size and steps are all given"
    expected = "one number left open beside a target epsilon, not several"
    yield " and ".join(missing), None, len(missing) == 1, expected
