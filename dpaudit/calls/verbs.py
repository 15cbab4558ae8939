"""Python calls of the same names as the command line's verbs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dpaudit.errors import DamagedRunError, InputError
from dpaudit.pipeline.order import advance, explore, open_audit, open_run
from dpaudit.progress import Silent
from dpaudit.recipes.recipe import load_recipe
from dpaudit.results import AuditResult, ProbeResult
from dpaudit.runs import RunFolder, read_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dpaudit.accounting.statement import AccountStatement
    from dpaudit.conditions import Condition, Gate
    from dpaudit.executors import Executor
    from dpaudit.mechanism import Adjacency, Sampling
    from dpaudit.pipeline.designs import Designs
    from dpaudit.pipeline.forecasts import Forecast
    from dpaudit.pipeline.stages.bound import Bounded
    from dpaudit.progress import Progress

__all__ = [
    "account",
    "attack",
    "bound",
    "compare",
    "finished",
    "forecast",
    "gate",
    "plan",
    "probe",
    "report",
    "run",
    "train",
    "train_references",
]


def run(  # noqa: PLR0913 (the options of a command, each by its name)
    recipe: str | Path,
    *,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    attacks: Sequence[str] = (),
    device: str | None = None,
    fresh: bool = False,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> AuditResult:
    """Train, attack, bound, account, probe and report; return what was found. Continues a folder that was begun.

    recipe: a file, the name of a built-in one, or a run folder. overrides: "privacy.epsilon=4". out: the run folder, by
    default runs/NAME. attacks: names to append to the recipe's, "./mine.py:Mine". device: where to compute, in place
    of the recipe's: "auto", "cpu", "cuda", "cuda:1", "mps". fresh: delete what an earlier recipe left there. executor:
    where references are trained, by default in one process per core (`dpaudit.executors.Executor`). Raises DpauditError
    (see dpaudit.errors).
    """
    audit = open_audit(recipe, out=out, overrides=overrides, attacks=attacks, device=device)
    audit = audit if executor is None else audit.with_executor(executor)
    advance(audit, "report", fresh=fresh, progress=progress)
    return AuditResult.model_validate(read_json(audit.path / "results.json"))


def train(  # noqa: PLR0913 (the options of a command, each by its name)
    recipe: str | Path,
    *,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    simulate_batch: int | None = None,
    device: str | None = None,
    fresh: bool = False,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Path:
    """Plan and train every run of a recipe; return the run folder. Arguments as for `run`.

    simulate_batch: imitate the run with this smaller batch (see `dpaudit.simulation`), by default in the folder
    runs/NAME-simulated. The result is not private and promises nothing.
    """
    audit = open_audit(recipe, out=out, overrides=_simulated(recipe, overrides, simulate_batch), device=device)
    audit = audit if executor is None else audit.with_executor(executor)
    advance(audit, "train", fresh=fresh, progress=progress)
    return audit.path


def train_references(  # noqa: PLR0913 (a recipe, and how its references are trained)
    recipe: str | Path,
    *,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    device: str | None = None,
    worker: bool = False,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> tuple[int, int]:
    """Train what the pool lacks of a recipe's references; return (how many it holds, how many there are to be).

    Any number of processes may do so at the same time, on any machines that see the cache folder. worker: train in this
    process, and return when nothing is left that nobody else is training. executor: otherwise, where. `dpaudit.run`
    does it by itself; this is for having more hands. Other arguments as for `run`.
    """
    from dpaudit.pipeline.stages.references import work_on_references  # noqa: PLC0415 (imports torch)

    audit = open_audit(recipe, out=out, overrides=overrides, device=device)
    audit = audit if executor is None else audit.with_executor(executor)
    if not audit.references:
        raise audit.loaded.where.refusal("references.count", 0, "at least 1: there is nothing to train")
    return work_on_references(audit, progress or Silent(), worker=worker)


def forecast(  # noqa: PLR0913 (the options of a command, each by its name)
    recipe: str | Path,
    *,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    attacks: Sequence[str] = (),
    simulate_batch: int | None = None,
    device: str | None = None,
    measure: bool = False,
    progress: Progress | None = None,
) -> Forecast:
    """Return what a recipe would cost and promise: parameters, epsilon, memory, hours. Nothing is trained or written.

    Arguments as for `run` and `train`. measure: time a few real steps; without it no data are read, and
    `data.expected_size` of the recipe stands for data that are elsewhere. `.stages`: the public stage, where there is
    one, and the private one.
    """
    from dpaudit.pipeline.forecasts import forecast as look_ahead  # noqa: PLC0415 (imports torch)

    settings = _simulated(recipe, overrides, simulate_batch)
    audit = open_audit(recipe, out=out, overrides=settings, attacks=attacks, device=device)
    return look_ahead(audit, progress or Silent(), measure=measure)


def _simulated(recipe: str | Path, overrides: Sequence[str], batch: int | None) -> Sequence[str]:
    if batch is None:
        return overrides
    name = load_recipe(recipe, overrides).recipe.name
    return [*overrides, f"privacy.simulate_batch={batch}", f"name={name}-simulated"]


def attack(
    folder: str | Path,
    name: str | None = None,
    options: Mapping[str, object] | None = None,
    *,
    device: str | None = None,
    progress: Progress | None = None,
) -> tuple[str, ...]:
    """Score the candidates of a run folder by the recipe's attacks and by one more, if named; return all labels.

    An attack that the recipe did not name is exploratory: it is shown and never decides. device: as for `run`.
    """
    audit = open_run(folder, device=device)
    if name is not None:
        audit = explore(audit, name, dict(options or {}))
    advance(audit, "attack", progress=progress)
    return tuple(named.label for named in audit.attacks)


def bound(folder: str | Path, *, progress: Progress | None = None) -> Bounded:
    """Open the coins of a run folder and return what they say: `.attacks` and `.bounds`."""
    from dpaudit.pipeline.stages.bound import read_bounds  # noqa: PLC0415 (imports torch)

    audit = open_run(folder)
    advance(audit, "bound", progress=progress)
    return read_bounds(audit)


def account(  # noqa: PLR0913 (the numbers of a mechanism, each by its name)
    *,
    dataset_size: int,
    delta: float,
    noise_multiplier: float | None = None,
    batch_size: int | None = None,
    steps: int | None = None,
    epsilon: float | None = None,
    sampling: Sampling = "poisson",
    adjacency: Adjacency = "add-remove",
    tuning_runs: int | None = None,
) -> AccountStatement:
    """Return what every accountant promises for a mechanism, and the premises of it.

    With a target `epsilon`, exactly one of noise_multiplier, batch_size and steps is left out: it becomes the least
    noise, the largest batch or the most steps that keep the target. `.guarantees`: `epsilon` None where an accountant
    has no sound answer. `.with_tuning`: all tuning runs paid for. `.central_limit`: an estimate, no promise.
    """
    from dpaudit.accounting.solved import Numbers, solved_mechanism  # noqa: PLC0415 (imports dp_accounting)
    from dpaudit.accounting.statement import account_statement  # noqa: PLC0415

    numbers = Numbers(
        noise_multiplier=noise_multiplier,
        batch_size=batch_size,
        steps=steps,
        dataset_size=dataset_size,
        sampling=sampling,
        adjacency=adjacency,
    )
    mechanism = solved_mechanism(numbers, epsilon, delta)
    return account_statement(mechanism, delta, tuning_runs, found=numbers.open)


def plan(  # noqa: PLR0913 (the numbers of a promise and of a design, each by its name)
    recipe: str | Path | None = None,
    *,
    overrides: Sequence[str] = (),
    epsilon: float | None = None,
    delta: float | None = None,
    noise_multiplier: float | None = None,
    batch_size: int | None = None,
    dataset_size: int | None = None,
    steps: int | None = None,
    sampling: Sampling = "poisson",
    adjacency: Adjacency = "add-remove",
    confidence: float = 0.95,
    canaries: Sequence[int] = (),
    runs: Sequence[int] = (),
    budget: float | None = None,
    hours_per_run: float | None = None,
    measure: bool = False,
    progress: Progress | None = None,
) -> Designs:
    """Return what every design of an audit could certify: `.plans`, and `.best` of those within the budget.

    Of a recipe (a file, a built-in name or a run folder), or of a promise in numbers: epsilon and delta, or the
    mechanism's numbers as for `account`. canaries: per run. budget, hours_per_run: hours of training. measure: time a
    few steps of the recipe; without it nothing is trained.

    >>> designs = plan(epsilon=8, delta=1e-5, canaries=[1000], runs=[1, 4])
    >>> designs.best.runs, 6.1 < designs.best.expected["gaussian"] < 6.7
    (4, True)
    """
    from dpaudit.calls.planning import Wanted, plan_recipe, plan_stated  # noqa: PLC0415 (imports dp_accounting)
    from dpaudit.pipeline.promises import Stated  # noqa: PLC0415

    wanted = Wanted(
        canaries=tuple(canaries), runs=tuple(runs), budget=budget, hours_per_run=hours_per_run, measure=measure
    )
    stated = Stated(
        epsilon=epsilon,
        delta=delta,
        noise_multiplier=noise_multiplier,
        batch_size=batch_size,
        dataset_size=dataset_size,
        steps=steps,
        sampling=sampling,
        adjacency=adjacency,
    )
    if recipe is None:
        if overrides:
            raise InputError("--set", ", ".join(overrides), "a recipe, whose values it changes")
        return plan_stated(stated, wanted, confidence, progress or Silent())
    if stated != Stated():
        given = next(name for name, value in vars(stated).items() if value != getattr(Stated(), name))
        raise InputError(given, getattr(stated, given), "a recipe or numbers, not both; --set changes a recipe")
    return plan_recipe(open_audit(recipe, overrides=overrides), wanted, progress or Silent())


def probe(
    folder: str | Path, *, device: str | None = None, progress: Progress | None = None
) -> tuple[ProbeResult, ...]:
    """Measure the recipe's probes on every target of a run folder and return the results. device: as for `run`."""
    audit = open_run(folder, device=device)
    advance(audit, "probe", progress=progress)
    names = [(name, entry.label) for name in audit.targets for entry in audit.recipe.probes]
    return tuple(
        ProbeResult.model_validate(read_json(audit.path / "probes" / f"{name}-{label}.json")) for name, label in names
    )


