"""What a recipe cannot ask of a trainer of whole batches, refused before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpaudit.plugins import PerExampleTrainer, Remarks, StepCanary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dpaudit.pipeline.audit import Audit
    from dpaudit.results import Promise

__all__ = ["check_whole_batches", "remarked"]

_VIRTUAL = {"block", "coordinates"}
_NO_VIRTUAL = (
    "this trainer bounds a whole batch by itself, and a virtual record beside the batch would not go through that "
    "bound; canaries.steps with attack step_audit tests it"
)

_ALONE = "a record that is alone has none to be compared with, so its loss is constant"


def check_whole_batches(audit: Audit) -> None:
    """Raise InputError for settings that only a trainer with one loss per record has a meaning for.

    Also for a worst case of a step that the trainer cannot make, whatever it bounds.
    """
    steps = audit.recipe.canaries.steps
    if steps == "worst-case" and not isinstance(audit.trainer, StepCanary):
        expected = "record (a picture) or null: this trainer makes no worst case of its own (StepCanary)"
        raise audit.loaded.where.refusal("canaries.steps", steps, expected)
    if isinstance(audit.trainer, PerExampleTrainer):
        return
    for field, value, right, expected in _requirements(audit):
        if not right:
            raise audit.loaded.where.refusal(field, value, expected)


def remarked(audit: Audit, promise: Promise) -> Promise:
    """Return a promise with what the trainer remarks on it, in its note; nothing is remarked where none is made."""
    if promise.kind == "none" or not isinstance(audit.trainer, Remarks):
        return promise
    lines = audit.trainer.remarks(promise.mechanism.batch_size, promise.mechanism.adjacency)
    return promise.model_copy(update={"note": "; ".join(filter(None, [promise.note, *lines]))})


def _requirements(audit: Audit) -> Iterator[tuple[str, object, bool, str]]:
    """Yield (field, value, whether it is right, what is expected)."""
    privacy, canaries = audit.recipe.privacy, audit.recipe.canaries
    views, own = privacy.augmentations, "this trainer bounds its batch by itself"
    yield (
        "privacy.augmentations",
        views,
        views == 1,
        "1: a whole batch has no gradient per record that views could share",
    )
    yield "privacy.batch_size", privacy.batch_size, privacy.batch_size > 1, f"at least 2: {_ALONE}"
    yield "privacy.engine", privacy.engine, privacy.engine == "bookkeeping", f"not given: {own}"
    yield "privacy.clipping", privacy.clipping, privacy.clipping == "flat", f"not given: {own}"
    precision = audit.recipe.compute.precision
    yield "compute.precision", precision, precision == "float32", f"float32: {own}"
    precision = audit.recipe.compute.precision
    yield "compute.precision", precision, precision == "float32", f"float32: {own}"
    yield "canaries.coordinates", canaries.coordinates, canaries.coordinates == 0, f"0: {_NO_VIRTUAL}"
    for named in audit.attacks:
        family = named.entry.family
        wanted = {family} if family else set(audit.attack(named).needs.families)
        yield f"{named.field}.name", named.entry.name, not wanted <= _VIRTUAL, f"another attack: {_NO_VIRTUAL}"
