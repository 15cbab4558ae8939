"""Whether an attack can be made on a run at all: what it needs against what there is, before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dpaudit.data.annotations import annotations_of

if TYPE_CHECKING:
    from dpaudit.pipeline.audit import Audit, NamedAttack
    from dpaudit.plugins import Capability, Needs

__all__ = ["check_applicable", "offers"]


def check_applicable(audit: Audit, named: NamedAttack, placed: tuple[str, ...]) -> None:
    """Raise InputError, one line, where the run lacks what an attack needs.

    placed: the families of gradient canaries that the run carries.
    """
    needs = audit.attack(named).needs
    family = audit.family(named, needs, placed)
    if audit.sizes.candidates.get(family or "") == 1:
        raise _refusal(audit, named, f"an attack on two candidates or more: this run has one, of family {family}")
    _check_counts(audit, named, needs)
    lacking = [offers(kind) for kind in needs.capabilities if not isinstance(audit.trainer, kind)]
    if lacking:
        trainer = audit.recipe.trainer.name
        raise _refusal(audit, named, f"an attack on what {trainer} offers: this one needs {', '.join(lacking)}")
    for part in sorted(needs.reads & _missing(audit)):
        raise _refusal(audit, named, f"an attack on images alone: this one reads a {part}, {_data(audit)} has none")


def _check_counts(audit: Audit, named: NamedAttack, needs: Needs) -> None:
    recipe, where = audit.recipe, audit.loaded.where
    if needs.references > recipe.references.count:
        expected = f"at least {needs.references}, which {named.label} needs"
        raise where.refusal("references.count", recipe.references.count, expected)
    known = recipe.data.split.probe_train
    if needs.population > known:
        expected = f"at least {needs.population}: {named.label} compares with records that are never members"
        raise where.refusal("data.split.probe_train", known, expected)


def _missing(audit: Audit) -> set[str]:
    """Return what the data's records do not have, of "caption" and "label"."""
    known = annotations_of(audit.dataset, np.asarray(audit.dataset.ids()[:1]))
    return {name for name, value in (("caption", known.captions), ("label", known.labels)) if value is None}


def _refusal(audit: Audit, named: NamedAttack, expected: str) -> Exception:
    return audit.loaded.where.refusal(f"{named.field}.name", named.entry.name, expected)


def offers(capability: Capability) -> str:
    """Return a capability in words: its name, or several of which one is enough."""
    kinds = capability if isinstance(capability, tuple) else (capability,)
    return " or ".join(kind.__name__ for kind in kinds)


def _data(audit: Audit) -> str:
    return f"the data set {audit.recipe.data.name}"