def report(
    folder: str | Path, *, public: bool | None = None, device: str | None = None, progress: Progress | None = None
) -> Path:
    """Do what is missing, write the page, and return its path.

    public: leave out what is private. device: as for `run`.
    """
    audit = open_run(folder, device=device)
    if public is not None:
        audit = audit.with_report(public=public)
    advance(audit, "report", progress=progress)
    return audit.path / "report.html"


def gate(folder: str | Path, conditions: Gate) -> tuple[Condition, ...]:
    """Return every condition of a gate with what a finished audit says of it; nothing is computed or written.

    Raises InputError for a folder without a report, DamagedRunError if results.json is not what the report wrote.
    """
    return conditions.judge(finished(folder))


def finished(folder: str | Path) -> AuditResult:
    """Return what a finished audit found, after checking that it is what its report wrote.

    Raises InputError for a folder without a report, DamagedRunError if a file of the report was changed.
    """
    path = Path(folder)
    if not (path / "stages" / "report.json").exists():
        raise InputError("run", str(folder), "a folder in which `dpaudit run` has finished")
    RunFolder(path).verify("report")
    try:
        return AuditResult.model_validate(read_json(path / "results.json"))
    except ValueError as error:
        first = str(error).splitlines()[0]
        raise DamagedRunError(str(path / "results.json"), first, "results of this version; `dpaudit report`") from error


def compare(folders: Sequence[str | Path], *, out: str | Path = "compared") -> dict[str, AuditResult]:
    """Write `out`/compare.html and compare.csv of finished audits; return what each found, by the name of its folder.

    Folders of one name are told apart by as much of their path as that takes. Raises as `finished` does.
    """
    from dpaudit.reports.comparison import write_comparison  # noqa: PLC0415 (imports matplotlib)

    paths = list(dict.fromkeys(Path(folder).resolve() for folder in folders))
    if not paths:
        raise InputError("folders", "", "at least one run folder")
    runs = {name: finished(path) for name, path in zip(_names(paths), paths, strict=True)}
    write_comparison(runs, Path(out))
    return runs


def _names(paths: Sequence[Path]) -> list[str]:
    """Return the shortest tails of the paths that tell them apart."""
    most = max(len(path.parts) for path in paths)
    tails = (["/".join(path.parts[-length:]) for path in paths] for length in range(1, most + 1))
    return next(names for names in tails if len(set(names)) == len(names))
