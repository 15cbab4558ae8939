"""A mechanism's event as a flat, ordered list of Gaussian steps: what a numerical accountant composes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dp_accounting import DpEvent

__all__ = ["CoarseParts", "GaussianPart", "Parts", "Unaccountable", "coarse_parts", "gaussian_parts"]

Unaccountable: TypeAlias = Literal["not private", "not supported"]
_NO_NOISE = 1e-50  # below, squares underflow; counted as no noise
_RATIOS = (1.001, 1.002, 1.005, 1.01, 1.02, 1.05, 1.1, 1.25, 1.5, 2.0, 10.0, 1e4)


@dataclass(frozen=True, order=True)
class GaussianPart:
    """`count` releases of a Gaussian mechanism on a sample. `replacement`: sampled without replacement, not Poisson.

    noise_multiplier: noise std / add-remove sensitivity; rate 1 means every record is in.
    """

    rate: float
    noise_multiplier: float
    count: int
    without_replacement: bool = False


Parts: TypeAlias = tuple[GaussianPart, ...]


@dataclass(frozen=True, kw_only=True)
class CoarseParts:
    """parts: rounded; ratio: by which factor at most noise was rounded down and rate up, 1 if not at all."""

    parts: Parts
    ratio: float


def gaussian_parts(event: DpEvent) -> Parts | Unaccountable:
    """Return the parts of an event, equal ones merged and sorted, so that the order of composition cannot matter.

    "not private" if any release has no noise; "not supported" if any part is marked as having no sound account.

    >>> import dp_accounting as dp
    >>> step = dp.PoissonSampledDpEvent(0.1, dp.GaussianDpEvent(2.0))
    >>> gaussian_parts(dp.ComposedDpEvent([step, dp.SelfComposedDpEvent(step, 4)]))
    (GaussianPart(rate=0.1, noise_multiplier=2.0, count=5, without_replacement=False),)

    Raises:
        InputError: Names an event that no accountant here knows.
    """
    leaves = list(_leaves(event, 1))
    if any(leaf == "not supported" for leaf in leaves):
        return "not supported"
    parts = [leaf for leaf in leaves if isinstance(leaf, GaussianPart)]
    if len(parts) < len(leaves) or any(part.noise_multiplier < _NO_NOISE for part in parts):
        return "not private"
    return _merged(parts)


def _leaves(event: DpEvent, count: int) -> Iterator[GaussianPart | Unaccountable]:
    import dp_accounting as dp  # noqa: PLC0415  # takes 1.3 s

    match event:
        case dp.NoOpDpEvent():
            return
        case dp.NonPrivateDpEvent():
            yield "not private"
        case dp.UnsupportedDpEvent():
            yield "not supported"
        case dp.SelfComposedDpEvent():
            yield from _leaves(event.event, event.count * count)
        case dp.ComposedDpEvent():
            for item in event.events:
                yield from _leaves(item, count)
        case _:
            yield from _release(event, count)


def _release(event: DpEvent, count: int) -> Iterator[GaussianPart]:
    import dp_accounting as dp  # noqa: PLC0415  # takes 1.3 s

    match event:
        case dp.GaussianDpEvent():
            yield GaussianPart(1.0, event.noise_multiplier, count)
        case dp.PoissonSampledDpEvent(event=dp.GaussianDpEvent() as release):
            if event.sampling_probability > 0:
                yield GaussianPart(event.sampling_probability, release.noise_multiplier, count)
        case dp.SampledWithoutReplacementDpEvent(event=dp.GaussianDpEvent() as release):
            rate = min(1.0, event.sample_size / event.source_dataset_size)
            yield GaussianPart(rate, release.noise_multiplier, count, without_replacement=rate < 1)
        case _:
            raise InputError("event", type(event).__name__, "Gaussian releases, sampled or not, composed")


def _merged(parts: list[GaussianPart]) -> Parts:
    counts: dict[tuple[float, float, bool], int] = {}
    for part in parts:
        key = (part.rate, part.noise_multiplier, part.without_replacement)
        counts[key] = counts.get(key, 0) + part.count
    merged = [GaussianPart(rate, noise, count, wor) for (rate, noise, wor), count in counts.items() if rate < 1]
    precision = sum(count / noise**2 for (rate, noise, _), count in sorted(counts.items()) if rate == 1)
    full = [GaussianPart(1.0, 1 / math.sqrt(precision), 1)] if precision > 0 else []
    return tuple(sorted(merged + full))


def coarse_parts(parts: Parts, most: int) -> CoarseParts:
    """Return at most about `most` parts that are no more private: noise rounded down, rate up, on a geometric grid.

    >>> ledger = tuple(GaussianPart(0.1, 1 + step / 1000, 1) for step in range(1000))
    >>> coarse = coarse_parts(ledger, 80)
    >>> print(len(coarse.parts), sum(part.count for part in coarse.parts), coarse.ratio)
    70 1000 1.01
    """
    coarse = CoarseParts(parts=parts, ratio=1.0)
    for ratio in _RATIOS:
        if len(coarse.parts) <= most:
            break
        coarse = CoarseParts(parts=_merged([_rounded(part, ratio) for part in parts]), ratio=ratio)
    return coarse


def _rounded(part: GaussianPart, ratio: float) -> GaussianPart:
    if part.rate == 1:
        return part
    noise = min(part.noise_multiplier, ratio ** math.floor(math.log(part.noise_multiplier, ratio)))
    rate = min(1.0, max(part.rate, ratio ** math.ceil(math.log(part.rate, ratio))))
    return replace(part, noise_multiplier=noise, rate=rate, without_replacement=part.without_replacement and rate < 1)
