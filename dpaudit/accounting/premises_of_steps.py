"""The premises that a ledger of steps can show to hold or not: sampling, sizes, noise, sensitivity."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, TypeAlias

from dpaudit.accounting.checks import (
    dispersion_p_value,
    fixed_draws_p_value,
    noise_scale_interval,
    noise_scale_p_value,
    sampling_rate_p_value,
)

if TYPE_CHECKING:
    from dpaudit.accounting.facts import ExecutedFacts
    from dpaudit.mechanism import Mechanism

__all__ = [
    "CHECK_LEVEL",
    "Judgement",
    "batch_sizes_scatter",
    "divisor",
    "noise_every_step",
    "noise_measured",
    "noise_recorded",
    "noise_secret",
    "sampling_as_accounted",
    "sampling_rate",
    "sensitivity",
    "sizes",
    "steps",
]

#: two-sided level of each random check
CHECK_LEVEL = 1e-4
_NORM_ROUNDING = 1e-4  # a float32 norm of many numbers, relative
_CONSTANT_ROUNDING = 1e-6

#: status and evidence
Judgement: TypeAlias = tuple[Literal["held", "violated", "unknown"], str]


def sampling_as_accounted(facts: ExecutedFacts) -> Judgement:
    """Judge whether the run's sampler is the one accounted, and one that can be."""
    executed, accounted = (each.sampling + each.stream for each in (facts.executed, facts.mechanism))
    mixing = _mixing(facts.executed)
    if executed != accounted:
        return "violated", f"executed: {executed}; accounted: {accounted}{mixing}"
    sampling = facts.executed.sampling
    if facts.mechanism.adjacency == "add-remove" and sampling in ("fixed", "shuffle"):
        return "violated", f"{sampling} sampling has no sound account under add-remove{mixing}"
    return "held", f"{sampling} sampling{facts.executed.stream}, accounted as such"


def _mixing(executed: Mechanism) -> str:
    """Return what a stream does to batches, in words; nothing of other samplers."""
    if not executed.is_streamed:
        return ""
    read = f"records were streamed in storage order through a buffer of {executed.shuffle_buffer:,}"
    return f"; {read} of {executed.dataset_size:,}, so who is with whom in a batch is nearly fixed"


def sampling_rate(facts: ExecutedFacts) -> Judgement:
    """Judge from the number of draws: at random under Poisson and fixed sampling, exactly otherwise."""
    match facts.executed.sampling:
        case "poisson":
            trials, rate = facts.steps * facts.records_present, facts.mechanism.sampling_rate
            return _of_expected(facts, rate * trials, sampling_rate_p_value(sum(facts.drawn), trials, rate))
        case "fixed":
            return _fixed_rate(facts)
        case "shuffle":
            return _every_epoch(facts)
        case "full":
            steps = [drawn for drawn in facts.drawn if drawn != facts.records_present]
            evidence = (
                f"{facts.steps - len(steps):,} of {facts.steps:,} steps held all {facts.records_present:,} records"
            )
            return ("violated" if steps else "held"), evidence


def _fixed_rate(facts: ExecutedFacts) -> Judgement:
    size, share = facts.mechanism.batch_size, facts.records_present / facts.mechanism.dataset_size
    if facts.drawn and max(facts.drawn) > size:
        return "violated", f"a step held {max(facts.drawn):,} records, more than the batch of {size:,}"
    draws = facts.steps * size
    return _of_expected(facts, draws * share, fixed_draws_p_value(sum(facts.drawn), draws, share))


def _of_expected(facts: ExecutedFacts, expected: float, p_value: float) -> Judgement:
    evidence = f"{sum(facts.drawn):,} draws in {facts.steps:,} steps, expected {expected:,.1f} (p = {p_value:.2g})"
    return _by_level(p_value), evidence


