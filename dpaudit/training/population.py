"""Who could be in a run: records and inserted canaries, all fixed by the recipe before any coin is drawn."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, get_args

import numpy as np

from dpaudit.canaries import InputKind
from dpaudit.data.annotations import check_complete
from dpaudit.data.cached import Cached
from dpaudit.data.examples import concatenate
from dpaudit.data.input_canaries import READS, make_canaries
from dpaudit.data.pairs import Pairs
from dpaudit.data.split import Split, split
from dpaudit.data.with_canaries import WithCanaries
from dpaudit.discovery import configure, find
from dpaudit.errors import InputError
from dpaudit.plugins import Classifies

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples
    from dpaudit.plugins import Dataset, Trainer
    from dpaudit.recipes.located import Where
    from dpaudit.recipes.recipe import LoadedRecipe, PlugInEntry, Recipe
    from dpaudit.rng import Rng

__all__ = [
    "Population",
    "Sizes",
    "check_image_size",
    "data_fingerprint",
    "open_dataset",
    "populate",
    "sized",
    "sizes",
    "sizes_of",
]

_READ_BEFOREHAND, _CHUNK = 100_000, 1024


@dataclass(frozen=True, kw_only=True)
class Population:
    """The data set with its inserted records, and the roles of all ids.

    universe: every record that could be in a target run, members or not, in a public fixed order. inputs: the inserted
    records, (m,); replaced: the records of the pool whose place they take, (m,).
    """

    data: Dataset
    split: Split
    inputs: NDArray[np.str_]
    replaced: NDArray[np.str_]
    classes: tuple[str, ...] | None

    @property
    def universe(self) -> NDArray[np.str_]:
        """Return training-only records, then the audit pool, then the inserted records, (N,)."""
        return np.concatenate([self.split.train, self.split.pool, self.inputs])

    def places(self) -> NDArray[np.int64]:
        """Return each record's place when the universe is read in the data set's own order, (N,)."""
        stored = self.data.ids()
        by_id = np.argsort(stored)
        ids = np.concatenate([self.split.train, self.split.pool, self.replaced])
        found = by_id[np.searchsorted(stored, ids, sorter=by_id)]
        return np.argsort(np.argsort(found))

    def read_through(self, read: frozenset[str]) -> None:
        """Decode every record once (the first 100,000 of a larger set), so that a corrupt one is named beforehand.

        read: what the trainer reads of a record; one without it is named as well.
        """
        used = np.concatenate([self.universe, self.split.probe_train, self.split.probe_test])[:_READ_BEFOREHAND]
        for start in range(0, len(used), _CHUNK):
            check_complete(self.data[used[start : start + _CHUNK]], read)

    def candidate_ids(self) -> dict[str, NDArray[np.str_]]:
        """Return the ids of the families that are records; gradient families are the step's."""
        families = {"pool": self.split.pool, "inputs": self.inputs}
        return {family: ids for family, ids in families.items() if len(ids)}

    def members(self, coins: dict[str, dict[str, bool]]) -> NDArray[np.bool_]:
        """Return who of the universe is in, (N,), given the coins of each family: id -> in."""
        tossed = {identity: heads for family in coins.values() for identity, heads in family.items()}
        sure = np.ones(len(self.split.train), dtype=np.bool_)
        rest = np.concatenate([self.split.pool, self.inputs])
        return np.concatenate(
            [sure, np.array([tossed.get(identity, False) for identity in rest.tolist()], dtype=np.bool_)]
        )


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How many records could be in a target run, and how many of them are candidates, by family."""

    universe: int
    candidates: dict[str, int]


def sizes(loaded: LoadedRecipe) -> Sizes:
    """Return the sizes of the population that `populate` makes; neither a trainer nor an image is needed for it."""
    data = loaded.recipe.data
    available = len(_records(loaded, 1))
    if data.expected_size not in (None, available):
        raise loaded.where.refusal("data.expected_size", data.expected_size, f"{available}, the records that there are")
    return sizes_of(loaded, available)


def sizes_of(loaded: LoadedRecipe, available: int) -> Sizes:
    """Return the sizes of the population of a recipe whose data set has so many records; it need not be there."""
    data = loaded.recipe.data
    parts, inserted = data.split, _inserted(loaded)
    probes = parts.probe_train + parts.probe_test
    if parts.audit_pool + probes > available:
        raise loaded.where.refusal("data.split", parts.audit_pool + probes, f"at most {available} records in all")
    counts = {"pool": parts.audit_pool - inserted, "inputs": inserted}
    return Sizes(
        universe=min(available, data.limit or available) - probes,
        candidates={family: count for family, count in counts.items() if count},
    )


def open_dataset(loaded: LoadedRecipe, image_size: int) -> Dataset:
    """Return the recipe's data set, its images decoded at the size that the trainer takes."""
    entry, where = loaded.recipe.data, loaded.where.at("data")
    check_image_size(entry, where, image_size)
    return _records(loaded, image_size)


