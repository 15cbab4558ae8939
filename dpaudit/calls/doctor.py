"""Self-tests in seconds: the installation, and the parts that every number rests on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from dpaudit.accounting.accountant import guarantees
from dpaudit.bounds.family import gaussian_family
from dpaudit.bounds.guesses import Guesses, guess
from dpaudit.bounds.max_p import PlannedTest, max_p_bound
from dpaudit.bounds.one_run_fdp import FdpRecursion
from dpaudit.data.annotations import check_complete
from dpaudit.data.examples import Examples, concatenate
from dpaudit.discovery import available, configure
from dpaudit.dp.devices import device_of, devices, in_words, one_thread
from dpaudit.dp.engines import engine
from dpaudit.dp.noise import gaussian_like
from dpaudit.environment import environment
from dpaudit.errors import DpauditError, InputError
from dpaudit.mechanism import Mechanism
from dpaudit.plugins import PerExampleTrainer
from dpaudit.recipes.recipe import PlugInEntry, built_in_recipes, load_recipe
from dpaudit.rng import Rng
from dpaudit.scores import LabelledScores
from dpaudit.training.population import open_dataset
from dpaudit.training.rehearsal import Rehearsal
from dpaudit.training.sensitivity import premises_before_training

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor, nn

    from dpaudit.dp.tensors import Batch
    from dpaudit.mechanism import Adjacency

__all__ = ["Finding", "examine"]

_READ = 8


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found."""

    check: str
    fine: bool
    finding: str


def examine(recipe: str = "dp-cap-micro", adjacencies: Sequence[Adjacency] = ("add-remove",)) -> list[Finding]:
    """Return what every check found, in order; recipe: whose data are read, adjacencies: those that are replayed."""
    checks: tuple[Callable[[], Finding], ...] = (_bounds, _null, _accountants, _noise, _clipping)
    beginning = (_versions(), _devices(), _plug_ins(), _data(recipe))
    return [*beginning, *(check() for check in checks), *_trainers(adjacencies)]


def _versions() -> Finding:
    facts = environment()
    text = f"Python {facts['python']}, torch {facts['torch']}, {torch.get_num_threads()} threads"
    return Finding(check="installation", fine="not installed" not in facts.values(), finding=text)


def _devices() -> Finding:
    text = f"{', '.join(in_words(device) for device in devices())}; auto is {device_of('auto')}"
    return Finding(check="devices", fine=True, finding=text)


def _plug_ins() -> Finding:
    found = [plug_in for group in ("datasets", "trainers", "attacks", "probes") for plug_in in available(group)]
    broken = [f"{plug_in.name} ({plug_in.broken})" for plug_in in found if plug_in.broken is not None]
    text = f"{len(found)} found, {len(broken)} broken{': ' + '; '.join(broken) if broken else ''}"
    return Finding(check="plug-ins", fine=not broken, finding=text)


def _data(recipe: str) -> Finding:
    """Read a few records of a recipe's data together, and one by one in the opposite order."""
    loaded = load_recipe(recipe)
    try:
        trainer = configure("trainers", loaded.recipe.trainer, loaded.where.at("trainer"))
        data = open_dataset(loaded, trainer.image_size)
        ids = data.ids()
        asked = ids[np.linspace(0, len(ids) - 1, num=min(_READ, len(ids)), dtype=np.int64)]
        together = data[asked]
        check_complete(together, trainer.modality)
        alone = concatenate([data[asked[place : place + 1]] for place in range(len(asked))[::-1]])
    except DpauditError as error:
        return Finding(check="data", fine=False, finding=str(error))
    wrong = [] if len(np.unique(ids)) == len(ids) == len(data) else ["ids that are not unique"]
    if not _same(together, alone.take(np.arange(len(asked))[::-1])):
        wrong.append("records that depend on what else is read")
    found = ", ".join(wrong) or "the same in any order"
    text = f"{loaded.recipe.data.name}: {len(asked)} of {len(ids):,} records read, {found}"
    return Finding(check="data", fine=not wrong, finding=text)


def _same(first: Examples, second: Examples) -> bool:
    captions = first.captions == second.captions
    labels = first.labels is None or second.labels is None or bool(np.array_equal(first.labels, second.labels))
    return captions and labels and bool(np.array_equal(first.images, second.images))


def _bounds() -> Finding:
    planned = PlannedTest(test=FdpRecursion(), family=gaussian_family(delta=1e-5), confidence=0.95)
    run = Guesses(canaries=1000, guesses=150, correct=147)
    epsilon = max_p_bound(planned, [run], strategy="fixed").epsilon
    return Finding(
        check="bound",
        fine=abs(epsilon - 4.734) < 0.01,
        finding=f"147 of 150 right gives {epsilon:.3f} (4.734 is known)",
    )


def _null(audits: int = 400) -> Finding:
    """Pure noise must be claimed to leak in at most alpha of the audits: four deviations above 5 % is an alarm."""
    planned = PlannedTest(test=FdpRecursion(), family=gaussian_family(delta=1e-5), confidence=0.95)
    rng, claims = np.random.default_rng(0), 0
    for _ in range(audits):
        labelled = LabelledScores(scores=rng.normal(size=500), member=rng.random(500) < 0.5)
        run = guess(labelled, guesses_in=50, guesses_out=50)
        claims += planned.test.refutes(planned.family.curve(planned.family.private), run, planned.level(1))
    limit = audits * 0.05 + 4 * math.sqrt(audits * 0.05 * 0.95)
    return Finding(
        check="bound on noise", fine=claims <= limit, finding=f"{claims} of {audits} audits of noise claim a leak"
    )


