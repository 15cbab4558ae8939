"""Plug-ins: found by every kind of name, made from checked options, and broken ones stand in nobody's way."""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from dpaudit.discovery import Group, available, configure, find
from dpaudit.errors import InputError, RecipeError
from dpaudit.plugins import Attack, Dataset
from dpaudit.recipes.located import Where
from dpaudit.recipes.recipe import AttackEntry, DataEntry, PlugInEntry, ProbeEntry, TrainerEntry

if TYPE_CHECKING:
    from pathlib import Path

MODULE = '''
from __future__ import annotations

import enum
from dataclasses import dataclass

from dpaudit.errors import InputError
from dpaudit.plugins import Needs


class Mode(enum.Enum):
    A = "a"


@dataclass(frozen=True, kw_only=True)
class Good:
    """Scores by a coin of its own.

    More text.
    """

    masks: int = 2
    rates: tuple[float, ...] = (0.1,)
    mode: Mode = Mode.A
    word: str | None = None

    def __post_init__(self) -> None:
        if self.masks < 1:
            raise InputError("masks", self.masks, "at least 1")
        if self.masks > 9:
            raise InputError("Good masks", self.masks, "at most 9")
        if self.word == "bad":
            raise ValueError("another word")
        if self.word == "worse":
            raise InputError("masks and word", (self.masks, self.word), "that they fit")

    @property
    def needs(self):
        return Needs(access="outputs", families=("pool", "block"))

    def score(self, view):
        raise NotImplementedError


@dataclass(frozen=True)
class Familiar(Good):
    """Has an option that the recipe reads too."""

    family: str = "pool"


@dataclass(frozen=True)
class NoDoc(Good):
    pass


@dataclass(frozen=True)
class Scoreless:
    masks: int = 1


@dataclass
class Thawed(Good.__mro__[1]):
    masks: int = 1


@dataclass(frozen=True)
class Labelled(Good):
    label: str = "x"


@dataclass(frozen=True)
class Untyped(Good):
    size: Missing = 3


@dataclass(frozen=True)
class OneSided:
    """A trainer without losses."""

    image_size: int = 8
    modality: frozenset[str] = frozenset({"image"})

    def build(self, rng): ...
    def collate(self, examples, rng): ...
    def embed(self, model, images): ...
    def optimizer(self, parameters, steps): ...
    def learning_rate(self, step, steps): ...


@dataclass(frozen=True)
class Whole(OneSided):
    """A trainer."""

    def bounded_sum(self, model, batch, clip): ...
    def sensitivity(self, clip, adjacency): ...


def function(): ...
'''

ATTACKS = {
    "good": "strangers_attacks:Good",
    "no_doc": "strangers_attacks:NoDoc",
    "gone": "strangers_nowhere:Good",
    "absent": "strangers_attacks:Absent",
    "raises": "strangers_raising:Good",
    "leaves": "strangers_leaving:Good",
    "scoreless": "strangers_attacks:Scoreless",
    "thawed": "strangers_attacks:Thawed",
    "labelled": "strangers_attacks:Labelled",
    "untyped": "strangers_attacks:Untyped",
    "function": "strangers_attacks:function",
}