def _every_epoch(facts: ExecutedFacts) -> Judgement:
    length = -(-facts.mechanism.dataset_size // facts.mechanism.batch_size)
    totals = [sum(facts.drawn[start : start + length]) for start in range(0, facts.steps, length)]
    whole = totals[: facts.steps // length]
    right = sum(total == facts.records_present for total in whole)
    evidence = f"{right:,} of {len(whole):,} whole epochs drew each of {facts.records_present:,} records once"
    too_many = any(total > facts.records_present for total in totals)
    return ("violated" if right < len(whole) or too_many else "held"), evidence


def batch_sizes_scatter(facts: ExecutedFacts) -> Judgement:
    """Judge whether Poisson batches scatter as independent draws do: neither too even nor too uneven."""
    if facts.executed.sampling != "poisson":
        return "held", f"{facts.executed.sampling} sampling: batch sizes are not random"
    drawn = (sum(facts.drawn), sum(size**2 for size in facts.drawn))
    p_value = dispersion_p_value(drawn, facts.steps, facts.records_present, facts.mechanism.sampling_rate)
    return _by_level(p_value), f"batch sizes of {facts.steps:,} steps against the binomial (p = {p_value:.2g})"


def divisor(facts: ExecutedFacts) -> Judgement:
    """Judge whether every sum was divided by the expected batch size, whatever was drawn."""
    expected = facts.mechanism.batch_size
    wrong = [value for value in facts.divisors if not _equal(value, expected)]
    if wrong:
        return "violated", f"divided by {_listed(wrong)}, the expected batch size is {expected}"
    return "held", f"always divided by {expected}"


def sizes(facts: ExecutedFacts) -> Judgement:
    """Judge whether rate, batch and data size fit together and are the same in every step."""
    mechanism = facts.mechanism
    wrong = [rate for rate in facts.sampling_rates if not _equal(rate, mechanism.sampling_rate)]
    if wrong:
        return "violated", f"sampling rate {_listed(wrong)} in the ledger, {mechanism.sampling_rate:g} accounted"
    expected = mechanism.sampling_rate * mechanism.dataset_size
    evidence = f"rate x records = {expected:,.6g}, batch size {mechanism.batch_size:,}, in every step"
    return ("held" if abs(expected - mechanism.batch_size) <= 1 else "violated"), evidence


def steps(facts: ExecutedFacts) -> Judgement:
    """Judge whether the number of updates is the number accounted."""
    evidence = f"{facts.steps:,} executed, {facts.mechanism.steps:,} accounted"
    return ("held" if facts.steps == facts.mechanism.steps else "violated"), evidence


def noise_every_step(facts: ExecutedFacts) -> Judgement:
    """Judge whether noise was added in every step, empty batches included."""
    if not facts.mechanism.is_private:
        return "held", "no noise is promised"
    evidence = f"noise in {facts.noise_draws:,} of {facts.steps:,} steps"
    return ("held" if facts.noise_draws == facts.steps else "violated"), evidence


def noise_recorded(facts: ExecutedFacts) -> Judgement:
    """Judge whether the standard deviations in the ledger are the accounted ones."""
    if not facts.mechanism.is_private:
        return "held", "no noise is promised"
    declared = facts.mechanism.noise_multiplier * facts.noise_unit
    wrong = [value for value in facts.noise_stds if not _equal(value, declared)]
    if wrong:
        return "violated", f"std {_listed(wrong)} in the ledger, {declared:g} accounted"
    return "held", f"std {declared:g} = {facts.mechanism.noise_multiplier:g} x sensitivity {facts.noise_unit:g}"


def noise_measured(facts: ExecutedFacts) -> Judgement:
    """Judge from the added numbers themselves whether their scale is the one in the ledger."""
    if not facts.mechanism.is_private:
        return "held", "no noise is promised"
    if facts.noise is None or facts.noise.count == 0:
        return "unknown", "not measured"
    low, high = noise_scale_interval(facts.noise, CHECK_LEVEL)
    evidence = f"std / declared in [{low:.6f}, {high:.6f}] at 99.99 %, {facts.noise.count:,} numbers"
    return _by_level(noise_scale_p_value(facts.noise)), evidence


def noise_secret(facts: ExecutedFacts) -> Judgement:
    """Judge whether anybody could compute the noise again."""
    if facts.reproducible:
        return "violated", "reproducible: whoever knows the seed can subtract the noise; do not release this run"
    return "held", "keys from the operating system, kept in sealed/"


def sensitivity(facts: ExecutedFacts) -> Judgement:
    """Judge whether no contribution was longer than the clip norm, and whether the trainer stands by what it says."""
    clip = facts.mechanism.clip_norm
    if not math.isfinite(clip):
        return "held", "no clipping is promised"
    if facts.unsound is not None:
        return "violated", f"the trainer itself says so: {facts.unsound}"
    if facts.coupling.by_design:
        return "unknown", "records of a whole batch have no norm of their own; record and replay decides"
    if facts.largest_norm is None:
        return "unknown", "not measured here; record-and-replay decides"
    evidence = f"largest clipped norm {facts.largest_norm:.6g}, clip norm {clip:g}"
    return ("held" if facts.largest_norm <= clip * (1 + _NORM_ROUNDING) else "violated"), evidence


def _by_level(p_value: float) -> Literal["held", "violated"]:
    return "held" if p_value >= CHECK_LEVEL else "violated"


def _equal(value: float, expected: float) -> bool:
    return math.isclose(value, expected, rel_tol=_CONSTANT_ROUNDING)


def _listed(values: list[float]) -> str:
    return ", ".join(f"{value:g}" for value in values[:3]) + (", ..." if len(values) > 3 else "")
