"""YAML with lines: what is read, where it stands, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpaudit.errors import InputError, RecipeError
from dpaudit.recipes.located import Where, dump, parse_setting, read

TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=8)
    | st.sampled_from(["1e-5", "inf", ".inf", "no", "010", "1_0", "null", "~", "", "12:30", "2024-01-01", "<<", "="]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab-. 1", min_size=1), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("1.5E+3", 1500.0),
        (".5", 0.5),
        ("inf", math.inf),
        ("-.inf", -math.inf),
        ("100_000", 100_000),
        ("-3", -3),
        ("no", "no"),
        ("010", "010"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("'8'", "8"),
        ("", None),
        ("true", True),
    ],
)
def test_plain_values_are_read_as_yaml_1_2(text: str, value: object) -> None:
    read_value = read(f"a: {text}", "f").tree["a"]
    assert read_value == value
    assert type(read_value) is type(value)


@given(tree=st.dictionaries(st.text("ab1", min_size=1), TREES, max_size=4))
def test_what_is_dumped_is_read_back(tree: dict[str, Any]) -> None:
    assert read(dump(tree), "f").tree == tree


def test_dump_writes_shared_values_out() -> None:
    shared = [1]
    assert read(dump({"a": shared, "b": shared}), "f").tree == {"a": [1], "b": [1]}


def test_every_value_knows_the_line_of_its_key() -> None:
    document = read("a: 1\nb:\n  c:\n    - 2\n    - d: 3\n\n  e: |\n    text\n", "f.yaml")
    where = Where(document.lines)
    places = ("", "a", "b", "b.c", "b.c.0", "b.c.1.d", "b.e", "b.nothing", "b.c.1.d.x")
    assert [where(name).removeprefix("f.yaml:") for name in places] == ["1", "1", "2", "3", "4", "5", "7", "2", "5"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "a = 'a': expected each key once; it stands already in f:1 (f:3)"),
        ("a:\n  b: 1\n  b: 1", "a.b = 'b': expected each key once; it stands already in f:2 (f:3)"),
        ("a: &x [1]\nb: *x", "b = 'seq': expected a value written out: aliases (*name) are not read (f:1)"),
        ("a: &x\n  b: *x", "a.b = 'map': expected a value written out: aliases (*name) are not read (f:1)"),
        ("a: !!python/name:os.system x", "a = 'x': expected a plain value, without the tag tag:yaml.org,2002:python/"),
        ("a: !!python/object/apply:os.system [x]", "a = 'python/object/apply:os.system': expected a plain value, with"),
        ("a: !!int x", "a = 'x': expected a plain value, without the tag"),
        ("a: !mine {b: 1}", "a = '!mine': expected a plain value, without the tag !mine (f:1)"),
        ("a:\n  1: x", "a = '1': expected a word as key (f:2)"),
        ("? [a]\n: b", "recipe = 'seq': expected a word as key (f:1)"),
        ("a: b: c", "recipe = 'a: b: c': expected valid YAML: mapping values are not allowed here (f:1)"),
        ("a: 1\n b: [", "recipe = 'b: [': expected valid YAML: "),
        ("a: {", "recipe = 'a: {': expected valid YAML: "),
        ("a: \x07", "recipe = 'unacceptable character #x0007: special characters are not allowed': expected valid"),
        ("a: 1\n---\nb: 2", "recipe = '---': expected valid YAML: but found another document (f:2)"),
        ("", "recipe = None: expected a mapping of sections (f:1)"),
        ("- a", "recipe = ['a']: expected a mapping of sections (f:1)"),
        ("just text", "recipe = 'just text': expected a mapping of sections (f:1)"),
    ],
)
def test_refusals_name_the_value_and_the_line(text: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read(text, "f")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "keys", "value"),
    [
        ("a.b=1e-3", ("a", "b"), 1e-3),
        ("a=[x, 2]", ("a",), ["x", 2]),
        ("a=", ("a",), None),
        ("a=b=c", ("a",), "b=c"),
        ("attacks.0.name=./mine.py:Mine", ("attacks", "0", "name"), "./mine.py:Mine"),
    ],
)
def test_settings_are_yaml(setting: str, keys: tuple[str, ...], value: object) -> None:
    assert parse_setting(setting) == (keys, value)


@pytest.mark.parametrize("setting", ["a", "=1", "a..b=1", ".a=1", "a.=1", ""])
def test_settings_without_key_and_value_are_refused(setting: str) -> None:
    with pytest.raises(InputError, match=r"expected KEY=VALUE, for example privacy.epsilon=4$"):
        parse_setting(setting)


@pytest.mark.parametrize("text", ["{", "{a: 1, a: 2}", "!!python/name:os.system x"])
def test_settings_with_a_bad_value_name_their_key(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_setting(f"a.b={text}")
    assert str(caught.value).startswith(f"--set a.b = {text!r}: expected ")


def test_replacing_leaves_the_old_document_alone_and_moves_the_place() -> None:
    old = read("a:\n  b: {c: 1}\n  d: [1, 2]\n", "f")
    new = old.replaced(("a", "b"), {"c": 2}, "--set").replaced(("a", "d", "1"), 5, "--set").replaced(("e", "f"), 3, "!")
    assert new.tree == {"a": {"b": {"c": 2}, "d": [1, 5]}, "e": {"f": 3}}
    assert old.tree == {"a": {"b": {"c": 1}, "d": [1, 2]}}
    where = Where(new.lines)
    assert (where("a"), where("a.b.c"), where("a.d.0"), where("a.d.1"), where("e.f")) == (
        "f:1",
        "--set",
        "f:3",
        "--set",
        "!",
    )


def test_a_name_alone_becomes_a_mapping_when_it_gets_options() -> None:
    assert read("a: [loss]", "f").replaced(("a", "0", "masks"), 3, "--set").tree == {
        "a": [{"name": "loss", "masks": 3}]
    }


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (("a", "2"), "--set a.2 = '2': expected a position from 0 to 1"),
        (("a", "-1"), "--set a.-1 = '-1': expected a position from 0 to 1"),
        (("a", "x", "y"), "--set a.x.y = 'x': expected a position from 0 to 1"),
        (("b", "c"), "--set b.c = 7: expected a key that exists; there is only 3 before .c"),
    ],
)
def test_replacing_what_cannot_be_there_is_refused(keys: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError) as caught:
        read("a: [1, 2]\nb: 3", "f").replaced(keys, 7, "--set")
    assert str(caught.value) == message


def test_refusals_carry_the_scope_and_know_when_there_is_no_line() -> None:
    where = Where(read("a:\n  - b: 1", "f").lines)
    assert str(where.at("a.0").refusal("b", 1, "2")) == "a.0.b = 1: expected 2 (f:2)"
    assert isinstance(where.refusal("a", 1, "2"), RecipeError)
    unplaced = Where().at("a").refusal("b", 1, "2")
    assert str(unplaced) == "a.b = 1: expected 2"
    assert not isinstance(unplaced, RecipeError)