@pytest.fixture(autouse=True)
def strangers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a stranger's package, entry points and all, for one test."""
    site = tmp_path / "site"
    info = site / "strangers-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strangers\nVersion: 1.2\n")
    points = "".join(f"{name} = {target}\n" for name, target in ATTACKS.items())
    trainers = "half = strangers_attacks:OneSided\nwhole = strangers_attacks:Whole\n"
    (info / "entry_points.txt").write_text(f"[dpaudit.attacks]\n{points}\n[dpaudit.trainers]\n{trainers}")
    (site / "strangers_attacks.py").write_text(MODULE)
    (site / "strangers_raising.py").write_text("raise RuntimeError('first line\\nsecond line')\n")
    (site / "strangers_leaving.py").write_text("import sys\nsys.exit('bye')\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    for name in [name for name in sys.modules if name.startswith("strangers_")]:
        monkeypatch.delitem(sys.modules, name)
    return site


def refusal(group: Group, entry: PlugInEntry, where: Where | None = None) -> str:
    with pytest.raises(InputError) as caught:
        configure(group, entry, where)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_listing_survives_every_kind_of_breakage() -> None:
    listed = {each.name: each for each in available("attacks") if each.origin == "strangers 1.2"}
    assert sorted(listed) == sorted(ATTACKS)
    assert {name: each.target for name, each in listed.items()} == ATTACKS
    assert {name: each.broken for name, each in listed.items()} == {
        "good": None,
        "no_doc": None,
        "gone": "ModuleNotFoundError: No module named 'strangers_nowhere'",
        "absent": "AttributeError: module 'strangers_attacks' has no attribute 'Absent'",
        "raises": "RuntimeError: first line",
        "leaves": "SystemExit: bye",
        "scoreless": "it lacks needs, score, which attacks must have",
        "thawed": "it is not a frozen dataclass",
        "labelled": "its option 'label' has a name that recipes use themselves",
        "untyped": "the types of its options cannot be read: "
        "PydanticUndefinedAnnotation: name 'Missing' is not defined",
        "function": "it is function, not a class",
    }
    assert listed["good"].summary == "Scores by a coin of its own."
    assert listed["no_doc"].summary == ""


def test_a_trainer_needs_one_whole_contract_of_the_two() -> None:
    assert find("trainers", TrainerEntry(name="whole")).__name__ == "Whole"
    assert refusal("trainers", TrainerEntry(name="half")).endswith("it lacks losses, which trainers must have")


def test_every_kind_of_name_finds_the_same_plug_in(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MODULE)
    names = ("good", "strangers_attacks:Good", "./mine.py:Good", str(tmp_path / "mine.py") + ":Good")
    made = [configure("attacks", AttackEntry(name=name, masks=3)) for name in names]
    assert all(isinstance(each, Attack) for each in made)
    assert {repr(each) for each in made} == {repr(made[0])}
    assert made[0] == made[1]
    assert made[2] == made[3]  # one file is one module, however its path is written
    assert find("attacks", AttackEntry(name="good")) is type(made[0])


def test_options_are_checked_against_the_annotations() -> None:
    entry = AttackEntry(name="good", masks=3, rates=[1, 0.5], mode="a", word="x")
    made: Any = configure("attacks", entry)
    assert (made.masks, made.rates, made.mode.value, made.word) == (3, (1.0, 0.5), "a", "x")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask": 3}, "attacks.1.mask = 3: expected a known name; did you mean 'masks'? (r.yaml:7)"),
        (
            {"zzzz": 3},
            "attacks.1.zzzz = 3: expected one of 'family', 'label', 'masks', 'mode', 'name', 'rates', 'word' "
            "(r.yaml:7)",
        ),
        ({"masks": "3"}, "attacks.1.masks = '3': expected a whole number (r.yaml:9)"),
        ({"masks": True}, "attacks.1.masks = True: expected a whole number (r.yaml:9)"),
        ({"masks": None}, "attacks.1.masks = None: expected a whole number (r.yaml:9)"),
        ({"rates": 3}, "attacks.1.rates = 3: expected a list (r.yaml:7)"),
        ({"rates": [1, "x"]}, "attacks.1.rates.1 = 'x': expected a number (r.yaml:7)"),
        ({"mode": "b"}, "attacks.1.mode = 'b': expected 'a' (r.yaml:7)"),
        ({"masks": 0}, "attacks.1.masks = 0: expected at least 1 (r.yaml:9)"),
        ({"masks": 10}, "attacks.1.masks = 10: expected at most 9 (r.yaml:9)"),
        ({"word": "bad"}, "attacks.1 = {'word': 'bad'}: expected another word (r.yaml:7)"),
        ({"word": "worse"}, "attacks.1.masks and word = (2, 'worse'): expected that they fit (r.yaml:7)"),
    ],
)
def test_bad_options_are_refused_at_their_line(options: dict[str, Any], message: str) -> None:
    where = Where({("attacks", "1"): "r.yaml:7", ("attacks", "1", "masks"): "r.yaml:9"}).at("attacks.1")
    entry = AttackEntry.model_validate({"name": "good", **options})
    assert refusal("attacks", entry, where) == message


