"""The pool: what is there is used, what is missing or damaged is trained, and everyone may help."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import dpaudit
from dpaudit.errors import InputError
from dpaudit.executors import Executor
from dpaudit.pipeline.order import advance, explore
from dpaudit.pipeline.stages.attack import read_scores
from dpaudit.pipeline.stages.references import audit_references, views
from dpaudit.progress import Silent
from dpaudit.references.workers import train_free, wait_for
from dpaudit.runs import read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from dpaudit.pipeline.audit import Audit
    from tests.references.conftest import Opened

#: a model that is not stacked: its references are trained one after the other
ALONE = ("trainer.model=cnn", "trainer.width=2", "privacy.steps=6")


class Heard(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def times(pool: Path, pattern: str) -> dict[str, int]:
    """Return when each file of the pool was written."""
    return {str(path.relative_to(pool)): path.stat().st_mtime_ns for path in pool.glob(pattern)}


def weights(audit: Audit) -> list[dict[str, Any]]:
    return [load_file(each.entry.weights) for each in audit_references(audit)]


def same(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> bool:
    return all((a[name] == b[name]).all() for a, b in zip(first, second, strict=True) for name in a)


def test_a_second_recipe_with_the_same_training_trains_nothing(
    opened: Opened, pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance(opened(), "attack")
    models, signals = times(pool, "*/model.safetensors"), times(pool, "*/signals/*.npz")
    assert (len(models), len(signals)) == (4, 4)  # one signal each
    assert times(pool, "*/work") == {}
    for name in ("train_stacked", "train_reference"):
        monkeypatch.setattr(f"dpaudit.references.workers.{name}", None)
    other = opened("attacks=[{name: lira, family: pool}]", "report.pictures=0", "runs.checkpoint_every=6", folder="b")
    heard = Heard()
    advance(other, "attack", progress=heard)
    assert "references: 4 in the pool, 4 of them from before" in heard.lines
    assert times(pool, "*/model.safetensors") == models
    assert times(pool, "*/signals/*.npz") == signals  # LiRA asks what the difference asked
    commitments = [
        read_json(opened(folder=name).path / "target-00" / "manifest.json")["commitment"] for name in ("run", "b")
    ]
    assert len(set(commitments)) == 2  # other coins, the same references


def test_only_what_is_missing_is_trained(opened: Opened, pool: Path) -> None:
    wait_for(audit_references(opened("references.count=2")), Silent())
    before = times(pool, "*/reference.json")
    assert wait_for(audit_references(opened("references.count=5")), Silent()) == 3
    after = times(pool, "*/reference.json")
    assert (len(before), len(after)) == (2, 5)
    assert before.items() <= after.items()


@pytest.mark.usefixtures("pool")
@pytest.mark.parametrize(
    "setting",
    [
        "seed=1",
        "privacy.steps=13",
        "privacy.batch_size=41",
        "trainer.width=17",
        "trainer.peak_learning_rate=0.9",
        "optimizer={name: sgd, learning_rate: 1}",
        "canaries.inputs.mislabelled=29",
        "data.limit=319",
        "weights.ema_decay=0.9",
    ],
)
def test_what_decides_a_training_decides_its_place(opened: Opened, setting: str) -> None:
    plain, changed = (audit_references(opened(*given))[0].key for given in ((), (setting,)))
    assert plain != changed


@pytest.mark.usefixtures("pool")
@pytest.mark.parametrize(
    "setting", ["runs.count=2", "attacks=[loss]", "report.public=true", "references.count=2", "title=x"]
)
def test_what_decides_nothing_does_not(opened: Opened, setting: str) -> None:
    assert audit_references(opened())[0].key == audit_references(opened(setting))[0].key


@pytest.mark.usefixtures("pool")
def test_references_are_as_private_as_the_target_or_not_at_all(opened: Opened) -> None:
    noisy = ("privacy.epsilon=null", "privacy.noise_multiplier=2")
    as_target, plain = (
        audit_references(opened(*noisy, f"references.privacy={name}"))[0].job.mechanism for name in ("target", "none")
    )
    assert (as_target.noise_multiplier, as_target.clip_norm) == (2, 1)
    assert (plain.noise_multiplier, plain.is_clipped, plain.steps) == (0, False, 12)


@pytest.mark.parametrize("harm", ["no record", "cut record", "other record", "cut weights", "cut signal"])
def test_what_is_damaged_is_made_again_to_the_same_bits(opened: Opened, harm: str, pool: Path) -> None:
    audit = opened("references.count=2")
    advance(audit, "attack")
    before, (first, _) = weights(audit), audit_references(audit)
    record, scores = (
        first.entry.path / "reference.json",
        audit.path / "scores/target-00/reference_difference-pool.parquet",
    )
    found = read_scores(scores)[0].scores
    match harm:
        case "no record":
            record.unlink()
        case "cut record":
            record.write_bytes(record.read_bytes()[:-9])
        case "other record":
            write_json(record, read_json(record) | {"key": "0" * 64})
        case "cut weights":
            first.entry.weights.write_bytes(first.entry.weights.read_bytes()[:-9])
            next(first.entry.path.glob("signals/*")).unlink()
        case "cut signal":
            kept = next(first.entry.path.glob("signals/*"))
            kept.write_bytes(kept.read_bytes()[:-9])
    heard = Heard()
    scores.unlink()
    audit.folder.forget("attack-target-00-reference_difference-pool")
    advance(audit, "attack", progress=heard)
    said = [line for line in heard.lines if "in the pool:" in line]
    assert len(said) == (0 if harm == "no record" else 1)
    assert all("damaged" in line or "not what was written" in line or "of another" in line for line in said)
    assert same(before, weights(audit))
    np.testing.assert_array_equal(read_scores(scores)[0].scores, found)
    assert times(pool, "*/work") == {}


def test_without_weights_a_new_question_trains_again(opened: Opened, pool: Path) -> None:
    kept, audit = (
        opened("references.count=2", folder="kept"),
        opened("references.count=2", "references.keep_weights=false"),
    )
    advance(audit, "attack")
    assert times(pool, "*/model.safetensors") == {}
    assert len(times(pool, "*/signals/*.npz")) == 2
    heard = Heard()
    asked = explore(audit, "reference_difference", {"signal": "logit", "label": "more", "family": "pool"})
    advance(asked, "attack", progress=heard)
    assert sum("its weights were not kept; it is trained again" in line for line in heard.lines) == 2
    assert times(pool, "*/model.safetensors") == {}  # forgotten once more
    advance(kept, "attack")
    again, first = (read_scores(each.path / "scores/target-00/more.parquet")[0] for each in (asked, asked))
    np.testing.assert_array_equal(again.scores, first.scores)


def test_a_killed_training_goes_on_and_ends_with_the_same_bits(opened: Opened, pool: Path) -> None:
    class Stops(Silent):
        def task(self, title: str, total: int) -> Any:
            del title, total
            raise KeyboardInterrupt

    whole = opened(*ALONE, "references.count=1")
    wait_for(audit_references(whole), Silent())
    expected = weights(whole)
    reference = audit_references(whole)[0]
    reference.entry.forget()
    with pytest.raises(KeyboardInterrupt):
        train_free([reference], Stops())
    assert times(pool, "*/work/reference-00/manifest.json")
    assert not reference.entry.trained
    assert train_free([reference], Silent()) == 1
    assert same(weights(whole), expected)


HOLDER = """
import sys
from filelock import FileLock
lock = FileLock(sys.argv[1])
lock.acquire()
print(1, flush=True)
input()
"""


def test_a_worker_leaves_what_another_holds_and_takes_what_a_killed_one_held(opened: Opened) -> None:
    references = audit_references(opened(*ALONE, "references.count=2"))
    lock = references[0].entry.path.with_suffix(".lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(lock)], stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "1\n"
        assert train_free(references, Silent()) == 1
        assert [each.entry.trained for each in references] == [False, True]
        holder.kill()
    assert wait_for(references, Silent()) == 1
    assert all(each.entry.trained for each in references)


def test_two_workers_train_each_reference_once(opened: Opened, recipe_file: Path, tmp_path: Path, pool: Path) -> None:
    settings = [*ALONE, "references.count=6", "privacy.steps=60"]
    command = [sys.executable, "-m", "dpaudit", "train-references", str(recipe_file), "--worker"]
    command += ["--out", str(tmp_path / "none"), *(part for setting in settings for part in ("--set", setting))]
    references = audit_references(opened(*settings))
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        while not times(pool, "*/work") and worker.poll() is None:
            time.sleep(0.01)
        done = wait_for(references, Silent())
        said, errors = worker.communicate()
    theirs = re.findall("^train reference-.*: done$", errors, re.MULTILINE)
    assert worker.returncode == 0
    assert len(set(theirs)) == len(theirs) == 6 - done
    assert min(done, len(theirs)) > 0
    assert said.endswith("of 6 are in the pool\n")
    assert all(each.entry.trained for each in references)
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_several_processes_make_what_one_makes(opened: Opened, pool: Path) -> None:
    audit = opened(*ALONE, "references.count=2", folder="several").with_executor(Executor(jobs=2))
    advance(audit, "train")
    several = weights(audit)
    assert len(times(pool, "*/model.safetensors")) == 2
    for reference in audit_references(audit):
        reference.entry.forget()
    alone = opened(*ALONE, "references.count=2", folder="alone").with_executor(Executor(jobs=1))
    advance(alone, "train")
    assert max(abs(a[name] - b[name]).max() for a, b in zip(several, weights(alone), strict=True) for name in a) < 1e-5


@pytest.mark.usefixtures("pool")
def test_an_attack_learns_whom_references_hold_and_nothing_of_the_target(opened: Opened) -> None:
    audit = opened("references.count=2")
    advance(audit, "train")
    pairs = views(audit, "pool", Silent())
    assert (pairs[0][1] ^ pairs[1][1]).all()
    coins = np.load(audit.path / "target-00/sealed/coins.npz", allow_pickle=False)["heads/pool"]
    assert not np.array_equal(pairs[0][1], coins)
    assert not any(str(audit.path) in repr(vars(target)) for target, _ in pairs)
    with pytest.raises(Exception, match="final weights"):
        pairs[0][0].weights()


@pytest.mark.usefixtures("pool")
def test_bad_use_is_refused(opened: Opened, recipe_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"references\.count = 0: expected at least 1"):
        dpaudit.train_references(recipe_file, overrides=["references.count=0", "attacks=[loss]"])
    with pytest.raises(
        InputError, match=r"references\.count = 0: expected at least 2, which reference_difference-pool needs"
    ):
        advance(opened("references.count=0"), "plan")
    with pytest.raises(InputError, match="--jobs = 0"):
        Executor(jobs=0)
    start = "start={pretrain: {data: {name: procedural, size: 40}, batch_size: 8, steps: 2}}"
    with pytest.raises(InputError, match="start = 'not made yet'"):
        dpaudit.train_references(recipe_file, out=tmp_path / "new", overrides=[start])
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DPAUDIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="DPAUDIT_CACHE"):
        dpaudit.train_references(recipe_file, worker=True)