def _accountants() -> Finding:
    mechanism = Mechanism(
        sampling="full",
        adjacency="add-remove",
        noise_multiplier=1.0,
        sampling_rate=1.0,
        steps=1,
        clip_norm=1.0,
        batch_size=1,
        dataset_size=1,
    )
    epsilon = next(answer.epsilon for answer in guarantees(mechanism, 1e-5) if answer.epsilon is not None)
    fine = abs(epsilon - 4.377178) < 0.03
    return Finding(check="accountant", fine=fine, finding=f"Gaussian, sigma 1: {epsilon:.3f} (4.377 is exact)")


def _noise(count: int = 1_000_000) -> Finding:
    std, rng = 1.7, Rng.from_system()
    drawn = gaussian_like(torch.zeros(count), std, rng.child("doctor")).double()
    ratio = float((drawn / std).square().sum()) / count
    fine = abs(ratio - 1) < 5 * math.sqrt(2 / count)
    return Finding(check="noise", fine=fine, finding=f"measured variance / declared: {ratio:.4f}")


def _clipping() -> Finding:
    model = torch.nn.Linear(6, 1)
    rng = np.random.default_rng(0)
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(rng.normal(size=(1, 6))))
        model.bias.zero_()
    batch = {"x": torch.from_numpy(rng.normal(size=(9, 6)).astype(np.float32))}
    fast, slow = (engine(name)(model, _square, batch, 0.5) for name in ("bookkeeping", "loop"))
    errors = [float((fast.gradients[name] - slow.gradients[name]).abs().max()) for name in slow.gradients]
    largest = max(float(gradient.abs().max()) for gradient in slow.gradients.values())
    return Finding(
        check="clipping", fine=max(errors) <= 1e-5 * largest, finding=f"differs from the loop by {max(errors):.1e}"
    )


def _trainers(adjacencies: Sequence[Adjacency]) -> Iterator[Finding]:
    """Yield whether each trainer's declared sensitivity survives record and replay, in its smallest size."""
    for plug_in in available("trainers"):
        if plug_in.broken is None:
            with one_thread():
                status, text = _replayed(plug_in.name, adjacencies)
            yield Finding(check=f"sensitivity of {plug_in.name}", fine=status in ("held", "unknown"), finding=text)


def _replayed(name: str, adjacencies: Sequence[Adjacency]) -> tuple[str, str]:
    """Return the status and the evidence of the adjacency under which a trainer does worst, of those it declares.

    One record after the other: with six tiny ones that is the cheapest engine, and the plainest.
    """
    try:
        entry, channels = _smallest(name)
        trainer = configure("trainers", entry)
    except InputError as error:
        return "unknown", f"not replayed, it has no default options ({error})"
    rehearsal = Rehearsal(trainer=trainer, clip_norm=1.0, engine=engine("loop"), rng=Rng.from_seed(0))
    found: list[tuple[str, str]] = []
    try:
        model = trainer.build(rehearsal.rng.child("model"))
    except Exception as error:  # a stranger's plug-in may raise anything, and must not hide what the others are
        return "broken", f"it builds no model: {type(error).__name__}: {error}"
    for adjacency in adjacencies:
        try:
            rehearsal.declared(adjacency, 1.0)
        except InputError:
            continue
        sensitivity, _, *worst_case = premises_before_training(
            rehearsal, _records(trainer.image_size, channels), adjacency, model
        )
        found += [(premise.status, f"{adjacency}: {premise.evidence}") for premise in (sensitivity, *worst_case)]
        if isinstance(trainer, PerExampleTrainer):
            break  # what one record more can do bounds the other two
    worst_first = ("violated", "unknown", "held")
    return min(found, key=lambda each: worst_first.index(each[0]), default=("unknown", "it declares no sensitivity"))


def _smallest(name: str) -> tuple[PlugInEntry, int]:
    """Return a trainer as the built-in recipe NAME-micro has it, else by its defaults; and the channels of a record.

    A pair of images has six.
    """
    if f"{name}-micro" not in built_in_recipes():
        return PlugInEntry(name=name), 3
    recipe = load_recipe(f"{name}-micro").recipe
    return recipe.trainer, 3 if recipe.data.pairs is None else 6


def _records(side: int, channels: int) -> Examples:
    """Return two records with everything that a trainer may read."""
    pixels = np.random.default_rng(0).integers(0, 256, size=(2, channels, side, side), dtype=np.uint8)
    captions = ("a small red circle", "a large blue square above a green triangle")  # words of `scenes` as well
    return Examples(ids=np.array(["doctor:0", "doctor:1"]), images=pixels, captions=captions, labels=np.array([0, 1]))


def _square(model: nn.Module, batch: Batch) -> Tensor:
    result: Tensor = model(batch["x"]).squeeze(-1).square()
    return result
