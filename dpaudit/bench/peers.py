"""Other tools' bounds through the same harness, where they are installed: `pip install dpaudit[peers]`.

Of the tools that print bounds on epsilon only jax_privacy can be installed beside dpaudit today; docs/statistics/
bounds.md has what was measured of the others.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Literal

from dpaudit.bench.bounds import BoundsBench, measure_all
from dpaudit.bench.contender import CONFIDENCE, DELTA, Contender
from dpaudit.bounds.family import any_family, gaussian_family
from dpaudit.results import Value

if TYPE_CHECKING:
    from dpaudit.bench.contender import Measure, Runs
    from dpaudit.bounds.clopper_pearson import Trials
    from dpaudit.bounds.family import Family
    from dpaudit.progress import Progress

__all__ = ["Peer", "bench_peers", "jax_privacy_contenders"]

_ALPHA = 1 - CONFIDENCE


class Peer(Value):
    """One other tool. version, bench: None where it is not installed."""

    schema_version: Literal[1] = 1
    name: str
    version: str | None
    bench: BoundsBench | None


def bench_peers(audits: int, *, seed: int = 0, progress: Progress | None = None) -> tuple[Peer, ...]:
    """Measure the bounds of every peer that is installed."""
    installed = _version("jax_privacy")
    if installed is None:
        return (Peer(name="jax_privacy", version=None, bench=None),)
    contenders = jax_privacy_contenders(import_module("jax_privacy.auditing"))
    bench = measure_all("jax_privacy", contenders, audits, seed=seed, progress=progress)
    return (Peer(name="jax_privacy", version=installed, bench=bench),)


def jax_privacy_contenders(auditing: Any) -> tuple[Contender, ...]:
    """Return the bounds of jax_privacy's CanaryScoreAuditor; auditing: the module `jax_privacy.auditing`.

    It takes scores and cannot know what they are: Clopper-Pearson and Gaussian DP are given independent runs, for which
    they are meant, the others the canaries of one run.
    """
    any_, gaussian = any_family(delta=DELTA), gaussian_family(delta=DELTA)
    strategies = {"Bonferroni": auditing.Bonferroni(), "Split": auditing.Split(seed=0)}
    chosen: tuple[tuple[str, Family[Any], Trials], ...] = (
        ("epsilon_clopper_pearson", any_, "independent runs"),
        ("epsilon_one_run", any_, "canaries of one run"),
        ("epsilon_one_run_fdp", gaussian, "canaries of one run"),
    )
    return (
        *(
            Contender(
                method=name,
                strategy=label,
                claim="peer",
                family=family,
                epsilon=_calling(auditing, name, significance=_ALPHA, threshold_strategy=strategy),
                trials=trials,
                slow=10 if name == "epsilon_one_run_fdp" else 1,
            )
            for name, family, trials in chosen
            for label, strategy in strategies.items()
        ),
        Contender(
            method="epsilon_from_gdp",
            strategy="all thresholds",
            claim="peer",
            family=gaussian,
            epsilon=_calling(auditing, "epsilon_from_gdp", significance=_ALPHA),
            trials="independent runs",
        ),
        Contender(
            method="epsilon_raw_counts",
            strategy="best of all",
            claim="estimate",
            family=any_,
            epsilon=_calling(auditing, "epsilon_raw_counts"),
            trials="independent runs",
        ),
    )


def _calling(auditing: Any, name: str, **options: Any) -> Measure:
    def epsilon(family: Family[Any], runs: Runs) -> float:
        (run,) = runs
        auditor = auditing.CanaryScoreAuditor(run.scores[run.member], run.scores[~run.member])
        return float(getattr(auditor, name)(delta=family.delta, **options))

    return epsilon


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
