"""Recipes: what is accepted is kept exactly, wherever it comes from."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from dpaudit.canaries import FAMILIES
from dpaudit.errors import InputError, RecipeError
from dpaudit.recipes.located import read
from dpaudit.recipes.recipe import (
    AttackEntry,
    Bounds,
    DecidingBound,
    Recipe,
    built_in_recipes,
    differences,
    json_schema,
    load_recipe,
    resolved,
)

SMALL = """\
name: small
data: {name: digits}
trainer: vip
privacy:
  epsilon: 8
  clip_norm: 1
  batch_size: 64
  steps: 10
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that writes r.yaml into the working directory, so that places read "r.yaml:LINE"."""
    monkeypatch.chdir(tmp_path)

    def write_text(text: str) -> str:
        Path("r.yaml").write_text(text, encoding="utf-8")
        return "r.yaml"

    return write_text


def load(write: Any, text: str, *overrides: str) -> Recipe:
    return load_recipe(write(text), overrides).recipe


def test_defaults(write: Any) -> None:
    recipe = load(write, SMALL)
    assert recipe.privacy.model_dump() == {
        "epsilon": 8.0,
        "noise_multiplier": None,
        "delta": None,
        "clip_norm": 1.0,
        "batch_size": 64,
        "steps": 10,
        "simulate_batch": None,
        "adjacency": "add-remove",
        "sampling": "poisson",
        "shuffle_buffer": None,
        "claimed_epsilon": None,
        "claimed_delta": None,
        "tuning_runs": None,
        "initial_weights": None,
        "physical_batch_size": 256,
        "augmentations": 1,
        "secure": False,
        "clipping": "flat",
        "engine": "bookkeeping",
    }
    assert (recipe.seed, recipe.reproducible, recipe.canaries.block, recipe.canaries.raw_norm) == (
        0,
        False,
        100_000,
        10,
    )
    assert (recipe.runs.count, recipe.runs.checkpoint_every, recipe.runs.trace) == (1, 25, "auto")
    assert recipe.attacks == (AttackEntry(name="audit_block"),)
    assert recipe.bounds == Bounds(decide=(DecidingBound(attack="audit_block", method="one-run-joint"),))
    assert recipe.bounds.decide[0].hypothesis == "promise"
    assert (recipe.probes, recipe.report.pictures, recipe.report.public) == ((), 8, False)


def test_all_refusals_of_a_file_are_recipe_errors_with_exit_code_2(write: Any) -> None:
    with pytest.raises(RecipeError) as caught:
        load(write, SMALL.replace("epsilon: 8", "epsilon: 0"))
    assert (caught.value.exit_code, caught.value.field, caught.value.where) == (2, "privacy.epsilon", "r.yaml:5")


@pytest.mark.parametrize("text", ["inf", "'inf'", ".inf", "Infinity"])
def test_epsilon_may_be_infinite_and_then_nothing_need_be_clipped(write: Any, text: str) -> None:
    recipe = load(write, SMALL.replace("epsilon: 8", f"epsilon: {text}").replace("clip_norm: 1", "clip_norm: inf"))
    assert recipe.privacy.epsilon == recipe.privacy.clip_norm == math.inf


def test_without_noise_nothing_need_be_clipped(write: Any) -> None:
    text = SMALL.replace("epsilon: 8", "noise_multiplier: 0").replace("clip_norm: 1", "clip_norm: inf")
    assert load(write, text).privacy.noise_multiplier == 0


def test_labels_default_to_the_name_and_the_family(write: Any) -> None:
    block, given = "{name: loss, family: block}", "{name: loss, label: L}"
    names = f"[loss, {block}, './a/mine.py:Mine', {{name: 'pkg.mod:Other', family: block}}, {given}]"
    recipe = load(write, SMALL + f"attacks: {names}\nprobes: [linear, 'pkg:Probe']\nbounds: {{decide: []}}\n")
    assert [attack.label for attack in recipe.attacks] == ["loss", "loss-block", "Mine", "Other-block", "L"]
    assert [probe.label for probe in recipe.probes] == ["linear", "Probe"]
    assert AttackEntry(name="loss", family="pool").label == "loss-pool"


def test_options_of_plug_ins_stay_as_written(write: Any) -> None:
    text = SMALL.replace("vip", "{name: vip, betas: [0.9, 1], deep: {a: inf}, word: no}")
    recipe = load(write, text + "attacks: [{name: audit_block, keep: null}]")
    assert recipe.trainer.options == {"betas": [0.9, 1], "deep": {"a": math.inf}, "word": "no"}
    assert recipe.attacks[0].options == {"keep": None}
    assert recipe.data.options == {}


def test_overrides_change_values_and_their_place(write: Any) -> None:
    overrides = ["privacy.steps=20", "references.count=3", "attacks=[loss, audit_block]", "attacks.0.masks=4"]
    loaded = load_recipe(write(SMALL), overrides)
    assert loaded.recipe.privacy.steps == 20
    assert loaded.recipe.references.count == 3
    assert loaded.recipe.attacks[0].options == {"masks": 4}
    places = ("privacy.steps", "privacy.epsilon", "references.count", "attacks.1.name", "attacks.0.masks")
    assert [loaded.where(place) for place in places] == ["--set", "r.yaml:5", "--set", "--set", "--set"]


def test_the_last_of_two_overrides_counts(write: Any) -> None:
    assert load(write, SMALL, "seed=1", "seed=2").seed == 2


def test_an_override_of_epsilon_puts_the_noise_multiplier_aside_and_the_reverse(write: Any) -> None:
    privacy = load(write, SMALL, "privacy.noise_multiplier=1.5").privacy
    assert (privacy.epsilon, privacy.noise_multiplier) == (None, 1.5)
    privacy = load(write, SMALL.replace("epsilon: 8", "noise_multiplier: 1"), "privacy.epsilon=2").privacy
    assert (privacy.epsilon, privacy.noise_multiplier) == (2, None)
    privacy = load(write, SMALL, "privacy.epsilon=null", "privacy.noise_multiplier=1").privacy
    assert (privacy.epsilon, privacy.noise_multiplier) == (None, 1)


def test_bytes_that_are_no_text_and_files_that_are_not_there_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_bytes(b"name: \xff")
    with pytest.raises(InputError, match=r"expected text in UTF-8 \(byte 6 is not\)$"):
        load_recipe(tmp_path / "bad.yaml")
    with pytest.raises(InputError, match=r"expected a file that can be read \(No such file or directory\)$"):
        load_recipe(str(tmp_path / "none.yaml"))
    with pytest.raises(InputError, match=r"expected a file that can be read \(Is a directory\)$"):
        load_recipe(tmp_path)


def test_unknown_names_give_the_nearest_and_how_to_list() -> None:
    with pytest.raises(InputError) as caught:
        load_recipe("quickstat")
    assert str(caught.value) == (
        "recipe = 'quickstat': expected a file NAME.yaml or a known name; did you mean 'quickstart'? "
        "(see `dpaudit list recipes`)"
    )


@pytest.mark.parametrize("name", built_in_recipes())
def test_built_in_recipes_load_and_say_where_every_key_is_explained(name: str) -> None:
    assert load_recipe(name).recipe.name == name
    assert "dpaudit show quickstart" in built_in_recipes()[name].read_text()


def test_the_quickstart_explains_every_key() -> None:
    path = built_in_recipes()["quickstart"]
    unexplained = [line for line in path.read_text().splitlines() if line and ":" in line and "#" not in line]
    sections = ("canaries:", "privacy:", "runs:", "references:", "report:", "title:")
    assert [line for line in unexplained if not line.startswith(sections)] == []


def test_the_quickstart_shows_every_key_with_its_default_where_it_has_one() -> None:
    written = read(built_in_recipes()["quickstart"].read_text(), "f").tree
    schema = json_schema()
    for section, reference in schema["properties"].items():
        name = reference.get("$ref", "").removeprefix("#/$defs/")
        for key in schema["$defs"].get(name, {}).get("properties", {}):
            assert key in written[section] or key == "noise_multiplier", f"{section}.{key}"


def test_resolved_recipes_load_back_and_say_all_defaults(write: Any) -> None:
    text = SMALL.replace("vip", "{name: vip, word: '1e-5', deep: {a: [inf, no]}}").replace("epsilon: 8", "epsilon: inf")
    recipe = load(write, text)
    again = load(write, resolved(recipe))
    assert again == recipe
    assert resolved(again) == resolved(recipe)
    defaults = {"count": 1, "checkpoint_every": 25, "trace": "auto", "non_private": False}
    assert read(resolved(recipe), "f").tree["runs"] == defaults


def test_recipes_survive_json(write: Any) -> None:
    recipe = load(write, SMALL.replace("epsilon: 8", "epsilon: inf"))
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert Recipe.model_validate(json.loads(recipe.model_dump_json())) == recipe


def test_recipes_are_frozen(write: Any) -> None:
    recipe = load(write, SMALL)
    with pytest.raises(ValidationError, match="frozen"):
        recipe.privacy.epsilon = 1.0  # type: ignore[misc]  # the refusal is the point


def test_differences_are_dotted_and_complete(write: Any) -> None:
    old = load(write, SMALL).model_dump(mode="json")
    assert differences(old, load(write, SMALL).model_dump(mode="json")) == []
    new = load(
        write, SMALL, "privacy.epsilon=4", "trainer.size=nano", "attacks=[audit_block, loss]", "reproducible=true"
    )
    assert differences(old, new.model_dump(mode="json")) == [
        "reproducible: false -> true",
        "privacy.epsilon: 8 -> 4",
        "trainer.size: (absent) -> nano",
        "attacks.1.name: (absent) -> loss",
        "attacks.1.label: (absent) -> loss",
        "attacks.1.family: (absent) -> null",
    ]
    assert differences({"a": [], "b": 1e-5}, {"a": [1], "b": None}) == [
        "a: [] -> (absent)",
        "b: 1e-05 -> null",
        "a.0: (absent) -> 1",
    ]


def test_shares_of_alpha_sum_to_alpha() -> None:
    bounds = Bounds(alpha=0.05, decide=tuple(DecidingBound(attack=name, weight=w) for name, w in (("a", 3), ("b", 1))))
    assert bounds.shares() == pytest.approx((0.0375, 0.0125))
    assert Bounds(decide=()).shares() == ()


def test_schema_describes_names_alone_and_refuses_unknown_keys() -> None:
    schema = json_schema()
    assert schema["additionalProperties"] is False
    definitions = schema["$defs"]
    assert {"type": "string"} in definitions["AttackEntry"]["anyOf"]
    assert {"type": "string"} in definitions["TrainerEntry"]["anyOf"]
    assert definitions["DataEntry"]["type"] == "object"
    assert definitions["Privacy"]["additionalProperties"] is False
    assert json.loads(json.dumps(schema)) == schema


def test_families_are_those_of_the_canaries() -> None:
    annotation = AttackEntry.model_fields["family"].annotation
    assert get_args(get_args(annotation)[0]) == FAMILIES


def test_reading_a_recipe_imports_neither_numpy_nor_torch() -> None:
    code = (
        "import sys, dpaudit.recipes.recipe as r; r.load_recipe('quickstart'); "
        "print({'numpy', 'torch'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"
