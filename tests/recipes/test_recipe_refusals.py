"""What a recipe refuses: one line each, with the field, the value, what was expected and where it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dpaudit.errors import InputError
from dpaudit.recipes.recipe import load_recipe

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


def refusal(write: Any, text: str, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        load_recipe(write(text), overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epsilon: 8", "epsilon: 0", "privacy.epsilon = 0: expected a number above 0 (r.yaml:5)"),
        ("epsilon: 8", "epsilon: .nan", "privacy.epsilon = nan: expected a number above 0 (r.yaml:5)"),
        (
            "steps: 10",
            "augmentations: 0\n  steps: 10",
            "privacy.augmentations = 0: expected a number of at least 1 (r.yaml:8)",
        ),
        (
            "steps: 10",
            "secure: true\n  steps: 10\nreproducible: true",
            "privacy.secure = True: expected false with `reproducible`: a public seed keeps no secret (r.yaml:8)",
        ),
        ("epsilon: 8", "epsilon: '8'", "privacy.epsilon = '8': expected a number (r.yaml:5)"),
        ("epsilon: 8", "epsilon: true", "privacy.epsilon = True: expected a number (r.yaml:5)"),
        (
            "epsilon: 8",
            "delta: 0.1",
            "privacy.epsilon = (missing): expected a number above 0, or privacy.noise_multiplier instead (r.yaml:4)",
        ),
        (
            "epsilon: 8",
            "epsilon: 8\n  noise_multiplier: 1",
            "privacy.noise_multiplier = 1.0: expected nothing: privacy.epsilon is given too (r.yaml:6)",
        ),
        (
            "epsilon: 8",
            "noise_multiplier: -1",
            "privacy.noise_multiplier = -1: expected a number of at least 0 (r.yaml:5)",
        ),
        (
            "epsilon: 8",
            "noise_multiplier: .nan",
            "privacy.noise_multiplier = nan: expected a number of at least 0 (r.yaml:5)",
        ),
        ("epsilon: 8", "epsilon: 8\n  delta: 0", "privacy.delta = 0: expected a number above 0 (r.yaml:6)"),
        ("epsilon: 8", "epsilon: 8\n  delta: 1", "privacy.delta = 1: expected a number below 1 (r.yaml:6)"),
        ("clip_norm: 1", "clip_norm: 0", "privacy.clip_norm = 0: expected a number above 0 (r.yaml:6)"),
        (
            "clip_norm: 1",
            "clip_norm: inf",
            "privacy.clip_norm = inf: expected a finite number: noise is scaled to it (r.yaml:6)",
        ),
        ("batch_size: 64", "batch_size: 0", "privacy.batch_size = 0: expected a number of at least 1 (r.yaml:7)"),
        ("batch_size: 64", "batch_size: 64.0", "privacy.batch_size = 64.0: expected a whole number (r.yaml:7)"),
        (
            "batch_size: 64",
            "batchsize: 64",
            "privacy.batchsize = 64: expected a known name; did you mean 'batch_size'? (r.yaml:7)",
        ),
        ("  steps: 10\n", "", "privacy.steps = (missing): expected a value: it has no default (r.yaml:4)"),
        (
            "steps: 10",
            "steps: 10\n  sampling: poison",
            "privacy.sampling = 'poison': expected one of 'poisson', 'fixed', 'shuffle' or 'full' (r.yaml:9)",
        ),
        (
            "steps: 10",
            "steps: 10\n  adjacency: both",
            "privacy.adjacency = 'both': expected one of 'add-remove', 'replace-one' or 'zero-out' (r.yaml:9)",
        ),
        (
            "steps: 10",
            "steps: 10\n  claimed_epsilon: 0",
            "privacy.claimed_epsilon = 0: expected a number above 0 (r.yaml:9)",
        ),
        (
            "steps: 10",
            "steps: 10\n  claimed_epsilon: inf",
            "privacy.claimed_epsilon = inf: expected a finite number (r.yaml:9)",
        ),
        (
            "steps: 10",
            "steps: 10\n  claimed_delta: 0.1",
            "privacy.claimed_delta = 0.1: expected null: no privacy.claimed_epsilon is given (r.yaml:9)",
        ),
        (
            "steps: 10",
            "steps: 10\n  shuffle_buffer: 10",
            "privacy.shuffle_buffer = 10: expected null: only privacy.sampling = shuffle may stream its records "
            "(r.yaml:9)",
        ),
        (
            "steps: 10",
            "steps: 10\n  sampling: shuffle\n  shuffle_buffer: 0",
            "privacy.shuffle_buffer = 0: expected a number of at least 1 (r.yaml:10)",
        ),
        (
            "steps: 10",
            "steps: 10\n  tuning_runs: -1",
            "privacy.tuning_runs = -1: expected a number of at least 0 (r.yaml:9)",
        ),
        (
            "steps: 10",
            "steps: 10\n  engine: fast",
            "privacy.engine = 'fast': expected one of 'bookkeeping', 'functional' or 'loop' (r.yaml:9)",
        ),
        ("name: small", "name: a/b", "name = 'a/b': expected a name that matches ^[a-z0-9_-]+$ (r.yaml:1)"),
        ("name: small", "name: 7", "name = 7: expected text (r.yaml:1)"),
        ("name: small", "seed: -1\nname: a", "seed = -1: expected a number of at least 0 (r.yaml:1)"),
        ("name: small", "reproducible: 1\nname: a", "reproducible = 1: expected true or false (r.yaml:1)"),
        ("trainer: vip", "trainer: 3", "trainer = 3: expected a mapping (r.yaml:3)"),
        (
            "trainer: vip",
            "trainer: {size: micro}",
            "trainer.name = (missing): expected a value: it has no default (r.yaml:3)",
        ),
        ("trainer: vip\n", "", "trainer = (missing): expected a value: it has no default (r.yaml:1)"),
        ("trainer: vip", "trainer: vip\nrun: {}", "run = {}: expected a known name; did you mean 'runs'? (r.yaml:4)"),
        (
            "trainer: vip",
            "trainer: vip\nruns:\n  counts: 2",
            "runs.counts = 2: expected a known name; did you mean 'count'? (r.yaml:5)",
        ),
        (
            "trainer: vip",
            "trainer: vip\nruns:\n  zzz: 2",
            "runs.zzz = 2: expected one of 'checkpoint_every', 'count', 'non_private', 'trace' (r.yaml:5)",
        ),
        ("{name: digits}", "digits", "data = 'digits': expected a mapping (r.yaml:2)"),
        ("{name: digits}", "{name: ''}", "data.name = '': expected text of at least 1 characters (r.yaml:2)"),
        (
            "{name: digits}",
            "\n  name: digits\n  limit: 9\n  split:\n    audit_pool: 10",
            "data.limit = 9: expected at least 10, the sum of data.split (r.yaml:4)",
        ),
        (
            "{name: digits}",
            "\n  name: digits\n  split:\n    audit_pol: 10",
            "data.split.audit_pol = 10: expected a known name; did you mean 'audit_pool'? (r.yaml:5)",
        ),
        (
            "trainer: vip",
            "canaries:\n  inputs:\n    noise: -1\ntrainer: vip",
            "canaries.inputs.noise = -1: expected a number of at least 0 (r.yaml:5)",
        ),
    ],
)
def test_bad_values_are_refused_at_their_line(write: Any, old: str, new: str, message: str) -> None:
    assert old in SMALL
    assert refusal(write, SMALL.replace(old, new)) == message


@pytest.mark.parametrize(
    ("attacks", "message"),
    [
        ("attacks: loss", "attacks = 'loss': expected a list (r.yaml:9)"),
        ("attacks:\n  - 3", "attacks.0 = 3: expected a mapping (r.yaml:10)"),
        (
            "attacks:\n  - audit_block\n  - loss\n  - loss",
            "attacks.2.label = 'loss': expected a label of its own: attacks.1 has it already (r.yaml:12)",
        ),
        (
            "attacks:\n  - {name: loss, label: ../x}",
            "attacks.0.label = '../x': expected a name that matches ^[A-Za-z0-9][A-Za-z0-9_.-]*$ (r.yaml:10)",
        ),
        (
            "attacks:\n  - name: loss\n    family: pol",
            "attacks.0.family = 'pol': expected one of 'pool', 'inputs', 'block', 'coordinates', 'steps' or "
            "'step_records' (r.yaml:11)",
        ),
        (
            "attacks:\n  - audit_block\n  - name: loss\n    family: pool",
            "attacks.1.family = 'pool': expected a family with candidates; data.split.audit_pool is 0 (r.yaml:12)",
        ),
        (
            "attacks:\n  - audit_block\n  - name: loss\n    family: inputs",
            "attacks.1.family = 'inputs': expected a family with candidates; canaries.inputs is 0 (r.yaml:12)",
        ),
        (
            "attacks: [loss]",
            "bounds.decide.0.attack = 'audit_block': expected the label of an attack, one of 'loss' "
            "(it is the default of bounds.decide) (r.yaml:1)",
        ),
        (
            "bounds:\n  decide:\n    - attack: lira",
            "bounds.decide.0.attack = 'lira': expected the label of an attack, one of 'audit_block' (r.yaml:11)",
        ),
        (
            "bounds:\n  decide: []\n  also:\n    - attack: lira",
            "bounds.also.0.attack = 'lira': expected the label of an attack, one of 'audit_block' (r.yaml:12)",
        ),
        (
            "bounds:\n  also:\n    - attack: audit_block",
            "bounds.also.0 = 'audit_block one-run-joint promise': expected each bound once; "
            "bounds.decide.0 is the same (r.yaml:11)",
        ),
        (
            "bounds:\n  decide:\n    - attack: audit_block\n      weight: 0",
            "bounds.decide.0.weight = 0: expected a number above 0 (r.yaml:12)",
        ),
        (
            "bounds:\n  also:\n    - attack: audit_block\n      weight: 1",
            "bounds.also.0.weight = 1: expected one of 'attack', 'hypothesis', 'method' (r.yaml:12)",
        ),
        (
            "bounds:\n  decide:\n    - attack: audit_block\n      hypothesis: none",
            "bounds.decide.0.hypothesis = 'none': expected one of 'promise', 'any', 'accountant' or 'gaussian' "
            "(r.yaml:12)",
        ),
        (
            "bounds:\n  decide:\n    - attack: audit_block\n      method: One run",
            "bounds.decide.0.method = 'One run': expected a name that matches ^[a-z0-9][a-z0-9-]*$ (r.yaml:12)",
        ),
        ("bounds: {alpha: 1}", "bounds.alpha = 1: expected a number below 1 (r.yaml:9)"),
        ("bounds: {power: 0}", "bounds.power = 0: expected a number above 0 (r.yaml:9)"),
        (
            "probes: [linear, {name: linear}]",
            "probes.1.label = 'linear': expected a label of its own: probes.0 has it already (r.yaml:9)",
        ),
        ("report: {pictures: -1}", "report.pictures = -1: expected a number of at least 0 (r.yaml:9)"),
        ("seed: 1\nseed: 2", "seed = 'seed': expected each key once; it stands already in r.yaml:9 (r.yaml:10)"),
    ],
)
def test_sections_that_disagree_are_refused_at_their_line(write: Any, attacks: str, message: str) -> None:
    assert refusal(write, SMALL + attacks) == message


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("privacy.epsilon=4", "privacy.noise_multiplier=1"),
            "--set privacy.epsilon = 4: expected only one of the two; privacy.noise_multiplier is set too",
        ),
        (
            ("privacy={epsilon: 1, noise_multiplier: 1, clip_norm: 1, steps: 1, batch_size: 1}",),
            "privacy.noise_multiplier = 1.0: expected nothing: privacy.epsilon is given too (--set)",
        ),
        (("privacy.epsilon=-1",), "privacy.epsilon = -1: expected a number above 0 (--set)"),
        (("privacy.epsilom=1",), "privacy.epsilom = 1: expected a known name; did you mean 'epsilon'? (--set)"),
        (("attacks.1=loss",), "--set attacks.1 = '1': expected a position from 0 to 0"),
        (("seed.x=1",), "--set seed.x = 1: expected a key that exists; there is only 5 before .x"),
        (("seed",), "--set = 'seed': expected KEY=VALUE, for example privacy.epsilon=4"),
        (("seed={",), "--set seed = '{': expected valid YAML: expected the node content, but found '<stream end>'"),
    ],
)
def test_bad_overrides_are_refused(write: Any, overrides: tuple[str, ...], message: str) -> None:
    assert refusal(write, SMALL + "seed: 5\nattacks: [audit_block]\n", *overrides) == message
