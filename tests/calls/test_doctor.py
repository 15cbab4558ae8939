"""The doctor's self-tests: each is fine here, and each fails on what it is there to find."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from dpaudit.accounting.accountant import guarantees
from dpaudit.bounds.guesses import Guesses, guess
from dpaudit.bounds.max_p import max_p_bound
from dpaudit.calls import doctor
from dpaudit.data.scenes.source import Scenes
from dpaudit.dp.engines import engine
from dpaudit.dp.noise import gaussian_like
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples
    from dpaudit.plugins import Dataset
    from dpaudit.scores import LabelledScores


class Crowded(Scenes):
    """Records whose pixels depend on how many are read."""

    def __getitem__(self, ids: NDArray[np.str_]) -> Examples:
        """Return records, brighter in company."""
        records = super().__getitem__(ids)
        return replace(records, images=np.minimum(records.images, 254) + np.uint8(len(records) > 1))


class Twice(Scenes):
    """Records of which two have one id."""

    def ids(self) -> NDArray[np.str_]:
        """Return the ids, the last one that of the first."""
        found = super().ids().copy()
        found[-1] = found[0]
        return found


def opened(monkeypatch: pytest.MonkeyPatch, data: Dataset) -> doctor.Finding:
    monkeypatch.setattr(doctor, "open_dataset", lambda *_: data)
    return doctor._data("dp-cap-micro")


def test_data_are_read_and_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found = opened(monkeypatch, Scenes(size=50, image_size=16))
    assert found.fine
    assert "8 of 50 records" in found.finding


@pytest.mark.parametrize(
    ("data", "word"),
    [(Crowded(size=50, image_size=16), "depend on what else"), (Twice(size=50, image_size=16), "not unique")],
)
def test_data_that_break_their_contract_are_found(data: Dataset, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = opened(monkeypatch, data)
    assert not found.fine
    assert word in found.finding


def test_data_that_are_not_there_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> Dataset:
        raise InputError("data path", "train.parquet", "a file or folder that exists")

    monkeypatch.setattr(doctor, "open_dataset", missing)
    found = doctor._data("dp-cap-micro")
    assert not found.fine
    assert "train.parquet" in found.finding


def test_noise_that_is_too_small_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._noise().fine
    monkeypatch.setattr(doctor, "gaussian_like", lambda like, std, rng: gaussian_like(like, 0.99 * std, rng))
    assert not doctor._noise().fine


def test_an_engine_that_clips_to_another_norm_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._clipping().fine

    def looser(name: str) -> Any:
        made = engine(name)
        return made if name == "loop" else lambda model, losses, batch, clip: made(model, losses, batch, clip * 1.001)

    monkeypatch.setattr(doctor, "engine", looser)
    assert not doctor._clipping().fine


def test_a_bound_that_claims_on_noise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._null().fine

    def lucky(labelled: LabelledScores, *, guesses_in: int, guesses_out: int) -> Guesses:
        found = guess(labelled, guesses_in=guesses_in, guesses_out=guesses_out)
        return replace(found, correct=min(found.guesses, found.correct + 4))

    monkeypatch.setattr(doctor, "guess", lucky)
    assert not doctor._null().fine


def test_a_bound_or_an_accountant_that_is_off_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._bounds().fine
    assert doctor._accountants().fine
    run = Guesses(canaries=1000, guesses=150, correct=148)  # one more than were right
    monkeypatch.setattr(
        doctor, "max_p_bound", lambda planned, _, strategy: max_p_bound(planned, [run], strategy=strategy)
    )
    monkeypatch.setattr(doctor, "guarantees", lambda mechanism, delta: guarantees(mechanism, delta * 2))
    assert not doctor._bounds().fine
    assert not doctor._accountants().fine
