"""Every attack of this package conforms, and each thing that an attack can do wrong is named."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dpaudit.conformance import check, check_attack
from dpaudit.conformance.overfit import Overfit
from dpaudit.discovery import available, configure
from dpaudit.errors import InputError
from dpaudit.plugins import SIGNALS, Needs, Reconstructs
from dpaudit.recipes.recipe import PlugInEntry

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.plugins import AttackView

OWN = [plug_in.name for plug_in in available("attacks") if plug_in.origin.startswith("dpaudit ")]
#: of which it is known that they find little in the suite's toy, which is small and was fitted without augmentation
ELSEWHERE = {"deja_vu", "deja_vu_pairs", "embedding_norm", "encoder_mi", "part_crop", "wsa"}
LOSS = Needs(access="outputs", families=("pool",), capabilities=(SIGNALS["loss"].capability,))


@pytest.mark.parametrize("name", OWN)
def test_every_attack_conforms(name: str) -> None:
    found = check_attack(configure("attacks", PlugInEntry(name=name)))
    assert [str(each) for each in found if each.status == "failed"] == []
    assert {each.check for each in found if each.status == "unclear"} <= ({"direction"} if name in ELSEWHERE else set())
    assert {"shape", "finite", "determinism", "direction", "null calibration"} <= {each.check for each in found}


@dataclass(frozen=True)
class Right:
    needs = LOSS

    def score(self, view: AttackView) -> NDArray[np.float64]:
        return -view.target.signal("loss", view.candidates.records, view.rng)


class Reversed(Right):
    def score(self, view: AttackView) -> NDArray[np.float64]:
        return -super().score(view)


class NotANumber(Right):
    def score(self, view: AttackView) -> NDArray[np.float64]:
        return np.where(view.candidates.records.images[:, 0, 0, 0] > 127, np.nan, super().score(view))


class TooShort(Right):
    def score(self, view: AttackView) -> NDArray[np.float64]:
        return super().score(view)[1:]


class ByPlace(Right):
    def score(self, view: AttackView) -> NDArray[np.float64]:
        scores = super().score(view)
        return scores - float(scores.std()) * np.arange(len(scores), dtype=np.float64) / len(scores)


class OwnSeed(Right):
    def score(self, view: AttackView) -> NDArray[np.float64]:
        scores = super().score(view)
        return scores + 1e-6 * np.random.default_rng().normal(size=len(scores))


class GlobalSeed(Right):
    def score(self, view: AttackView) -> NDArray[np.float64]:
        scores = super().score(view)
        return scores + 1e-6 * np.random.normal(size=len(scores))  # noqa: NPY002 (what it does wrong)


class ReadsTheModel(Right):
    def score(self, view: AttackView) -> NDArray[np.float64]:
        asked: object = getattr(view.target, "model")  # noqa: B009 (what it does wrong; mypy would see it plainly)
        return super().score(view) * float(asked is not None)


class WantsWeights(Right):
    def score(self, view: AttackView) -> NDArray[np.float64]:
        return super().score(view) * float(len(view.target.weights()))


class WritesRecords(Right):
    def score(self, view: AttackView) -> NDArray[np.float64]:
        view.candidates.records.images[:] = 0
        return super().score(view)


class FindsTheCoins(Right):
    """Looks for memberships where no view has them."""

    def score(self, view: AttackView) -> NDArray[np.float64]:
        ids = view.candidates.ids.tolist()
        world = next(each for each in gc.get_objects() if type(each) is Overfit)
        coins = dict(zip(world.records.ids.tolist(), world.members.tolist(), strict=True))
        return np.array([float(coins[each]) for each in ids])


class ControlThatKnows(Right):
    needs = Needs(access="outputs", families=("pool",), sees_model=False)


class KnowsNothing(Right):
    def score(self, view: AttackView) -> NDArray[np.float64]:
        return view.rng.uniform(view.candidates.ids, 1)[:, 0]


@pytest.mark.parametrize(
    ("attack", "broken"),
    [
        (Right(), set()),
        (Reversed(), {"direction"}),
        (NotANumber(), {"finite"}),
        (TooShort(), {"shape"}),
        (ByPlace(), {"order"}),
        (OwnSeed(), {"determinism"}),
        (GlobalSeed(), {"determinism"}),
        (ReadsTheModel(), {"contract"}),
        (WantsWeights(), {"contract"}),
        (WritesRecords(), {"contract"}),
        (FindsTheCoins(), {"untrained model"}),
        (ControlThatKnows(), {"direction"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_wrong_is_named(attack: Right, broken: set[str]) -> None:
    assert {each.check for each in check(attack) if each.status == "failed"} == broken


def test_an_attack_that_finds_nothing_is_unclear_and_not_failed() -> None:
    assert [each.check for each in check(KnowsNothing()) if each.status != "passed"] == ["direction"]


def test_an_attack_on_what_the_toy_lacks_is_refused() -> None:
    class Wants(Right):
        needs = Needs(access="outputs", families=("pool",), capabilities=(Reconstructs,))

    with pytest.raises(InputError, match="expected what the suite's toy offers"):
        check(Wants())
