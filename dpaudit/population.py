"""Who could be in a run: records and inserted canaries, all fixed by the recipe before any coin is drawn."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.data.cached import Cached
from dpaudit.data.examples import concatenate
from dpaudit.data.input_canaries import make_canaries
from dpaudit.data.split import Split, split
from dpaudit.data.with_canaries import WithCanaries
from dpaudit.discovery import configure, find

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.canaries import InputKind
    from dpaudit.data.examples import Examples
    from dpaudit.plugins import Dataset, Trainer
    from dpaudit.recipe import LoadedRecipe, Recipe
    from dpaudit.rng import Rng

__all__ = ["Population", "data_fingerprint", "open_dataset", "populate"]

_READ_BEFOREHAND, _CHUNK = 100_000, 1024


@dataclass(frozen=True, kw_only=True)
class Population:
    """The data set with its inserted records, and the roles of all ids.

    universe: every record that could be in a target run, members or not, in a public fixed order.
    """

    data: Dataset
    split: Split
    inputs: NDArray[np.str_]
    classes: tuple[str, ...] | None

    @property
    def universe(self) -> NDArray[np.str_]:
        """Return training-only records, then the audit pool, then the inserted records, (N,)."""
        return np.concatenate([self.split.train, self.split.pool, self.inputs])

    def read_through(self) -> None:
        """Decode every record once (the first 100,000 of a larger set), so that a corrupt one is named beforehand."""
        used = np.concatenate([self.universe, self.split.probe_train, self.split.probe_test])[:_READ_BEFOREHAND]
        for start in range(0, len(used), _CHUNK):
            self.data[used[start : start + _CHUNK]]

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


def open_dataset(loaded: LoadedRecipe, image_size: int) -> Dataset:
    """Return the recipe's data set, its images decoded at the size that the trainer takes."""
    entry, where = loaded.recipe.data, loaded.where.at("data")
    asked = entry.options.get("image_size")
    if asked not in (None, image_size):
        raise where.refusal("image_size", asked, f"{image_size}, the size that the trainer takes")
    return _sized(loaded, image_size)


def data_fingerprint(loaded: LoadedRecipe) -> str:
    """Return a hash that changes when the data changes; neither a trainer nor an image is needed for it."""
    return _sized(loaded, 1).fingerprint()


def _sized(loaded: LoadedRecipe, image_size: int) -> Dataset:
    entry, where = loaded.recipe.data, loaded.where.at("data")
    takes_size = "image_size" in {field.name for field in fields(find("datasets", entry, where))}
    sized = entry.model_copy(update={"image_size": image_size}) if takes_size else entry
    return configure("datasets", sized, where)


def populate(loaded: LoadedRecipe, dataset: Dataset, trainer: Trainer, rng: Rng) -> Population:
    """Return the roles of all records. `rng` is public: it decides roles, never membership."""
    recipe = loaded.recipe
    _check_modality(loaded, trainer)
    parts, inserted = recipe.data.split, sum(_kinds(recipe).values())
    if inserted > parts.audit_pool:
        expected = f"at most the audit pool ({parts.audit_pool} records): each inserted record takes the place of one"
        raise loaded.where.refusal("canaries.inputs", inserted, expected)
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
    canaries = _canaries(recipe, cached, sources, rng.child("canaries"))
    data: Dataset = cached if canaries is None else WithCanaries(cached, canaries)
    inputs = np.array([], dtype=np.str_) if canaries is None else canaries.ids
    return Population(data=data, split=roles, inputs=inputs, classes=dataset.classes)


def _training_only(recipe: Recipe, size: int) -> int | None:
    """Return how many records are trained on without a coin: None = all that are left."""
    limit, parts = recipe.data.limit, recipe.data.split
    if limit is None or limit >= size:
        return None
    return limit - parts.audit_pool - parts.probe_train - parts.probe_test


def _canaries(recipe: Recipe, dataset: Dataset, sources: NDArray[np.str_], rng: Rng) -> Examples | None:
    made = [
        make_canaries(kind, count, dataset, sources, rng.child(kind)) for kind, count in _kinds(recipe).items() if count
    ]
    return concatenate(made) if made else None


def _kinds(recipe: Recipe) -> dict[InputKind, int]:
    asked = recipe.canaries.inputs
    return {"noise": asked.noise, "mislabelled": asked.mislabelled, "miscaptioned": asked.miscaptioned}


def _check_modality(loaded: LoadedRecipe, trainer: Trainer) -> None:
    reads: dict[InputKind, str] = {"mislabelled": "label", "miscaptioned": "caption"}
    for kind, part in reads.items():
        count = _kinds(loaded.recipe)[kind]
        if count and part not in trainer.modality:
            expected = f"0: this trainer never reads a record's {part}, so such a canary would be an ordinary record"
            raise loaded.where.refusal(f"canaries.inputs.{kind}", count, expected)
