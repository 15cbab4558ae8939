"""Record and replay of a trainer: is its declared sensitivity true on batches that were chosen to break it?

Neighbouring batches of a few records of the data, and of records made to have large and opposing gradients, go through
the very step that trains. One pair whose released sums differ by more than was declared is a proof.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dpaudit.data.examples import Examples, concatenate
from dpaudit.dp.replay import ROUNDING, KeptSums, neighbours, replay, shared_noise, worst
from dpaudit.errors import DpauditError
from dpaudit.plugins import PerExampleTrainer, StepCanary
from dpaudit.results import Assumption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from dpaudit.dp.replay import Difference, NoiselessSum, Pair
    from dpaudit.dp.tensors import Gradients
    from dpaudit.mechanism import Adjacency
    from dpaudit.rng import Rng
    from dpaudit.training.rehearsal import Rehearsal

__all__ = [
    "NOISE_REPLAYED",
    "SENSITIVITY_REPLAYED",
    "WORST_CASE_REPLAYED",
    "Replayed",
    "extreme_records",
    "premises_before_training",
    "rehearsed_records",
    "replay_noise",
    "replay_trainer",
    "replay_worst_case",
]

SENSITIVITY_REPLAYED = "sensitivity replayed on neighbouring batches"
NOISE_REPLAYED = "noise differs between steps and tensors"
WORST_CASE_REPLAYED = "sensitivity replayed on the trainer's own worst case"
_UNCLIPPED, _NOTHING = 0.999, 1e-6  # contributions, in C: below the first not clipped, below the second no gradient


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What record and replay found. doubt: why a difference above the declared one is no proof, or None."""

    differences: tuple[Difference, ...]
    clip_norms: tuple[float, ...]
    records: tuple[str, ...]
    doubt: str | None = None

    @property
    def violation(self) -> Difference | None:
        """Return the worst pair of batches that proves the declared sensitivity wrong, or None."""
        found = worst(self.differences)
        return found if found.violates and self.doubt is None else None

    def assumption(self) -> Assumption:
        """Return the premise with its evidence; `violated` comes with the two batches and is certified."""
        found = worst(self.differences)
        if not found.violates and found.distance > 0:
            return _premise("held", self._held(found))
        if not found.violates:
            public = f"none of {len(self.records)} records has a gradient"
            return _premise("unknown", f"no record of {', '.join(self.records)} has a gradient", public=public)
        if self.doubt is not None:
            public = f"{found.without_ids()}; no proof"
            return _premise("unknown", f"{found}; no proof, for {self.doubt}", public=public)
        public = f"certified by {found.without_ids()}"
        return _premise("violated", f"certified by {found}", certified=True, public=public)

    def _held(self, found: Difference) -> str:
        norms = " and ".join(f"{clip:.3g}" for clip in self.clip_norms)
        return (
            f"{len(self.differences)} pairs of batches of {len(self.records)} records at clip norm {norms}: the "
            f"largest difference is {found.ratio:.4f} of the declared one (up to {1 + ROUNDING} is rounding)"
        )


def replay_trainer(
    rehearsal: Rehearsal,
    records: Examples,
    *,
    adjacency: Adjacency = "add-remove",
    model: nn.Module | None = None,
) -> Replayed:
    """Return what the step does on neighbouring batches of these records; a few of them are enough.

    Single records at the clip norm, and all pairs of batches at a norm at which every record is clipped (every batch,
    with a trainer of whole batches: all pairs at both norms, for a record alone may move nothing there). model: at
    which to replay; None = a fresh one. A pair above the declared sensitivity is computed again, and nothing is claimed
    if the step was random beyond what was held fixed. DpauditError where a gradient is not finite.
    """
    model = rehearsal.trainer.build(rehearsal.rng.child("model")) if model is None else model
    pairs = neighbours(records.ids.tolist(), adjacency)
    whole = not isinstance(rehearsal.trainer, PerExampleTrainer)
    few = pairs if whole else [pair for pair in pairs if len(pair[2]) == 1]
    sums = KeptSums(rehearsal.released(model, records, rehearsal.clip_norm))
    found = {rehearsal.clip_norm: _differences(rehearsal, sums, few, rehearsal.clip_norm)}
    lengths = _lengths(rehearsal, sums, pairs) if whole else found[rehearsal.clip_norm]
    clip = _tighter(rehearsal.clip_norm, lengths)
    if clip != rehearsal.clip_norm:
        sums = KeptSums(rehearsal.released(model, records, clip))
    found[clip] = _differences(rehearsal, sums, pairs, clip)
    at = max(found, key=lambda each: worst(found[each]).ratio)
    every = tuple(itertools.chain.from_iterable(found.values()))
    doubt = _doubt(rehearsal, model, records, worst(found[at]), at) if worst(every).violates else None
    return Replayed(differences=every, clip_norms=tuple(found), records=tuple(records.ids.tolist()), doubt=doubt)


