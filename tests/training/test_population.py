"""Who could be in a run, and where each record lies in storage."""

from __future__ import annotations

import numpy as np
import pytest

from dpaudit.pipeline.order import open_audit


@pytest.mark.parametrize("settings", [(), ("data.limit=null",), ("canaries.inputs.noise=0",)])
def test_places_are_those_of_the_data_set_and_of_replaced_records(
    tiny: tuple[str, ...], settings: tuple[str, ...]
) -> None:
    population = open_audit("quickstart", overrides=[*tiny, *settings]).population
    places, universe = population.places(), population.universe
    assert sorted(places) == list(range(len(universe)))
    assert len(population.replaced) == len(population.inputs)
    stands_for = np.concatenate([universe[: len(universe) - len(population.inputs)], population.replaced])
    row_of = {name: row for row, name in enumerate(population.data.ids().tolist())}
    rows = [row_of[name] for name in stands_for[np.argsort(places)].tolist()]
    assert rows == sorted(rows)
    assert rows != list(range(len(rows))), "held-out records are passed over"
