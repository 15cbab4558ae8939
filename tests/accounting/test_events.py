"""Events: what each mechanism becomes, and that JSON gives back what it was given or refuses by name."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import dp_accounting as dp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpaudit.accounting.events import from_json, mechanism_event, to_json
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpaudit.mechanism import Mechanism

GAUSSIAN = dp.GaussianDpEvent(2.0)


def _events() -> st.SearchStrategy[Any]:
    gaussian = st.builds(dp.GaussianDpEvent, st.floats(0, 1e6))
    leaves = st.one_of(gaussian, st.builds(dp.NoOpDpEvent), st.builds(dp.NonPrivateDpEvent))
    rates, counts = st.floats(0, 1), st.integers(1, 10**6)
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds(dp.PoissonSampledDpEvent, rates, inner),
            st.builds(dp.SampledWithoutReplacementDpEvent, counts, counts, inner),
            st.builds(dp.SelfComposedDpEvent, inner, counts),
            st.builds(dp.ComposedDpEvent, st.lists(inner, max_size=3)),
        ),
        max_leaves=5,
    )


@settings(max_examples=50, deadline=None)
@given(_events())
def test_json_gives_back_the_event(event: Any) -> None:
    assert from_json(json.loads(json.dumps(to_json(event)))) == event


@pytest.mark.parametrize(
    ("changed", "event"),
    [
        ({}, dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(0.2, GAUSSIAN), 100)),
        ({"adjacency": "replace-one"}, dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(0.2, GAUSSIAN), 100)),
        ({"sampling": "full", "rate": 1.0}, dp.SelfComposedDpEvent(GAUSSIAN, 100)),
        ({"sampling": "fixed"}, dp.SelfComposedDpEvent(dp.SampledWithoutReplacementDpEvent(1000, 200, GAUSSIAN), 100)),
        ({"sampling": "shuffle", "adjacency": "zero-out"}, dp.SelfComposedDpEvent(GAUSSIAN, 20)),
        ({"sampling": "shuffle", "adjacency": "zero-out", "steps": 101}, dp.SelfComposedDpEvent(GAUSSIAN, 21)),
        ({"sampling": "shuffle", "adjacency": "zero-out", "rate": 0.3}, dp.SelfComposedDpEvent(GAUSSIAN, 34)),
        ({"sampling": "shuffle"}, dp.UnsupportedDpEvent()),
        ({"noise": 0.0}, dp.NonPrivateDpEvent()),
        ({"clip_norm": math.inf}, dp.NonPrivateDpEvent()),
        ({"clip_norm": math.inf, "noise": math.inf}, dp.NonPrivateDpEvent()),
        ({"noise": math.inf}, dp.NoOpDpEvent()),
        ({"steps": 0, "noise": 0.0}, dp.NoOpDpEvent()),
    ],
)
def test_event_of_a_mechanism(make_mechanism: Callable[..., Mechanism], changed: dict[str, Any], event: Any) -> None:
    assert mechanism_event(make_mechanism(**changed)) == event


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kind": "Laplace", "noise_multiplier": 1.0}, "event.kind = 'Laplace'"),
        ({"kind": ["Gaussian"]}, "event.kind"),
        ({"kind": "SelfComposed", "count": 2, "event": {"kind": "Zebra"}}, "event.event.kind = 'Zebra'"),
        ({"kind": "Composed", "events": [{"kind": "NoOp"}, 3]}, r"event.events\[1\] = 3"),
        ({"kind": "Gaussian"}, "exactly the fields kind, noise_multiplier"),
        ({"kind": "Gaussian", "noise_multiplier": -1.0}, "event.noise_multiplier = -1.0"),
        ({"kind": "Gaussian", "noise_multiplier": math.inf}, "finite"),
        ({"kind": "Gaussian", "noise_multiplier": True}, "event.noise_multiplier = True"),
        ({"kind": "PoissonSampled", "sampling_probability": 1.5, "event": {"kind": "NoOp"}}, "between 0 and 1"),
        ({"kind": "SelfComposed", "count": 0, "event": {"kind": "NoOp"}}, "event.count = 0"),
        ({"kind": "SelfComposed", "count": 2.0, "event": {"kind": "NoOp"}}, "event.count = 2.0"),
        ({"kind": "NoOp", "extra": 1}, "exactly the fields"),
    ],
)
def test_json_is_refused_by_name(data: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_json(data)


def test_unknown_event_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="LaplaceDpEvent"):
        to_json(dp.SelfComposedDpEvent(dp.LaplaceDpEvent(1.0), 3))
