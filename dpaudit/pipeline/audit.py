"""One audit in its folder: recipe, plug-ins and runs, each opened when first needed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from dpaudit.canaries import STEP_FAMILIES
from dpaudit.discovery import configure
from dpaudit.errors import InputError
from dpaudit.executors import Executor
from dpaudit.mechanism import Mechanism
from dpaudit.recipes.recipe import AttackEntry, said
from dpaudit.results import Plan, Promise, Value
from dpaudit.rng import Rng
from dpaudit.runs import RunFolder, content_key, read_json
from dpaudit.training.population import data_fingerprint, open_dataset, populate, sizes, sizes_of
from dpaudit.training.public_data import open_public, start_fingerprint

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from dpaudit.plugins import Attack, Dataset, Needs
    from dpaudit.recipes.recipe import LoadedRecipe, Recipe
    from dpaudit.training.declared import AnyTrainer
    from dpaudit.training.job import Job
    from dpaudit.training.population import Population, Sizes

__all__ = ["Audit", "NamedAttack", "Planned"]


class Planned(Value):
    """plan.json: everything that was fixed before the first secret was drawn."""

    mechanism: Mechanism
    promise: Promise
    plans: tuple[Plan, ...]
    more_runs: tuple[Plan, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NamedAttack:
    """One attack of an audit. exploratory: it was not in the recipe, so it never decides."""

    entry: AttackEntry
    field: str
    exploratory: bool

    @property
    def label(self) -> str:
        """Return the name of its score table."""
        return self.entry.label


@dataclass(frozen=True)
class Audit:
    """What every stage is given. Reading `trainer`, `device` or a job imports torch; the rest does not.

    asked_device: where this call computes, in place of the recipe's device. executor: where it trains references.
    """

    folder: RunFolder
    loaded: LoadedRecipe
    asked_device: str | None = None
    executor: Executor = field(default_factory=Executor)
    foreseen: bool = False

    @property
    def recipe(self) -> Recipe:
        """Return the recipe."""
        return self.loaded.recipe

    @property
    def path(self) -> Path:
        """Return the folder's path."""
        return self.folder.path

    @cached_property
    def fingerprint(self) -> str:
        """Return the data set's fingerprint, without decoding an image."""
        return data_fingerprint(self.loaded)

    @cached_property
    def start_fingerprint(self) -> str | None:
        """Return the fingerprint of what the weights of step 0 are made from; None where they are drawn."""
        return start_fingerprint(self.loaded)

    @cached_property
    def key(self) -> str:
        """Return the hash of all that a trained run and its attacks depend on.

        Without defaults, so that a field that a later dpaudit adds changes nothing; a changed default is told before.
        """
        anywhere = self.recipe.compute.model_copy(update={"device": "auto"})
        recipe = said(self.recipe.model_copy(update={"compute": anywhere}), exclude={"report"})
        return content_key("dpaudit", 2, recipe, self.fingerprint, self.start_fingerprint)

    @property
    def start_key(self) -> str:
        """Return the hash of all that the weights of step 0 and what is known of them depend on."""
        whole = said(self.recipe, include={"seed", "trainer", "start"})
        how = (self.recipe.privacy.physical_batch_size, self.recipe.compute.precision)
        return content_key("start", 2, whole, *how, self.fingerprint, self.start_fingerprint)

    @property
    def start(self) -> Path | None:
        """Return the file with the weights of step 0 that all runs share; None where each run draws its own."""
        return None if self.recipe.start is None else self.path / "start" / "model.safetensors"

    @property
    def public(self) -> Rng:
        """Return the public randomness of the recipe's seed: roles, initial weights, fixed masks."""
        return Rng.from_seed(self.recipe.seed)

    @cached_property
    def trainer(self) -> AnyTrainer:
        """Return the trainer."""
        return configure("trainers", self.recipe.trainer, self.loaded.where.at("trainer"))

    @cached_property
    def device(self) -> torch.device:
        """Return where this call computes; InputError where there is no such device."""
        from dpaudit.dp.devices import device_of  # noqa: PLC0415 (imports torch)

        try:
            return device_of(self.asked_device or self.recipe.compute.device)
        except InputError as error:
            if self.asked_device is not None:
                raise InputError("--device", error.value, error.expected) from None
            expected = f"{error.expected}; --device computes elsewhere"
            raise self.loaded.where.refusal(error.field, error.value, expected) from None

    @cached_property
    def dataset(self) -> Dataset:
        """Return the data set, its images decoded at the trainer's size."""
        return open_dataset(self.loaded, self.trainer.image_size)

    @cached_property
    def first_trainer(self) -> AnyTrainer:
        """Return the trainer of the weights of step 0: the recipe's, or the other one that `start` names."""
        start = self.recipe.start
        if start is None or start.trainer is None:
            return self.trainer
        return configure("trainers", start.trainer, self.loaded.where.at("start.trainer"))

    @cached_property
    def public_data(self) -> Dataset:
        """Return the data set of the public stage, its images decoded at its trainer's size."""
        return open_public(self.loaded, self.first_trainer.image_size)

    @cached_property
    def population(self) -> Population:
        """Return who could be in a run."""
        return populate(self.loaded, self.dataset, self.trainer, self.public.child("population"))

    @cached_property
    def sizes(self) -> Sizes:
        """Return how large the population is, without a trainer."""
        expected = self.recipe.data.expected_size
        return sizes(self.loaded) if expected is None or not self.foreseen else sizes_of(self.loaded, expected)

    @cached_property
    def planned(self) -> Planned:
        """Return what the plan stage fixed."""
        return Planned.model_validate(read_json(self.path / "plan.json"))

    @property
    def earlier_trainings(self) -> int:
        """Return how many targets were trained on the same data in this folder before it was begun afresh."""
        return int(read_json(self.path / "audit.json").get("earlier trainings", 0))

    def with_report(self, *, public: bool) -> Audit:
        """Return the same audit whose report is public or not; nothing else of the recipe changes."""
        shown = self.recipe.report.model_copy(update={"public": public})
        recipe = self.recipe.model_copy(update={"report": shown})
        return replace(self, loaded=replace(self.loaded, recipe=recipe))

    def before_data(self) -> Audit:
        """Return the same audit for looking ahead: data whose size the recipe says are not opened."""
        return replace(self, foreseen=True)

    def with_executor(self, executor: Executor) -> Audit:
        """Return the same audit, its references trained there."""
        return replace(self, executor=executor)

    @property
    def targets(self) -> tuple[str, ...]:
        """Return the names of the runs that are audited."""
        return tuple(f"target-{index:02d}" for index in range(self.recipe.runs.count))

    @property
    def references(self) -> tuple[str, ...]:
        """Return the names of the runs that calibrate."""
        return tuple(f"reference-{index:02d}" for index in range(self.recipe.references.count))

    @cached_property
    def attacks(self) -> tuple[NamedAttack, ...]:
        """Return the recipe's attacks, then the exploratory ones in the order they were asked for."""
        planned = [
            NamedAttack(entry=entry, field=f"attacks.{index}", exploratory=False)
            for index, entry in enumerate(self.recipe.attacks)
        ]
        path = self.path / "exploratory.json"
        asked = read_json(path) if path.exists() else []
        later = [
            NamedAttack(entry=AttackEntry.model_validate(entry), field="--attack", exploratory=True) for entry in asked
        ]
        return (*planned, *later)

    def attack(self, named: NamedAttack) -> Attack:
        """Return the configured plug-in of an attack."""
        return configure("attacks", named.entry, self.loaded.where.at(named.field))

    def job(self, name: str, mechanism: Mechanism | None = None) -> Job:
        """Return what a run is made of."""
        from dpaudit.training.job import Job  # noqa: PLC0415 (imports torch)

        return Job(
            run=self.path / name,
            role="target" if name in self.targets else "reference",
            recipe=self.recipe,
            mechanism=mechanism or self.planned.mechanism,
            trainer=self.trainer,
            population=self.population,
            public=self.public,
            start=self.start,
            device=self.device,
        )

    def family(self, named: NamedAttack, needs: Needs, placed: tuple[str, ...]) -> str | None:
        """Return the candidates that an attack scores: the recipe's choice, or the first it knows that the run has.

        None when a run that clips nothing has none of them: gradient canaries and coins of steps need a clip norm.
        """
        present = (*placed, *self.sizes.candidates)
        wanted = (named.entry.family,) if named.entry.family else needs.families
        for family in wanted:
            if family in needs.families and family in present:
                return family
        virtual = {"block", "coordinates"} | STEP_FAMILIES
        if not placed and set(wanted) <= virtual and self.recipe.privacy.epsilon == float("inf"):
            return None
        expected = (
            f"a run with candidates of {' or '.join(needs.families)} (this one has: {', '.join(present) or 'none'})"
        )
        raise InputError(f"{named.field} ({named.label}).family", " or ".join(wanted), expected)
