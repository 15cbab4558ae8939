"""What `--dry-run` says: size of the model, privacy, memory and hours of a recipe, before any data are touched."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dpaudit.accounting.accountant import guarantees
from dpaudit.dp.tensors import trainable
from dpaudit.errors import InputError
from dpaudit.optimisation import Weights
from dpaudit.pipeline.pace import earlier_pace, measured_pace, measured_public_pace
from dpaudit.pipeline.promises import recipe_mechanism, recipe_promise
from dpaudit.pipeline.whole_batches import check_whole_batches, remarked
from dpaudit.plugins import PerExampleTrainer
from dpaudit.results import Guarantee, Promise, Value
from dpaudit.training.footprint import activation_bytes, model_bytes, optimizer_bytes, shapes_only
from dpaudit.training.learner import Learner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from dpaudit.mechanism import Mechanism
    from dpaudit.pipeline.audit import Audit
    from dpaudit.pipeline.pace import Pace
    from dpaudit.progress import Progress
    from dpaudit.recipes.recipe import Pretrain, Recipe
    from dpaudit.training.declared import AnyTrainer

__all__ = ["Forecast", "Memory", "StageForecast", "forecast"]

_HOW = (
    "an estimate: weights, optimizer state and moving average exactly; gradients twice the trained weights, three "
    "times where micro-batches are added up; activations as what torch keeps of a record for its backward pass, "
    "counted on the meta device, twice for the book-keeping engine, times the records of a pass; data, traces and "
    "buffers come on top"
)


class Memory(Value):
    """Bytes that one process needs while it trains.

    weights, optimizer, gradients, average: of the whole model. per_record: activations of each of the `records` of one
    pass. per_record and total are None where the losses cannot be traced without numbers.
    """

    weights: int
    optimizer: int
    gradients: int
    average: int
    per_record: int | None
    records: int
    total: int | None
    how: str = _HOW


class StageForecast(Value):
    """One training. records: that can be drawn, None if not known; hours: of one run, None if not known."""

    name: str
    times: int
    steps: int
    batch_size: int
    records: int | None
    memory: Memory
    hours: float | None = None
    source: str = ""


class Forecast(Value):
    """A recipe before anything is done. parameters: all; trained: by a private step; parts: by module of the model.

    attacks: their labels; they were made with their options, and not yet held against the data.
    """

    recipe: str
    trainer: str
    parameters: int
    trained: int
    parts: dict[str, int]
    promise: Promise
    guarantees: tuple[Guarantee, ...]
    attacks: tuple[str, ...] = ()
    stages: tuple[StageForecast, ...]

    @property
    def mechanism(self) -> Mechanism:
        """Return the mechanism of every target."""
        return self.promise.mechanism


def forecast(audit: Audit, progress: Progress, *, measure: bool = False) -> Forecast:
    """Return what a recipe would cost and promise. Nothing is written.

    The model is built without numbers, on any machine. The data are only counted, or not even that where the recipe
    says `data.expected_size`. measure: time a few real steps, which needs data and a model that fits.
    """
    check_whole_batches(audit)
    recipe, model = audit.recipe, shapes_only(audit.trainer, audit.recipe.trainer.name)
    mechanism = recipe_mechanism(audit.loaded, _universe(audit))
    promise = remarked(audit, recipe_promise(audit.loaded, mechanism))
    with progress.task("account", 1) as task:
        promised = () if promise.kind == "none" else guarantees(mechanism, promise.delta)
        task.advance(1)
    each = _Forecaster(
        audit=audit,
        trainer=audit.trainer,
        model=model,
        kept=_kept(audit.trainer, model),
        measure=measure,
        progress=progress,
    )
    return Forecast(
        recipe=recipe.name,
        trainer=recipe.trainer.name,
        parameters=_count(model),
        trained=sum(parameter.numel() for parameter in trainable(model).values()),
        parts={name: _count(child) for name, child in model.named_children()},
        promise=promise,
        guarantees=promised,
        attacks=_attacks(audit),
        stages=tuple(_stages(each, mechanism)),
    )


def _attacks(audit: Audit) -> tuple[str, ...]:
    """Return the labels of the recipe's attacks; InputError where one cannot be made of its options."""
    for named in audit.attacks:
        audit.attack(named)
    return tuple(named.label for named in audit.attacks)


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _universe(audit: Audit) -> int:
    """Return how many records can be in a run: counted, or as the recipe says."""
    try:
        return audit.before_data().sizes.universe
    except InputError as error:
        if audit.recipe.data.expected_size is not None:
            raise
        hint = f"{error.expected}; or give data.expected_size, for a dry run without the data"
        raise audit.loaded.where.refusal(error.field.replace(" ", "."), error.value, hint) from error


