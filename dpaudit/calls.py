"""Python calls of the same names as the command line's verbs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpaudit.mechanism import Adjacency, Mechanism, Sampling
from dpaudit.pipeline import advance, explore, open_audit, open_run
from dpaudit.results import AuditResult, ProbeResult
from dpaudit.runs import read_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from dpaudit.accounting.statement import AccountStatement
    from dpaudit.progress import Progress
    from dpaudit.stages.bound import Bounded

__all__ = ["account", "attack", "bound", "probe", "report", "run", "train"]


def run(
    recipe: str | Path,
    *,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    fresh: bool = False,
    progress: Progress | None = None,
) -> AuditResult:
    """Train, attack, bound, account, probe and report; return what was found. Continues a folder that was begun.

    recipe: a file, the name of a built-in one, or a run folder. overrides: "privacy.epsilon=4". out: the run folder, by
    default runs/NAME. fresh: delete what an earlier recipe left there. Raises DpauditError (see dpaudit.errors).
    """
    audit = open_audit(recipe, out=out, overrides=overrides)
    advance(audit, "report", fresh=fresh, progress=progress)
    return AuditResult.model_validate(read_json(audit.path / "results.json"))


def train(
    recipe: str | Path,
    *,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    fresh: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Plan and train every run of a recipe; return the run folder. Arguments as for `run`."""
    audit = open_audit(recipe, out=out, overrides=overrides)
    advance(audit, "train", fresh=fresh, progress=progress)
    return audit.path


def attack(
    folder: str | Path,
    name: str | None = None,
    options: Mapping[str, object] | None = None,
    *,
    progress: Progress | None = None,
) -> tuple[str, ...]:
    """Score the candidates of a run folder by the recipe's attacks and by one more, if named; return all labels.

    An attack that the recipe did not name is exploratory: it is shown and never decides.
    """
    audit = open_run(folder)
    if name is not None:
        audit = explore(audit, name, dict(options or {}))
    advance(audit, "attack", progress=progress)
    return tuple(named.label for named in audit.attacks)


def bound(folder: str | Path, *, progress: Progress | None = None) -> Bounded:
    """Open the coins of a run folder and return what they say: `.attacks` and `.bounds`."""
    from dpaudit.stages.bound import read_bounds  # noqa: PLC0415 (imports torch)

    audit = open_run(folder)
    advance(audit, "bound", progress=progress)
    return read_bounds(audit)


def account(  # noqa: PLR0913 (the numbers of a mechanism, each by its name)
    *,
    noise_multiplier: float,
    batch_size: int,
    dataset_size: int,
    steps: int,
    delta: float,
    sampling: Sampling = "poisson",
    adjacency: Adjacency = "add-remove",
    tuning_runs: int | None = None,
) -> AccountStatement:
    """Return what every accountant promises for a mechanism, and the premises of it.

    `.guarantees`: `epsilon` None where an accountant has no sound answer. `.with_tuning`: all tuning runs paid for.
    """
    from dpaudit.accounting.statement import account_statement  # noqa: PLC0415 (imports dp_accounting)

    mechanism = Mechanism(
        sampling=sampling,
        adjacency=adjacency,
        noise_multiplier=noise_multiplier,
        sampling_rate=batch_size / dataset_size,
        steps=steps,
        clip_norm=1.0,
        batch_size=batch_size,
        dataset_size=dataset_size,
    )
    return account_statement(mechanism, delta, tuning_runs)


def probe(folder: str | Path, *, progress: Progress | None = None) -> tuple[ProbeResult, ...]:
    """Measure the recipe's probes on every target of a run folder and return the results."""
    audit = open_run(folder)
    advance(audit, "probe", progress=progress)
    names = [(name, entry.label) for name in audit.targets for entry in audit.recipe.probes]
    return tuple(
        ProbeResult.model_validate(read_json(audit.path / "probes" / f"{name}-{label}.json")) for name, label in names
    )


def report(folder: str | Path, *, public: bool | None = None, progress: Progress | None = None) -> Path:
    """Do what is missing, write the page, and return its path. public: leave out what is private."""
    audit = open_run(folder)
    if public is not None:
        audit = audit.with_report(public=public)
    advance(audit, "report", progress=progress)
    return audit.path / "report.html"
