"""Score candidates: what an attack says of each, before anyone looks at a coin."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dpaudit.canaries import INSERTS
from dpaudit.errors import DamagedRunError, DpauditError
from dpaudit.pipeline.stages.references import complete, views
from dpaudit.plugins import Candidates
from dpaudit.runs import write_atomically
from dpaudit.scores import ScoreTable, ThreatModel
from dpaudit.training.attach import attack_view, control_view, released_model
from dpaudit.training.job import initial_model
from dpaudit.training.train import candidate_ids

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from dpaudit.canaries import Family
    from dpaudit.pipeline.audit import Audit, NamedAttack
    from dpaudit.plugins import Attack, Target
    from dpaudit.progress import Progress
    from dpaudit.rng import Rng
    from dpaudit.scores import Access, Inserts
    from dpaudit.training.job import Job

__all__ = ["read_scores", "score_run"]

References: TypeAlias = "tuple[tuple[Target, NDArray[np.bool_]], ...]"


def score_run(audit: Audit, name: str, named: NamedAttack, progress: Progress) -> list[Path]:
    """Write one attack's scores on one run; return the file, or nothing where a run without clipping has no candidates.

    An attack that does not read the steps is also asked about the model at step 0: those scores must not know the
    coins (DESIGN rule 9). A control sees no model at all, and so its only scores must not know them either.
    """
    attack, job = audit.attack(named), audit.job(name)
    needs = attack.needs
    family = audit.family(named, needs, job.placed_families())
    if family is None:
        progress.say(f"{named.label}: skipped, a run that clips nothing carries no gradient canaries")
        return []
    candidates = _candidates(audit, name, cast("Family", family))
    rng = audit.public.child("attack", named.label)
    with progress.task(f"attack {name} with {named.label}", 2) as task:
        if needs.references:
            complete(audit, progress)
        references = views(audit, candidates.family, progress) if audit.references else ()
        scores, blind = _scores(attack, job, candidates, rng, references)
        task.advance(2)
    threat_model = ThreatModel(access=needs.access, inserts=cast("Inserts", INSERTS[family]))
    table = ScoreTable(
        attack=named.label, run=name, family=family, threat_model=threat_model, ids=candidates.ids, scores=scores
    )
    path = audit.path / "scores" / name / f"{named.label}.parquet"
    write_atomically(path, _encode(table, blind))
    return [path]


def _scores(
    attack: Attack, job: Job, candidates: Candidates, rng: Rng, references: References
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Return an attack's scores on the trained model, and those that must not know the coins, where there are any."""
    needs = attack.needs
    if not needs.sees_model:
        scores = attack.score(control_view(job, candidates, rng))
        return scores, scores
    trained = attack_view(job, released_model(job), needs, candidates, rng)
    scores = attack.score(replace(trained, references=references))
    if needs.access == "all steps":
        return scores, None
    untrained = attack_view(job, initial_model(job).eval(), needs, candidates, rng)
    return scores, attack.score(replace(untrained, references=references))


def read_scores(path: Path) -> tuple[ScoreTable, NDArray[np.float64] | None]:
    """Return a score table and, where there are any, the untrained model's scores in the same order."""
    try:
        stored = pq.read_table(io.BytesIO(path.read_bytes()))
        facts = {key.decode(): value.decode() for key, value in (stored.schema.metadata or {}).items()}
        threat_model = ThreatModel(access=cast("Access", facts["access"]), inserts=cast("Inserts", facts["inserts"]))
        table = ScoreTable(
            attack=facts["attack"],
            run=facts["run"],
            family=facts["family"],
            threat_model=threat_model,
            ids=np.array(stored["id"].to_pylist(), dtype=np.str_),
            scores=stored["score"].to_numpy(),
        )
    except (OSError, pa.ArrowException, KeyError) as error:
        raise DamagedRunError(str(path), str(error), "the scores that the run wrote") from error
    untrained = stored["untrained"].to_numpy() if "untrained" in stored.column_names else None
    return table, untrained


def _candidates(audit: Audit, name: str, family: Family) -> Candidates:
    records = audit.population.candidate_ids()
    if family in records:
        return Candidates(family=family, ids=records[family], examples=audit.population.data[records[family]])
    return Candidates(family=family, ids=candidate_ids(audit.job(name), family))


def _encode(table: ScoreTable, untrained: NDArray[np.float64] | None) -> bytes:
    columns = {"id": pa.array(table.ids.tolist()), "score": pa.array(table.scores)}
    if untrained is not None:
        if untrained.shape != table.scores.shape or not np.isfinite(untrained).all():
            raise DpauditError(
                f"attack {table.attack}: scores of the untrained model are not finite, one per candidate"
            )
        columns["untrained"] = pa.array(untrained)
    facts = {
        "attack": table.attack,
        "run": table.run,
        "family": table.family,
        "access": table.threat_model.access,
        "inserts": table.threat_model.inserts,
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns, metadata=facts), buffer)
    return buffer.getvalue()