@dataclass(frozen=True, kw_only=True)
class _Forecaster:
    """Looks ahead at each stage of one recipe. kept: activations per record of an ordinary pass, in bytes."""

    audit: Audit
    trainer: AnyTrainer
    model: nn.Module
    kept: int | None
    measure: bool
    progress: Progress

    def first(self) -> _Forecaster:
        """Return the same for the trainer of the weights of step 0, which may be another."""
        trainer, start = self.audit.first_trainer, self.audit.recipe.start
        if start is None or start.trainer is None:
            return self
        model = shapes_only(trainer, start.trainer.name)
        return replace(self, trainer=trainer, model=model, kept=_kept(trainer, model))

    def public(self, settings: Pretrain) -> StageForecast:
        """Return what the stage on public data takes."""
        audit = self.audit
        recipe = audit.recipe.model_copy(update={"optimizer": settings.optimizer, "weights": Weights()})
        pace = measured_public_pace(audit, settings, self.progress) if self.measure else None
        together = min(settings.batch_size, recipe.privacy.physical_batch_size)
        return StageForecast(
            name=f"public stage ({settings.data.name})",
            times=1,
            steps=settings.steps,
            batch_size=settings.batch_size,
            records=settings.data.options.get("size"),
            memory=self._memory(recipe, gradients=2, records=together, per_record=self.kept),
            **_hours(pace),
        )

    def private(self, mechanism: Mechanism) -> StageForecast:
        """Return what each run takes."""
        audit, settings = self.audit, self.audit.recipe.privacy
        measured = self.measure
        pace = measured_pace(audit, mechanism, self.progress) if measured else earlier_pace(audit, mechanism)
        together = min(mechanism.batch_size, settings.physical_batch_size)
        gradients, records = (3 if mechanism.batch_size > together else 2), together
        if not isinstance(audit.trainer, PerExampleTrainer):
            records = mechanism.batch_size
        per_record = None if self.kept is None else self.kept * settings.augmentations
        if per_record is not None and mechanism.is_clipped:
            trained = model_bytes(self.model, trained=True)
            per_record = 2 * per_record if settings.engine == "bookkeeping" else per_record + trained
            records = 1 if settings.engine == "loop" else records
        return StageForecast(
            name="private training",
            times=len(audit.targets) + len(audit.references),
            steps=mechanism.steps,
            batch_size=mechanism.batch_size,
            records=mechanism.dataset_size,
            memory=self._memory(audit.recipe, gradients=gradients, records=records, per_record=per_record),
            **_hours(pace),
        )

    def _memory(self, recipe: Recipe, *, gradients: int, records: int, per_record: int | None) -> Memory:
        learner = Learner.of(recipe, self.trainer, recipe.privacy.steps, self.model)
        parts = {
            "weights": model_bytes(self.model),
            "optimizer": optimizer_bytes(learner.optimizer),
            "gradients": gradients * model_bytes(self.model, trained=True),
            "average": 0 if learner.average is None else model_bytes(self.model),
        }
        total = None if per_record is None else sum(parts.values()) + records * per_record
        return Memory(**parts, per_record=per_record, records=records, total=total)


def _stages(each: _Forecaster, mechanism: Mechanism) -> Iterator[StageForecast]:
    start = each.audit.recipe.start
    if start is not None and start.pretrain is not None:
        yield each.first().public(start.pretrain)
    yield each.private(mechanism)


def _kept(trainer: AnyTrainer, model: nn.Module) -> int | None:
    if not isinstance(trainer, PerExampleTrainer):
        return None  # what a record keeps depends on how many there are
    try:
        return activation_bytes(trainer, model)
    except (RuntimeError, NotImplementedError, InputError):  # losses that read numbers, or a tokenizer that is not here
        return None


def _hours(pace: Pace | None) -> dict[str, Any]:
    return {} if pace is None else {"hours": pace.hours, "source": pace.source}
