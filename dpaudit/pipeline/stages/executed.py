"""What a finished run left behind of its execution, in plain numbers: the evidence that premises are judged by."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dpaudit.accounting.executed import noise_unit
from dpaudit.accounting.facts import Duplicates, ExecutedFacts, NoiseSample
from dpaudit.dp.ledger import read_ledger
from dpaudit.errors import DamagedRunError
from dpaudit.mechanism import Adjacency, Mechanism
from dpaudit.pipeline.stages.start import read_beginning
from dpaudit.plugins import DeclaresUnsound
from dpaudit.results import Value
from dpaudit.runs import read_json
from dpaudit.seal import load_seal
from dpaudit.training.evidence import coupling, duplicates, unseeded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpaudit.dp.ledger import LedgerRow
    from dpaudit.pipeline.audit import Audit
    from dpaudit.seal import Seal

__all__ = ["Started", "copies", "executed_facts", "ledger", "started"]


class Started(Value):
    """What a run's manifest says it was started with. sensitivity: L2, of a step's sum, by adjacency."""

    mechanism: Mechanism
    sensitivity: dict[Adjacency, float]

    @property
    def noise_unit(self) -> float:
        """Return the noise std of multiplier 1."""
        return noise_unit(self.sensitivity, self.mechanism.sampling, self.mechanism.adjacency)


def started(audit: Audit, name: str) -> Started:
    """Return what a run was started with."""
    manifest = read_json(audit.path / name / "manifest.json")
    return Started.model_validate({key: manifest[key] for key in Started.model_fields})


def ledger(audit: Audit, name: str) -> tuple[LedgerRow, ...]:
    """Return the executed steps of a run."""
    return read_ledger(audit.path / name / "ledger.jsonl")


def copies(audit: Audit) -> Duplicates:
    """Return which records of an audit are copies of others; it decodes them all."""
    population = audit.population
    return duplicates(population.data, population.universe, captions="caption" in audit.trainer.modality)


def executed_facts(audit: Audit, name: str, found: Duplicates) -> ExecutedFacts:
    """Return what a target executed; `found`: the duplicates, counted once for all targets."""
    job, rows, run, seal = audit.job(name), ledger(audit, name), started(audit, name), _seal(audit, name)
    inserted = set(seal.coins.ids["inputs"].tolist()) if "inputs" in seal.coins.ids else set()
    return ExecutedFacts(
        mechanism=audit.planned.mechanism,
        executed=run.mechanism,
        drawn=tuple(row.drawn for row in rows),
        noise_draws=sum(row.noise_sum_of_squares > 0 for row in rows),
        records_present=_present(audit, seal),
        sampling_rates=tuple(sorted({row.sampling_rate for row in rows})),
        divisors=tuple(sorted({float(row.divisor) for row in rows})),
        noise_stds=tuple(sorted({row.noise_std for row in rows})),
        noise_unit=run.noise_unit,
        largest_norm=max((row.max_clipped_norm for row in rows if row.max_clipped_norm is not None), default=None),
        noise=_noise(rows),
        reproducible=audit.recipe.reproducible,
        privacy_unit=_unit(audit.trainer.modality),
        duplicates=found,
        coupling=coupling(job),
        initial_weights=audit.recipe.privacy.initial_weights,
        unseeded=unseeded(job) if audit.recipe.start is None else 0.0,
        tuning_runs=audit.recipe.privacy.tuning_runs,
        earlier_trainings=audit.earlier_trainings,
        input_canaries=len(inserted),
        records=len(set(audit.population.universe.tolist()) - inserted),
        beginning=read_beginning(audit),
        unsound=_unsound(audit),
    )


def _unsound(audit: Audit) -> str | None:
    trainer = audit.trainer
    return trainer.unsound(audit.planned.mechanism.adjacency) if isinstance(trainer, DeclaresUnsound) else None


def _unit(modality: frozenset[str]) -> str:
    """Return what a record is, in words, to a trainer that reads this of it."""
    if "caption" in modality:
        return "image-caption pair"
    return "labelled image" if "label" in modality else "image"


def _seal(audit: Audit, name: str) -> Seal:
    seal = load_seal(audit.path / name)
    if seal is None:
        raise DamagedRunError(str(audit.path / name / "sealed"), "missing", "the secrets of the run")
    return seal


def _present(audit: Audit, seal: Seal) -> int:
    coins = {family: seal.coins.members(family) for family in audit.population.candidate_ids()}
    return int(audit.population.members(coins).sum())


def _noise(rows: Sequence[LedgerRow]) -> NoiseSample | None:
    noisy = [row for row in rows if row.noise_count and row.noise_std > 0]
    if not noisy:
        return None
    total = math.fsum(row.noise_sum_of_squares / row.noise_std**2 for row in noisy)
    return NoiseSample(count=sum(row.noise_count for row in noisy), sum_of_squares=total)
