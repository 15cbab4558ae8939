"""Hypotheses: families of trade-off curves ordered by one parameter, and the search for the largest curve refuted.

A family is ordered: of two of its curves one lies nowhere above the other. The mechanism's own curve is one of them,
and whoever refutes a curve refutes all that promise more. So "the largest curve refuted" errs with the chance that
the mechanism's own curve is refuted, whatever the search does, as long as it answers with a curve that it saw
refuted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from scipy.special import ndtri

from dpaudit.bounds.crossing import last_below
from dpaudit.bounds.gdp import gdp_epsilon
from dpaudit.bounds.tradeoff import EpsilonDelta, Gaussian, TradeOff
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpaudit.results import Hypothesis

__all__ = ["Family", "Refuted", "accountant_family", "any_family", "gaussian_family"]

#: by which factor the first two parameters that are tried differ
_FAR, _NEAR = 2.0, 1.02
Curve_co = TypeVar("Curve_co", bound=TradeOff, covariant=True)


@dataclass(frozen=True, kw_only=True)
class Refuted:
    """The largest curve refuted: its parameter (None: no curve is refuted) and its epsilon at the family's delta."""

    parameter: float | None
    epsilon: float


@dataclass(frozen=True, kw_only=True)
class Family(Generic[Curve_co]):
    """Curves ordered by one parameter, from `private`, which promises most, to `exposed`, which promises least.

    epsilon: parameter -> epsilon at delta. tolerance: how far the answer's parameter may be from the last one
    refuted, always on the private side. start: where to begin the search if curves are costly, above 0.
    """

    hypothesis: Hypothesis
    delta: float
    curve: Callable[[float], Curve_co]
    epsilon: Callable[[float], float]
    private: float
    exposed: float
    tolerance: float
    start: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.delta < 1:
            raise InputError("delta", self.delta, "a number of at least 0 and below 1")
        if not self.tolerance > 0:
            raise InputError("tolerance", self.tolerance, "a number above 0")

    def largest_refuted(self, refutes: Callable[[Curve_co], bool]) -> Refuted:
        """Return the largest curve for which `refutes` is true, to the tolerance, by bisection.

        The exposed end itself is never tried (its curve may be the costliest to compute): the answer stops short of it.

        >>> any_family(delta=0.0).largest_refuted(lambda curve: curve.epsilon <= 2).epsilon <= 2
        True
        """
        if not refutes(self.curve(self.private)):
            return Refuted(parameter=None, epsilon=0.0)
        refuted, kept = self.private, self.exposed
        while abs(kept - refuted) > self.tolerance:
            middle = (refuted + kept) / 2
            refuted, kept = (middle, kept) if refutes(self.curve(middle)) else (refuted, middle)
        return Refuted(parameter=refuted, epsilon=self.epsilon(refuted))

    def largest_below(self, p_value: Callable[[Curve_co], float], level: float, near: float | None = None) -> Refuted:
        """Return the largest curve whose p-value is at most `level`, to the tolerance; for a family with a `start`.

        The p-values, not only whether they are small, choose what is tried next: an answer for fewer curves. near: a
        parameter that the answer's is expected to lie within a few per cent of.

        >>> noises = accountant_family(lambda noise: noise, lambda _: 0.0, delta=0.1, noise_multipliers=(1, 9), start=2)
        >>> round(noises.largest_below(lambda noise: 0.15 / noise, 0.05).parameter, 1)
        3.0
        """
        if self.start is None:
            raise InputError("start", None, "a parameter to begin at")
        found = last_below(
            lambda parameter: float(ndtri(p_value(self.curve(parameter))) - ndtri(level)),
            start=self.start if near is None else near,
            ends=(self.private, self.exposed),
            tolerance=self.tolerance,
            factor=_FAR if near is None else _NEAR,
        )
        return Refuted(parameter=found, epsilon=0.0 if found is None else self.epsilon(found))


def any_family(*, delta: float) -> Family[EpsilonDelta]:
    """Return (epsilon, delta)-DP, parameter epsilon: the only family that bounds an unknown mechanism."""
    return Family(
        hypothesis="any",
        delta=delta,
        curve=lambda epsilon: EpsilonDelta(epsilon, delta),
        epsilon=lambda epsilon: epsilon,
        private=0.0,
        exposed=100.0,
        tolerance=1e-7,
    )


def gaussian_family(*, delta: float) -> Family[Gaussian]:
    """Return mu-GDP, parameter mu: refutes promises of that form only."""
    if not 0 < delta < 1:
        raise InputError("delta", delta, "a number between 0 and 1, both excluded: a Gaussian promises nothing at 0")
    return Family(
        hypothesis="gaussian",
        delta=delta,
        curve=Gaussian,
        epsilon=lambda mu: gdp_epsilon(mu, delta),
        private=0.0,
        exposed=40.0,
        tolerance=1e-7,
    )


def accountant_family(
    curve: Callable[[float], Curve_co],
    epsilon: Callable[[float], float],
    *,
    delta: float,
    noise_multipliers: tuple[float, float],
    tolerance: float = 1e-3,
    start: float | None = None,
) -> Family[Curve_co]:
    """Return the accountant's curves of the executed mechanism at other noise multipliers, the parameter.

    curve, epsilon: noise multiplier -> the accountant's curve, and its epsilon at delta. noise_multipliers: (least,
    most) that are searched; below the least nothing is refuted, and above the most epsilon counts as 0. start: where
    the search begins, by default between the two.
    """
    least, most = noise_multipliers
    if not 0 < least < most:
        raise InputError("noise_multipliers", noise_multipliers, "two numbers above 0, the smaller first")
    return Family(
        hypothesis="accountant",
        delta=delta,
        curve=curve,
        epsilon=epsilon,
        private=most,
        exposed=least,
        tolerance=tolerance,
        start=start,
    )
