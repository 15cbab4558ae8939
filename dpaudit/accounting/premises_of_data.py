"""The premises that concern records and settings: unit, mixing, initial weights, tuning, canaries."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dpaudit.accounting.facts import Coupling, ExecutedFacts
    from dpaudit.accounting.premises_of_steps import Judgement
    from dpaudit.mechanism import InitialWeights
    from dpaudit.results import Beginning

__all__ = ["canaries", "pretraining", "privacy_unit", "records_apart", "tuning"]

_LOSS_ROUNDING = 1e-3  # of a float32 loss, between one batch size and another, relative to the largest loss
_UNSEEDED = 0.05  # position tables are below 1 % of a transformer, a loaded backbone is most of it


def canaries(facts: ExecutedFacts) -> Judgement:
    """Judge whether the accounted data size counts every inserted record, whichever way its coin fell."""
    counted, accounted = facts.records + facts.input_canaries, facts.mechanism.dataset_size
    evidence = (
        f"{facts.records:,} records + {facts.input_canaries:,} input canaries, in or out; accounted {accounted:,}"
    )
    return ("held" if counted == accounted else "violated"), evidence


def privacy_unit(facts: ExecutedFacts) -> Judgement:
    """Judge whether one record is all that the data hold of one image."""
    unit, found = f"one record is one {facts.privacy_unit}", facts.duplicates
    if found is None:
        return "unknown", f"{unit}; duplicates were not counted"
    if found.sharing:
        evidence = (
            f"{found.sharing:,} of {found.compared:,} records share their image with another one, up to "
            f"{found.largest:,} of them one image: it is protected as {found.largest:,} records are, not as one"
        )
        return "violated", evidence
    total = facts.records + facts.input_canaries
    captions = f"; {found.captions:,} records share a caption, with other images" if found.captions else ""
    if found.compared < total:
        return "unknown", f"{unit}; no duplicate among the first {found.compared:,} of {total:,}{captions}"
    return "held", f"{unit}; no two of {total:,} are the same image{captions}"


def records_apart(facts: ExecutedFacts) -> Judgement:
    """Judge whether what a step computes of a record depends on that record alone."""
    found = facts.coupling
    if found.by_design:
        return _coupled(found)
    if found.layers:
        return "violated", f"layers that mix records: {_listed(found.layers)}"
    if found.changed_buffers:
        return "violated", f"training changed buffers, which get no noise: {_listed(found.changed_buffers)}"
    if found.difference is None:
        return "unknown", "losses of records together and alone were not compared"
    if found.noise > _LOSS_ROUNDING:
        evidence = f"losses of one batch differ by {found.noise:.1%} between two calls: drop-out outside collate?"
        return "unknown", evidence
    evidence = f"losses of records in a batch and alone differ by {found.difference:.1g} of the largest"
    return ("violated" if found.difference > _LOSS_ROUNDING else "held"), evidence


def _coupled(found: Coupling) -> Judgement:
    """Judge a trainer of whole batches: its sensitivity is that of the whole sum, whatever mixes within it."""
    if found.changed_buffers:
        return "violated", f"training changed buffers, which get no noise: {_listed(found.changed_buffers)}"
    evidence = "they mix by design, and the declared sensitivity is that of the whole sum"
    layers = f"; layers that mix records besides: {_listed(found.layers)}" if found.layers else ""
    return ("unknown" if found.layers else "held"), evidence + layers


def pretraining(facts: ExecutedFacts) -> Judgement:
    """Judge where the weights of step 0 are from: by what was executed, by declaration, and by the seed."""
    if facts.beginning is not None:
        return _begun(facts.beginning, facts.initial_weights)
    said, loaded = facts.initial_weights, facts.unseeded > _UNSEEDED
    share = f"{facts.unseeded:.1%} of the initial weights are the same for every seed"
    if said == "private":
        return "violated", "declared: the initial weights were trained on private data"
    if said in ("public", "synthetic"):
        return "held", f"declared: {said} data; {share}"
    if not loaded:
        return "held", f"drawn from the recipe's seed; {share}"
    if said == "random":
        return "violated", f"declared random, but {share}"
    return "unknown", f"{share}, and privacy.initial_weights does not say where they are from"


def _begun(made: Beginning, said: InitialWeights | None) -> Judgement:
    """Judge weights of step 0 that a public stage made, or that came from a file."""
    if made.earlier:
        return _composed(made, said)
    if said == "private":
        return "violated", "declared: the initial weights were trained on private data"
    return _public_stage(made) if made.kind == "pretrain" else _from_file(made, said)


def _from_file(made: Beginning, said: InitialWeights | None) -> Judgement:
    where = f"loaded from {made.source}, SHA-256 {made.fingerprint[:16]}"
    if said is None:
        return "unknown", f"{where}; privacy.initial_weights does not say where they are from"
    return "held", f"declared: {said} data; {where}"


def _public_stage(made: Beginning) -> Judgement:
    done = f"executed: {made.steps:,} steps of {made.batch_size:,} on {made.source} ({made.records:,} records)"
    if made.same_data:
        return "violated", f"{done}, which are the private data themselves (fingerprint {made.fingerprint[:16]})"
    if made.shared:
        return "violated", f"{done}, of which {made.shared:,} have the pixels of a private record"
    if made.by_construction:
        return "held", f"{done}, public by construction: a program makes them"
    return "held", f"{done}, declared public; none of {made.compared:,} has the pixels of a private record"


def _composed(made: Beginning, said: InitialWeights | None) -> Judgement:
    """Judge weights that an earlier run made from the same data: what it cost is known, and paid for."""
    runs = ", ".join(each.run for each in made.earlier)
    if said not in (None, "private"):
        return "violated", f"declared {said}, but {runs} trained them on the same data"
    return "held", f"not public: {runs} trained them on the same data; both mechanisms are composed"


def tuning(facts: ExecutedFacts) -> Judgement:
    """Judge whether all trainings that chose the settings were declared."""
    said, seen = facts.tuning_runs, facts.earlier_trainings
    earlier = f"{f'{seen:,}' if seen else 'no'} earlier training{'s' * (seen > 1)} in this folder"
    if said is None:
        return "unknown", f"nobody said how many trainings on these data chose the settings; {earlier}"
    if said < seen:
        return "violated", f"{said:,} tuning runs declared, but {earlier} on the same data"
    return "held", f"{said:,} tuning runs declared, counted beside epsilon and not in it; {earlier}"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