def premises_before_training(
    rehearsal: Rehearsal, records: Examples, adjacency: Adjacency, model: nn.Module
) -> tuple[Assumption, ...]:
    """Return what is known of the step before it is taken: that of `replay_trainer`, then that of `replay_noise`.

    Of a trainer that makes its own worst case (`StepCanary`) also that of `replay_worst_case`. records: a few of the
    data; extreme ones are added. A trainer that fails on such batches leaves the first unknown, with the reason: the
    same failure in training is an error, if it ever draws such a batch.
    """
    try:
        replayed = replay_trainer(
            rehearsal, rehearsed_records(records, rehearsal.rng), adjacency=adjacency, model=model
        )
        sensitivity = replayed.assumption()
    except (DpauditError, RuntimeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        public = f"could not be replayed: {type(error).__name__}"
        sensitivity = _premise("unknown", f"{public}: {reason}", public=public)
    worst_case = replay_worst_case(rehearsal, records, adjacency, model)
    return sensitivity, replay_noise(rehearsal, model), *worst_case


def replay_noise(rehearsal: Rehearsal, model: nn.Module) -> Assumption:
    """Return whether two steps and all tensors of the model get noise of their own."""
    noise = rehearsal.noise(model)
    shared = shared_noise(noise)
    if shared is None:
        return Assumption(name=NOISE_REPLAYED, status="held", evidence=f"{len(noise)} streams, no two alike")
    evidence = f"certified by the noise of ({shared[0]}) and of ({shared[1]}), which is the same"
    return Assumption(name=NOISE_REPLAYED, status="violated", evidence=evidence, certified=True)


def replay_worst_case(
    rehearsal: Rehearsal, records: Examples, adjacency: Adjacency, model: nn.Module
) -> tuple[Assumption, ...]:
    """Return whether the neighbours that a trainer makes itself to be far apart keep what it declares, or nothing.

    They go through its own bound, made of these records and of none. Their distance is a proof like that of two
    batches if it is the same again under another seed of torch's own generator.
    """
    if not isinstance(rehearsal.trainer, StepCanary):
        return ()
    declared = rehearsal.declared(adjacency, rehearsal.clip_norm)
    try:
        distances = [
            [rehearsal.worst_case(model, batch, adjacency, seed) for seed in (0, 1)] for batch in (records, None)
        ]
    except (DpauditError, RuntimeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        return (_worst_case("unknown", f"could not be made: {type(error).__name__}: {reason}"),)
    found, again = max(distances, key=lambda pair: pair[0])
    evidence = f"its neighbours differ by {found:.6g}, {found / declared:.4f} of the declared {declared:.6g}"
    if found <= (1 + ROUNDING) * declared:
        return (_worst_case("held", evidence),)
    if not math.isclose(found, again, rel_tol=ROUNDING):
        return (_worst_case("unknown", f"{evidence}; no proof, for {_TORCH}"),)
    return (_worst_case("violated", f"certified: {evidence} ({adjacency})", certified=True),)


def extreme_records(records: Examples, rng: Rng) -> Examples:
    """Return records made to have large and opposing gradients, from a few (n >= 1) of the data.

    Pure noise, all black, all white, and the first record with four times its contrast; captions and labels are those
    of the records in reverse order, so that the last one differs from the first record in what is said of it as well.
    """
    image = records.images[0]
    stretched = np.clip((image.astype(np.int16) - 128) * 4 + 128, 0, 255).astype(np.uint8)
    pixels = np.frombuffer(rng.child("image").stream(image.size), dtype=np.uint8).reshape(image.shape)
    images = [pixels, np.zeros_like(image), np.full_like(image, 255), stretched]
    told = records.take(np.arange(len(images))[::-1] % len(records))
    ids = np.array([f"replay:{name}" for name in ("noise", "black", "white", "contrast")], dtype=np.str_)
    return Examples(ids=ids, images=np.stack(images), captions=told.captions, labels=told.labels)


def rehearsed_records(records: Examples, rng: Rng) -> Examples:
    """Return records of the data followed by extreme ones."""
    return concatenate([records, extreme_records(records, rng)])


def _differences(
    rehearsal: Rehearsal, sums: NoiselessSum, pairs: Sequence[Pair], clip: float
) -> tuple[Difference, ...]:
    return replay(sums, pairs, lambda adjacency: rehearsal.declared(adjacency, clip))


def _lengths(rehearsal: Rehearsal, sums: NoiselessSum, pairs: Sequence[Pair]) -> tuple[Difference, ...]:
    """Return how long the sum of each batch is: its difference from the empty batch's, which is 0."""
    batches = dict.fromkeys(batch for _, *both in pairs for batch in both if batch)
    against_none: list[Pair] = [("add-remove", (), batch) for batch in batches]
    return _differences(rehearsal, sums, against_none, rehearsal.clip_norm)


def _tighter(clip: float, found: Sequence[Difference]) -> float:
    """Return a norm at which all that moves the sum is clipped: half the least distance, or `clip` itself."""
    loose = [each.distance for each in found if _NOTHING * clip < each.distance < _UNCLIPPED * clip]
    return min(loose) / 2 if loose else clip


def _doubt(rehearsal: Rehearsal, model: nn.Module, records: Examples, found: Difference, clip: float) -> str | None:
    """Return why the difference may come from randomness that was not the same on both sides, or None."""
    pair = ((found.adjacency, found.first, found.second),)
    for seed, reason in ((0, _RANDOM), (1, _TORCH)):
        released = rehearsal.released(model, records, clip, seed)
        repeated = replay(released, pair, lambda _: found.declared)[0]
        if not math.isclose(repeated.distance, found.distance, rel_tol=ROUNDING):
            return reason
    if found.adjacency == "replace-one" and not _in_its_place(rehearsal, model, records, found, clip).violates:
        return _PLACE
    return _crowded(rehearsal, records, found)


_RANDOM = "the step is not the same when it is repeated"
_TORCH = "the step reads torch's own generator (dropout?), whose draws a record shares with its batch: draw in collate"
_PLACE = (
    "collate draws by (key, id), and the difference is gone when the new record draws what the one in whose place it "
    "is drew, as it may: their draws are alike in law, and secret"
)


def _in_its_place(
    rehearsal: Rehearsal, model: nn.Module, records: Examples, found: Difference, clip: float
) -> Difference:
    """Return the difference when the record that replaces another carries its id, and so draws what it drew."""
    (old,), (new,) = set(found.first) - set(found.second), set(found.second) - set(found.first)
    there = records.take(np.flatnonzero(records.ids != old))
    renamed = dataclasses.replace(there, ids=np.where(there.ids == new, old, there.ids))
    batches = {"first": (records, found.first), "second": (renamed, (*(set(found.second) - {new}), old))}

    def released(name: tuple[str, ...]) -> Gradients:
        of, ids = batches[name[0]]
        return rehearsal.released(model, of, clip)(ids)

    return replay(released, (("replace-one", ("first",), ("second",)),), lambda _: found.declared)[0]


def _crowded(rehearsal: Rehearsal, records: Examples, found: Difference) -> str | None:
    """Return the reason if a record's random tensors depend on who else is in the batch, or None."""
    rng = rehearsal.rng.child("collate")
    batch = records.take(np.flatnonzero(np.isin(records.ids, found.second)))
    whole, redrawn = rehearsal.collate(batch, rng), rehearsal.collate(batch, rng.child("other"))
    random = [name for name, tensor in whole.items() if not torch.equal(tensor, redrawn[name])]
    for row in range(len(batch)):
        alone = rehearsal.collate(batch.take(slice(row, row + 1)), rng)
        shared = [name for name in random if not torch.equal(alone[name][0], whole[name][row])]
        if shared:
            return f"collate draws {shared[0]} of record {batch.ids[row]} by its batch, not by (key, id) alone"
    return None


def _worst_case(status: Any, evidence: str, *, certified: bool = False) -> Assumption:
    return Assumption(name=WORST_CASE_REPLAYED, status=status, evidence=evidence, certified=certified)


def _premise(status: Any, evidence: str, *, certified: bool = False, public: str | None = None) -> Assumption:
    return Assumption(name=SENSITIVITY_REPLAYED, status=status, evidence=evidence, certified=certified, public=public)