def check_image_size(entry: PlugInEntry, where: Where, image_size: int) -> None:
    """Raise InputError where an entry of a data set asks for another image size than the trainer's."""
    asked = entry.options.get("image_size")
    if asked not in (None, image_size):
        raise where.refusal("image_size", asked, f"{image_size}, the size that the trainer takes")


def data_fingerprint(loaded: LoadedRecipe) -> str:
    """Return a hash that changes when the data changes; neither a trainer nor an image is needed for it."""
    return _records(loaded, 1).fingerprint()


def _records(loaded: LoadedRecipe, image_size: int) -> Dataset:
    """Return the records of a recipe: those of its data set, or pairs of them."""
    data = sized(loaded.recipe.data, loaded.where.at("data"), image_size)
    return data if loaded.recipe.data.pairs is None else Pairs(data)


def sized(entry: PlugInEntry, where: Where, image_size: int) -> Dataset:
    """Return the data set of an entry, at this image size where it has such an option."""
    takes_size = "image_size" in {field.name for field in fields(find("datasets", entry, where))}
    asked = entry.model_copy(update={"image_size": image_size}) if takes_size else entry
    return configure("datasets", asked, where)


def populate(loaded: LoadedRecipe, dataset: Dataset, trainer: Trainer, rng: Rng) -> Population:
    """Return the roles of all records. `rng` is public: it decides roles, never membership."""
    recipe = loaded.recipe
    _check_modality(loaded, trainer)
    _check_classes(loaded, dataset, trainer)
    parts, inserted = recipe.data.split, _inserted(loaded)
    roles = split(
        dataset,
        rng.child("split"),
        train=_training_only(recipe, len(dataset)),
        pool=parts.audit_pool,
        probe_train=parts.probe_train,
        probe_test=parts.probe_test,
    )
    sources, roles = roles.pool[:inserted], replace(roles, pool=roles.pool[inserted:])
    cached = Cached(dataset)
    canaries = _canaries(loaded, cached, sources, trainer, rng.child("canaries"))
    data: Dataset = cached if canaries is None else WithCanaries(cached, canaries)
    inputs = np.array([], dtype=np.str_) if canaries is None else canaries.ids
    return Population(data=data, split=roles, inputs=inputs, replaced=sources, classes=dataset.classes)


def _inserted(loaded: LoadedRecipe) -> int:
    inserted, pool = sum(_kinds(loaded.recipe).values()), loaded.recipe.data.split.audit_pool
    if inserted > pool:
        expected = f"at most the audit pool ({pool} records): each inserted record takes the place of one"
        raise loaded.where.refusal("canaries.inputs", inserted, expected)
    return inserted


def _training_only(recipe: Recipe, size: int) -> int | None:
    """Return how many records are trained on without a coin: None = all that are left."""
    limit, parts = recipe.data.limit, recipe.data.split
    if limit is None or limit >= size:
        return None
    return limit - parts.audit_pool - parts.probe_train - parts.probe_test


def _canaries(
    loaded: LoadedRecipe, dataset: Dataset, sources: NDArray[np.str_], trainer: Trainer, rng: Rng
) -> Examples | None:
    made = {
        kind: make_canaries(kind, count, dataset, sources, rng.child(kind))
        for kind, count in _kinds(loaded.recipe).items()
        if count
    }
    if "gradient_max" in made:
        from dpaudit.training.crafted import with_large_gradients  # noqa: PLC0415 (imports torch)

        try:
            made["gradient_max"] = with_large_gradients(trainer, made["gradient_max"], rng.child("gradient_max"))
        except InputError as error:
            raise loaded.where.refusal("canaries.inputs.gradient_max", error.value, error.expected) from None
    return concatenate(list(made.values())) if made else None


def _kinds(recipe: Recipe) -> dict[InputKind, int]:
    asked = recipe.canaries.inputs
    return {kind: getattr(asked, kind) for kind in get_args(InputKind)}


def _check_classes(loaded: LoadedRecipe, dataset: Dataset, trainer: Trainer) -> None:
    if "label" not in trainer.modality:
        return
    name, where = loaded.recipe.trainer.name, loaded.where
    if dataset.classes is None:
        raise where.refusal("data.name", loaded.recipe.data.name, f"data with labels: {name} learns from them")
    if isinstance(trainer, Classifies) and trainer.classes < len(dataset.classes):
        expected = f"at least {len(dataset.classes)}, the classes of the data"
        raise where.refusal("trainer.classes", trainer.classes, expected)


def _check_modality(loaded: LoadedRecipe, trainer: Trainer) -> None:
    for kind, part in READS.items():
        count = _kinds(loaded.recipe)[kind]
        if count and part not in trainer.modality:
            expected = f"0: this trainer never reads a record's {part}, so such a canary would be an ordinary record"
            raise loaded.where.refusal(f"canaries.inputs.{kind}", count, expected)
