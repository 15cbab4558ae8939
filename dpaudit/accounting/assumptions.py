"""The premises of a promise, each judged from what was executed: held, violated or unknown, with its evidence.

Three of the checks are random (sampling rate, batch size scatter, noise scale). Each raises a false alarm with
probability `CHECK_LEVEL` at most in a clean run: together 3 in 10,000, of the 1 in 1,000 that all checks may take.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from dpaudit.accounting.checks import (
    dispersion_p_value,
    noise_scale_interval,
    noise_scale_p_value,
    sampling_rate_p_value,
)
from dpaudit.accounting.facts import ExecutedFacts, NoiseSample
from dpaudit.results import Assumption

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ASSUMPTION_NAMES", "CHECK_LEVEL", "ExecutedFacts", "NoiseSample", "assumptions"]

CHECK_LEVEL = 1e-4
_NORM_ROUNDING = 1e-4  # a float32 norm of many numbers, relative
_CONSTANT_ROUNDING = 1e-6

_Judgement = tuple[Literal["held", "violated", "unknown"], str]


def assumptions(facts: ExecutedFacts) -> tuple[Assumption, ...]:
    """Return the ledger of assumptions, always all of them and in the order of `ASSUMPTION_NAMES`."""
    judged = ((name, judge(facts)) for name, judge in _JUDGES.items())
    return tuple(Assumption(name=name, status=status, evidence=evidence) for name, (status, evidence) in judged)


def _sampling_as_accounted(facts: ExecutedFacts) -> _Judgement:
    mechanism = facts.mechanism
    if facts.sampling != mechanism.sampling:
        return "violated", f"executed: {facts.sampling}; accounted: {mechanism.sampling}"
    if mechanism.adjacency == "add-remove" and facts.sampling in ("fixed", "shuffle"):
        return "violated", f"{facts.sampling} sampling has no sound account under add-remove"
    return "held", f"{facts.sampling} sampling, accounted as such"


def _sampling_rate(facts: ExecutedFacts) -> _Judgement:
    trials, rate = facts.steps * facts.records_present, facts.mechanism.sampling_rate
    if facts.sampling != "poisson":
        return "held", f"{facts.drawn_total:,} draws; {facts.sampling} sampling does not draw at random"
    p_value = sampling_rate_p_value(facts.drawn_total, trials, rate)
    evidence = f"{facts.drawn_total:,} draws of {trials:,} chances, expected {rate * trials:,.1f} (p = {p_value:.2g})"
    return _by_level(p_value), evidence


def _batch_sizes_scatter(facts: ExecutedFacts) -> _Judgement:
    if facts.sampling != "poisson":
        return "held", f"{facts.sampling} sampling: batch sizes are not random"
    drawn = (facts.drawn_total, facts.drawn_square_total)
    p_value = dispersion_p_value(drawn, facts.steps, facts.records_present, facts.mechanism.sampling_rate)
    return _by_level(p_value), f"batch sizes of {facts.steps:,} steps against the binomial (p = {p_value:.2g})"


def _divisor(facts: ExecutedFacts) -> _Judgement:
    expected = facts.mechanism.batch_size
    wrong = [value for value in facts.divisors if not _equal(value, expected)]
    if wrong:
        return "violated", f"divided by {_listed(wrong)}, the expected batch size is {expected}"
    return "held", f"always divided by {expected}"


def _sizes(facts: ExecutedFacts) -> _Judgement:
    mechanism = facts.mechanism
    expected = mechanism.sampling_rate * mechanism.dataset_size
    evidence = f"rate x records = {expected:,.6g}, batch size {mechanism.batch_size:,}"
    return ("held" if abs(expected - mechanism.batch_size) <= 1 else "violated"), evidence


def _canaries(facts: ExecutedFacts) -> _Judgement:
    counted, accounted = facts.records + facts.input_canaries, facts.mechanism.dataset_size
    evidence = (
        f"{facts.records:,} records + {facts.input_canaries:,} input canaries, in or out; accounted {accounted:,}"
    )
    return ("held" if counted == accounted else "violated"), evidence


def _steps(facts: ExecutedFacts) -> _Judgement:
    evidence = f"{facts.steps:,} executed, {facts.mechanism.steps:,} accounted"
    return ("held" if facts.steps == facts.mechanism.steps else "violated"), evidence


def _noise_every_step(facts: ExecutedFacts) -> _Judgement:
    if not facts.mechanism.is_private:
        return "held", "no noise is promised"
    evidence = f"noise in {facts.noise_draws:,} of {facts.steps:,} steps"
    return ("held" if facts.noise_draws == facts.steps else "violated"), evidence


def _noise_recorded(facts: ExecutedFacts) -> _Judgement:
    if not facts.mechanism.is_private:
        return "held", "no noise is promised"
    declared = facts.mechanism.noise_multiplier * facts.sensitivity
    wrong = [value for value in facts.noise_stds if not _equal(value, declared)]
    if wrong:
        return "violated", f"std {_listed(wrong)} in the ledger, {declared:g} accounted"
    return "held", f"std {declared:g} = {facts.mechanism.noise_multiplier:g} x sensitivity {facts.sensitivity:g}"


def _noise_measured(facts: ExecutedFacts) -> _Judgement:
    if not facts.mechanism.is_private:
        return "held", "no noise is promised"
    if facts.noise is None or facts.noise.count == 0:
        return "unknown", "not measured"
    low, high = noise_scale_interval(facts.noise, CHECK_LEVEL)
    evidence = f"std / declared in [{low:.6f}, {high:.6f}] at 99.99 %, {facts.noise.count:,} numbers"
    return _by_level(noise_scale_p_value(facts.noise)), evidence


def _noise_secret(facts: ExecutedFacts) -> _Judgement:
    if facts.reproducible:
        return "violated", "reproducible: whoever knows the seed can subtract the noise; do not release this run"
    return "held", "keys from the operating system, kept in sealed/"


def _sensitivity(facts: ExecutedFacts) -> _Judgement:
    clip = facts.mechanism.clip_norm
    if not math.isfinite(clip):
        return "held", "no clipping is promised"
    if facts.largest_norm is None:
        return "unknown", "not measured here; record-and-replay decides"
    evidence = f"largest clipped norm {facts.largest_norm:.6g}, clip norm {clip:g}"
    return ("held" if facts.largest_norm <= clip * (1 + _NORM_ROUNDING) else "violated"), evidence


def _privacy_unit(facts: ExecutedFacts) -> _Judgement:
    if facts.duplicates is None:
        return "unknown", f"one record is one {facts.privacy_unit}; duplicates were not counted"
    if facts.duplicates > 0:
        return "unknown", f"{facts.duplicates:,} records share content with another one: it is protected less"
    return "held", f"one record is one {facts.privacy_unit}, no duplicates"


def _records_apart(facts: ExecutedFacts) -> _Judgement:
    if facts.cross_record_layers:
        return "violated", f"layers that mix records: {', '.join(facts.cross_record_layers[:5])}"
    return "held", "no layer mixes records or keeps statistics of them"


def _pretraining(facts: ExecutedFacts) -> _Judgement:
    weights = facts.initial_weights
    if weights == "unknown":
        return "unknown", "nobody said where the initial weights are from"
    return ("violated" if weights == "private" else "held"), f"initial weights: {weights}"


def _tuning(facts: ExecutedFacts) -> _Judgement:
    if facts.tuning_runs is None:
        return "unknown", "nobody said how many runs on the private data chose the settings"
    return "held", f"{facts.tuning_runs} tuning runs on the private data, counted beside epsilon and not in it"


def _by_level(p_value: float) -> Literal["held", "violated"]:
    return "held" if p_value >= CHECK_LEVEL else "violated"


def _equal(value: float, expected: float) -> bool:
    return math.isclose(value, expected, rel_tol=_CONSTANT_ROUNDING)


def _listed(values: list[float]) -> str:
    return ", ".join(f"{value:g}" for value in values[:3]) + (", ..." if len(values) > 3 else "")


_JUDGES: dict[str, Callable[[ExecutedFacts], _Judgement]] = {
    "sampling is what is accounted": _sampling_as_accounted,
    "sampling rate measured": _sampling_rate,
    "batch sizes scatter as declared": _batch_sizes_scatter,
    "divisor is the expected batch size": _divisor,
    "sizes are public constants": _sizes,
    "canaries are counted in sizes": _canaries,
    "steps executed are steps accounted": _steps,
    "noise in every step": _noise_every_step,
    "noise scale in the ledger": _noise_recorded,
    "noise scale measured": _noise_measured,
    "noise is secret": _noise_secret,
    "sensitivity respected": _sensitivity,
    "privacy unit": _privacy_unit,
    "records do not mix": _records_apart,
    "pre-training data is public": _pretraining,
    "tuning runs are counted": _tuning,
}

ASSUMPTION_NAMES = tuple(_JUDGES)
