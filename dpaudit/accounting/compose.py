"""Events of more than one mechanism: ledgers whose rate or noise changes, stages on the same data, tuning runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dpaudit.accounting.events import mechanism_event
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dp_accounting import DpEvent

    from dpaudit.mechanism import Mechanism

__all__ = ["ledger_event", "stages_event", "with_tuning_runs"]


def ledger_event(steps: Iterable[tuple[float, float]], mechanism: Mechanism) -> DpEvent:
    """Return the event of a ledger: per step (sampling rate, noise multiplier), the rest as in the mechanism.

    Poisson, fixed and full batches: equal steps are counted together, order does not matter. Shuffled batches: a
    record may sit in the step of its epoch that has the least noise, so that noise counts for the whole epoch.

    >>> from dpaudit.mechanism import Mechanism
    >>> mechanism = Mechanism(sampling="poisson", adjacency="add-remove", noise_multiplier=1.0, sampling_rate=0.1,
    ...                       steps=3, clip_norm=1.0, batch_size=10, dataset_size=100)
    >>> [item.count for item in ledger_event([(0.1, 1.0), (0.1, 2.0), (0.1, 1.0)], mechanism).events]
    [2, 1]
    """
    import dp_accounting as dp  # noqa: PLC0415  # takes 1.3 s

    executed = [_checked(step) for step in steps]
    if mechanism.sampling == "shuffle":
        executed = _epochs(executed, mechanism)
    counts: dict[tuple[float, float], int] = {}
    for step in executed:
        counts[step] = counts.get(step, 0) + 1
    return dp.ComposedDpEvent(
        [
            mechanism_event(
                mechanism.model_copy(update={"sampling_rate": rate, "noise_multiplier": noise, "steps": count})
            )
            for (rate, noise), count in counts.items()
        ]
    )


def _checked(step: tuple[float, float]) -> tuple[float, float]:
    rate, noise = step
    if not 0 < rate <= 1:
        raise InputError("sampling_rate", rate, "a number above 0, at most 1")
    if not noise >= 0:
        raise InputError("noise_multiplier", noise, "a number, 0 or more")
    return step


def _epochs(steps: list[tuple[float, float]], mechanism: Mechanism) -> list[tuple[float, float]]:
    """Return one entry per started epoch, as a full step with the least noise of that epoch."""
    rates = {rate for rate, _ in steps}
    if len(rates) > 1:
        raise InputError("sampling_rate", sorted(rates), "one rate in all steps of a shuffled run")
    length = max(1, math.floor(1 / mechanism.sampling_rate + 1e-9))
    starts = range(0, len(steps), length)
    return [(1.0, min(noise for _, noise in steps[start : start + length])) for start in starts]


def stages_event(stages: Sequence[Mechanism]) -> DpEvent:
    """Return the event of several trainings on the same records, each of which may start from the one before.

    Stages on data sets that share no record need no composition: the largest of their epsilons holds for each record.

    Raises:
        InputError: The stages do not share one adjacency.
    """
    import dp_accounting as dp  # noqa: PLC0415  # takes 1.3 s

    adjacencies = sorted({stage.adjacency for stage in stages})
    if len(adjacencies) > 1:
        raise InputError("adjacency", adjacencies, "the same in all stages")
    return dp.ComposedDpEvent([mechanism_event(stage) for stage in stages])


def with_tuning_runs(event: DpEvent, tuning_runs: int) -> DpEvent:
    """Return the event of the final training and of this many runs like it that chose its settings.

    Plain composition: it holds however the runs were compared. It charges each tuning run in full.
    """
    import dp_accounting as dp  # noqa: PLC0415  # takes 1.3 s

    if tuning_runs < 0:
        raise InputError("tuning_runs", tuning_runs, "a whole number, 0 or more")
    return dp.SelfComposedDpEvent(event, tuning_runs + 1)
