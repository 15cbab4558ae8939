"""What training does to the data, as a `dp_accounting.DpEvent`, and that event as JSON.

`noise_multiplier` is noise std / add-remove sensitivity everywhere; the accountants double it for replace-one, once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dp_accounting import DpEvent

    from dpaudit.mechanism import Mechanism

__all__ = ["EVENT_KINDS", "from_json", "mechanism_event", "to_json"]


def mechanism_event(mechanism: Mechanism) -> DpEvent:
    """Return what an accountant composes for this mechanism.

    Poisson sampling and sampling without replacement are events of their own. A shuffled record is in one step per
    epoch, so its event is one Gaussian per started epoch, without amplification; that holds while the other records
    keep their places (zero-out, replace-one). Adding a record moves all others: `UnsupportedDpEvent`.

    >>> from dpaudit.mechanism import Mechanism
    >>> mechanism = Mechanism(sampling="poisson", adjacency="add-remove", noise_multiplier=1.0, sampling_rate=0.01,
    ...                       steps=10, clip_norm=1.0, batch_size=100, dataset_size=10_000)
    >>> mechanism_event(mechanism).count
    10
    """
    import dp_accounting as dp  # noqa: PLC0415  # takes 1.3 s

    if mechanism.steps == 0 or (math.isinf(mechanism.noise_multiplier) and mechanism.is_private):
        return dp.NoOpDpEvent()
    if not mechanism.is_private:
        return dp.NonPrivateDpEvent()
    if mechanism.sampling == "shuffle":
        if mechanism.adjacency == "add-remove":
            return dp.UnsupportedDpEvent()
        return dp.SelfComposedDpEvent(dp.GaussianDpEvent(mechanism.noise_multiplier), _started_epochs(mechanism))
    return dp.SelfComposedDpEvent(_step_event(mechanism), mechanism.steps)


def _step_event(mechanism: Mechanism) -> DpEvent:
    import dp_accounting as dp  # noqa: PLC0415  # takes 1.3 s

    release = dp.GaussianDpEvent(mechanism.noise_multiplier)
    if mechanism.sampling == "poisson":
        return dp.PoissonSampledDpEvent(mechanism.sampling_rate, release)
    if mechanism.sampling == "fixed":
        size = min(mechanism.dataset_size, math.ceil(mechanism.sampling_rate * mechanism.dataset_size - 1e-6))
        return dp.SampledWithoutReplacementDpEvent(mechanism.dataset_size, size, release)
    return release


def _started_epochs(mechanism: Mechanism) -> int:
    """Return the largest number of steps that one record can be in: an epoch has at least floor(1 / rate) steps."""
    steps_per_epoch = max(1, math.floor(1 / mechanism.sampling_rate + 1e-9))
    return math.ceil(mechanism.steps / steps_per_epoch)


def to_json(event: DpEvent) -> dict[str, Any]:
    """Return the event as JSON values: its kind and its fields.

    >>> import dp_accounting as dp
    >>> to_json(dp.PoissonSampledDpEvent(0.5, dp.GaussianDpEvent(1.0)))["event"]
    {'kind': 'Gaussian', 'noise_multiplier': 1.0}

    Raises:
        InputError: The event, or one inside it, is of a kind that no accountant here knows.
    """
    kind = type(event).__name__.removesuffix("DpEvent")
    if kind not in EVENT_KINDS:
        raise InputError("event", type(event).__name__, f"one of {_known()}")
    return {"kind": kind, **{name: _value_to_json(getattr(event, name)) for name in EVENT_KINDS[kind]}}


def _value_to_json(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return value if isinstance(value, int | float) else to_json(value)


def from_json(data: Mapping[str, Any]) -> DpEvent:
    """Return the event of `to_json`. The whole tree is checked before any of it is built.

    >>> from_json({"kind": "Gaussian", "noise_multiplier": 1.0})
    GaussianDpEvent(noise_multiplier=1.0)

    Raises:
        InputError: Names the place, the value and what was expected there.
    """
    _check_event(data, "event")
    return _build(data)


def _build(data: Mapping[str, Any]) -> DpEvent:
    import dp_accounting as dp  # noqa: PLC0415  # takes 1.3 s

    fields = {name: _build_value(data[name]) for name in EVENT_KINDS[data["kind"]]}
    return getattr(dp, f"{data['kind']}DpEvent")(**fields)


def _build_value(value: Any) -> Any:
    if isinstance(value, list):
        return [_build(item) for item in value]
    return _build(value) if isinstance(value, Mapping) else value


def _check_event(data: Any, where: str) -> None:
    if not isinstance(data, Mapping):
        raise InputError(where, data, "an object with a `kind`")
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in EVENT_KINDS:
        raise InputError(f"{where}.kind", kind, f"one of {_known()}")
    checks = EVENT_KINDS[kind]
    if set(data) != {"kind", *checks}:
        raise InputError(where, sorted(data), f"exactly the fields kind, {', '.join(checks)}")
    for name, check in checks.items():
        check(data[name], f"{where}.{name}")


def _check_events(data: Any, where: str) -> None:
    if not isinstance(data, list):
        raise InputError(where, data, "a list of events")
    for index, item in enumerate(data):
        _check_event(item, f"{where}[{index}]")


def _check_noise(data: Any, where: str) -> None:
    if not _is_number(data) or not 0 <= data < math.inf:
        raise InputError(where, data, "a finite number, 0 or more")


def _check_rate(data: Any, where: str) -> None:
    if not _is_number(data) or not 0 <= data <= 1:
        raise InputError(where, data, "a number between 0 and 1")


def _check_count(data: Any, where: str) -> None:
    if isinstance(data, bool) or not isinstance(data, int) or data < 1:
        raise InputError(where, data, "a whole number, 1 or more")


def _is_number(data: Any) -> bool:
    return isinstance(data, int | float) and not isinstance(data, bool)


def _known() -> str:
    return ", ".join(EVENT_KINDS)


EVENT_KINDS: dict[str, dict[str, Callable[[Any, str], None]]] = {
    "NoOp": {},
    "NonPrivate": {},
    "Unsupported": {},
    "Gaussian": {"noise_multiplier": _check_noise},
    "PoissonSampled": {"sampling_probability": _check_rate, "event": _check_event},
    "SampledWithoutReplacement": {
        "source_dataset_size": _check_count,
        "sample_size": _check_count,
        "event": _check_event,
    },
    "SelfComposed": {"event": _check_event, "count": _check_count},
    "Composed": {"events": _check_events},
}
"""The kinds of events that training makes, each with its fields and what checks them."""
