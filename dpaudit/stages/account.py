"""Account: what the executed mechanism promises, by every accountant that has a sound answer, and on what premises."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import nn

from dpaudit.accounting.accountant import guarantees
from dpaudit.accounting.assumptions import ExecutedFacts, NoiseSample, assumptions
from dpaudit.dp.ledger import read_ledger
from dpaudit.errors import DamagedRunError
from dpaudit.results import Assumption, Guarantee, Value
from dpaudit.runs import read_json, write_atomically
from dpaudit.seal import load_seal
from dpaudit.training import initial_model

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dpaudit.audit import Audit
    from dpaudit.dp.ledger import LedgerRow

__all__ = ["Accounted", "account_audit", "read_account"]

_WORST = ("held", "unknown", "violated")
_MIXING = (nn.modules.batchnorm._BatchNorm,)


class Accounted(Value):
    """account.json: the accountants' answers and the assumption ledger, the worst of all targets."""

    guarantees: tuple[Guarantee, ...]
    assumptions: tuple[Assumption, ...]


def account_audit(audit: Audit) -> list[Path]:
    """Write account.json; return it."""
    mechanism = audit.planned.mechanism
    answers = guarantees(mechanism, audit.planned.promise.delta)
    premises = _worst([assumptions(_facts(audit, name)) for name in audit.targets])
    path = audit.path / "account.json"
    text = Accounted(guarantees=answers, assumptions=premises).model_dump_json(indent=1)
    write_atomically(path, (text + "\n").encode())
    return [path]


def read_account(audit: Audit) -> Accounted:
    """Return what `account_audit` wrote."""
    return Accounted.model_validate(read_json(audit.path / "account.json"))


def _facts(audit: Audit, name: str) -> ExecutedFacts:
    job, rows = audit.job(name), read_ledger(audit.path / name / "ledger.jsonl")
    seal = load_seal(audit.path / name)
    if seal is None:
        raise DamagedRunError(str(audit.path / name / "sealed"), "missing", "the secrets of the run")
    coins = {family: seal.coins.members(family) for family in audit.population.candidate_ids()}
    norms = [row.max_clipped_norm for row in rows if row.max_clipped_norm is not None]
    mechanism = audit.planned.mechanism
    return ExecutedFacts(
        mechanism=mechanism,
        steps=len(rows),
        noise_draws=sum(row.noise_count > 0 for row in rows),
        sampling=audit.recipe.privacy.sampling,
        records_present=int(audit.population.members(coins).sum()),
        drawn_total=sum(row.drawn for row in rows),
        drawn_square_total=sum(row.drawn**2 for row in rows),
        divisors=tuple(sorted({float(row.divisor) for row in rows})),
        noise_stds=tuple(sorted({row.noise_std for row in rows})),
        sensitivity=mechanism.clip_norm,
        largest_norm=max(norms, default=None),
        noise=_noise(rows),
        reproducible=audit.recipe.reproducible,
        privacy_unit="image" if audit.trainer.modality == {"image"} else "image-caption pair",
        duplicates=None,
        cross_record_layers=_mixing_layers(initial_model(job)),
        initial_weights="random",
        tuning_runs=audit.recipe.privacy.tuning_runs,
        input_canaries=len(audit.population.inputs),
        records=len(audit.population.universe) - len(audit.population.inputs),
    )


def _noise(rows: Sequence[LedgerRow]) -> NoiseSample | None:
    noisy = [row for row in rows if row.noise_count and row.noise_std > 0]
    if not noisy:
        return None
    total = math.fsum(row.noise_sum_of_squares / row.noise_std**2 for row in noisy)
    return NoiseSample(count=sum(row.noise_count for row in noisy), sum_of_squares=total)


def _mixing_layers(model: nn.Module) -> tuple[str, ...]:
    return tuple(name for name, module in model.named_modules() if isinstance(module, _MIXING))


def _worst(ledgers: list[tuple[Assumption, ...]]) -> tuple[Assumption, ...]:
    """Return one ledger: of every premise the entry of the run where it stands worst."""
    return tuple(max(same, key=lambda premise: _WORST.index(premise.status)) for same in zip(*ledgers, strict=True))