def test_without_a_default_an_option_must_be_given() -> None:
    assert refusal("datasets", DataEntry(name="csv")) == "path = (missing): expected a value: it has no default"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("god", "a known name; did you mean 'good'? (see `dpaudit list attacks`)"),
        ("raises", "a plug-in that works; it is broken: RuntimeError: first line"),
        ("scoreless", "a plug-in that works; it is broken: it lacks needs, score, which attacks must have"),
        (
            "strangers_nowhere:Good",
            "a plug-in that works; it is broken: ModuleNotFoundError: No module named 'strangers",
        ),
        ("strangers_raising:Good", "a plug-in that works; it is broken: RuntimeError: first line"),
        ("strangers_attacks:Goood", "after the colon a known name; did you mean 'Good'?"),
        ("strangers_attacks:Zzz", "after the colon one of 'Familiar', 'Good', "),
        ("./broken.py:Good", "a plug-in that works; it is broken: SyntaxError: "),
        ("./none.py:Good", "a file that exists; there is no /"),
        ("dpaudit.data.digits:Digits", "a plug-in that works; it is broken: it lacks needs, score, which attacks must"),
    ],
)
def test_names_that_lead_nowhere_are_refused_at_their_line(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "broken.py").write_text("def (:\n")
    where = Where({("attacks", "0", "name"): "r.yaml:3"}).at("attacks.0")
    with pytest.raises(RecipeError) as caught:
        configure("attacks", AttackEntry(name=name), where)
    text = str(caught.value)
    assert text.startswith(f"attacks.0.name = {name!r}: expected {message}")
    assert text.endswith(" (r.yaml:3)")
    assert "\n" not in text


def test_a_file_that_failed_can_be_mended(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise RuntimeError('not yet')\n")
    assert "not yet" in refusal("attacks", AttackEntry(name="./mine.py:Good"))
    (tmp_path / "mine.py").write_text(MODULE + "# mended\n")
    assert type(configure("attacks", AttackEntry(name="./mine.py:Good"))).__name__ == "Good"


def test_one_name_of_two_packages_is_refused_with_both(strangers: Path) -> None:
    info = strangers / "others-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[dpaudit.attacks]\ngood = strangers_attacks:NoDoc\n")
    importlib.invalidate_caches()
    assert [each.origin for each in available("attacks") if each.name == "good"] == ["strangers 1.2", "others 1"]
    message = refusal("attacks", AttackEntry(name="good"))
    assert "'strangers_attacks:Good'" in message
    assert "'strangers_attacks:NoDoc'" in message
    assert message.endswith("two packages use this name")


def test_a_family_that_the_attack_cannot_score_is_refused() -> None:
    assert isinstance(configure("attacks", AttackEntry(name="good", family="block")), Attack)
    message = refusal("attacks", AttackEntry(name="good", family="inputs"))
    assert message == "family = 'inputs': expected a family that it can attack, one of 'pool', 'block'"


def test_the_family_reaches_an_attack_that_has_such_an_option() -> None:
    made: Any = configure("attacks", AttackEntry(name="strangers_attacks:Familiar", family="block"))
    assert made.family == "block"
    untouched: Any = configure("attacks", AttackEntry(name="strangers_attacks:Familiar"))
    assert untouched.family == "pool"


def test_a_plug_in_of_another_group_is_refused() -> None:
    expected = "it is broken: it lacks build, collate, embed, learning_rate, losses, modality, optimizer"
    assert expected in refusal("trainers", TrainerEntry(name="dpaudit.data.digits:Digits"))
    assert "it lacks measure" in refusal("probes", ProbeEntry(name="dpaudit.data.digits:Digits"))


def test_built_in_data_sets_are_made() -> None:
    assert isinstance(configure("datasets", DataEntry(name="digits", image_size=8)), Dataset)


def test_finding_data_sets_imports_no_torch() -> None:
    code = "import sys, dpaudit.discovery as d; d.available('datasets'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"
