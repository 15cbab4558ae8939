"""The epsilons that a mechanism promises at a delta: three accountants, each with what it cannot answer.

PLD (dp-accounting) is tight and decides; RDP (dp-accounting) is what papers report; PRV (Opacus) is a second source.
Which combinations have a sound account is stated once, in `_refusal`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dpaudit.accounting import pld
from dpaudit.accounting.events import mechanism_event
from dpaudit.accounting.gaussian import gaussian_epsilon
from dpaudit.accounting.parts import Parts, Unaccountable, coarse_parts, gaussian_parts
from dpaudit.accounting.prv import prv_epsilon, prv_grid
from dpaudit.accounting.rdp import ORDERS_IN_WORDS, renyi_epsilon, twice_removed_epsilon
from dpaudit.errors import DpauditError, InputError
from dpaudit.results import Guarantee

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dp_accounting import DpEvent

    from dpaudit.mechanism import Adjacency, Mechanism

__all__ = ["DisagreementError", "event_guarantees", "guarantees", "headline", "premise_of", "tight_guarantee"]

_TOLERANCE = 1e-3
_MOST_PARTS = 80
_ACCOUNTANTS = ("PLD", "RDP", "PRV")


class DisagreementError(DpauditError):
    """Two accountants contradict each other, so neither number can be trusted."""


def guarantees(mechanism: Mechanism, delta: float) -> tuple[Guarantee, ...]:
    """Return what PLD, RDP and PRV promise, in this order.

    >>> from dpaudit.mechanism import Mechanism
    >>> mechanism = Mechanism(sampling="full", adjacency="add-remove", noise_multiplier=4.0, sampling_rate=1.0,
    ...                       steps=16, clip_norm=1.0, batch_size=100, dataset_size=100)
    >>> for guarantee in guarantees(mechanism, 1e-5):
    ...     print(guarantee.accountant, guarantee.epsilon and round(guarantee.epsilon, 2))
    PLD 4.38
    RDP 4.73
    PRV None

    Raises:
        InputError: delta is not between 0 and 1.
        DisagreementError: PLD and PRV differ by more than 1 % and 0.02, or RDP is below PLD.
    """
    return event_guarantees(mechanism_event(mechanism), mechanism.adjacency, delta, premise_of(mechanism))


def event_guarantees(event: DpEvent, adjacency: Adjacency, delta: float, premise: str = "") -> tuple[Guarantee, ...]:
    """Return what PLD, RDP and PRV promise for a composed event; `premise` is put before each note."""
    if not 0 < delta < 1:
        raise InputError("delta", delta, "a number between 0 and 1, both excluded")
    parts, rounding = _accountable_parts(event)
    answers = [_answer_of(name, parts, adjacency, delta) for name in _ACCOUNTANTS]
    if adjacency == "replace-one" and not isinstance(parts, str) and all(each.epsilon is None for each in answers):
        answers = _of_last_resort(answers, parts, delta)
    premises = "; ".join(text for text in (premise, rounding) if text)
    found = tuple(_finished(answer, adjacency, delta, premises) for answer in answers)
    _check_agreement(*found)
    return _single_source_noted(found)


def tight_guarantee(event: DpEvent, adjacency: Adjacency, delta: float) -> Guarantee:
    """Return the answer of PLD, or of RDP where PLD has none; quick enough to be asked many times."""
    parts, _ = _accountable_parts(event)
    answer = _answer_of("PLD", parts, adjacency, delta)
    return answer if answer.epsilon is not None else _answer_of("RDP", parts, adjacency, delta)


def headline(found: Sequence[Guarantee]) -> Guarantee:
    """Return the guarantee to print beside the attacks: PLD, or else the first that is a sound upper bound.

    Raises:
        DpauditError: No accountant has an answer.
    """
    answered = [guarantee for guarantee in found if guarantee.epsilon is not None]
    bounded = [guarantee for guarantee in answered if not guarantee.exceeds]
    if not answered:
        raise DpauditError(f"no accountant has an answer: {found[0].note}")
    return (bounded or answered)[0]


def _accountable_parts(event: DpEvent) -> tuple[Parts | Unaccountable, str]:
    """Return the parts, few enough to be composed in seconds, and what was rounded for that."""
    parts = gaussian_parts(event)
    if isinstance(parts, str):
        return parts, ""
    coarse = coarse_parts(parts, _MOST_PARTS)
    rounding = f"noise rounded down and rates up by at most {coarse.ratio - 1:.1%}" if coarse.ratio > 1 else ""
    return coarse.parts, rounding


def _answer_of(accountant: str, parts: Parts | Unaccountable, adjacency: Adjacency, delta: float) -> Guarantee:
    if parts == "not supported":
        return _answer(accountant, None, "no sound accountant: adding a record moves all others")
    if parts == "not private":
        return _answer(accountant, math.inf, "not private: no noise, or no clipping")
    if not parts:
        return _answer(accountant, 0.0, "nothing of the data is released")
    if reason := _refusal(accountant, parts, adjacency):
        return _answer(accountant, None, reason)
    return {"PLD": _pld, "RDP": _rdp, "PRV": _prv}[accountant](parts, adjacency, delta)


def _answer(accountant: str, epsilon: float | None, note: str, *, exceeds: bool = False) -> Guarantee:
    """Return a guarantee whose delta and adjacency are filled in at the end, once for all accountants."""
    return Guarantee.model_validate(
        {"accountant": accountant, "epsilon": epsilon, "delta": 0.0, "adjacency": "", "exceeds": exceeds, "note": note}
    )


def _finished(answer: Guarantee, adjacency: Adjacency, delta: float, premise: str) -> Guarantee:
    note = "; ".join(part for part in (premise, answer.note) if part)
    return answer.model_copy(update={"delta": delta, "adjacency": adjacency, "note": note})


def premise_of(mechanism: Mechanism) -> str:
    """Return what an account of this sampling takes for granted, to be put before each note; empty if nothing."""
    if mechanism.sampling == "shuffle" and mechanism.adjacency != "add-remove":
        return f"each record once per epoch{mechanism.stream}, no amplification by shuffling"
    return ""


def _refusal(accountant: str, parts: Parts, adjacency: Adjacency) -> str:
    """Return why this accountant has no sound answer, or an empty string."""
    fixed = any(part.without_replacement for part in parts)
    poisson = any(part.rate < 1 and not part.without_replacement for part in parts)
    if fixed and adjacency == "add-remove":
        return "no sound accountant: batches of fixed size need the replace-one or zero-out adjacency"
    if fixed and accountant != "RDP":
        return "only RDP has a sound account of sampling without replacement"
    if accountant == "RDP" and poisson and (adjacency == "replace-one" or fixed):
        return "RDP has no sound account of Poisson sampling under replace-one"
    if accountant == "PRV" and not (poisson and all(part.rate < 1 for part in parts)):
        return "PRV is for Poisson sampling"
    if accountant == "PRV" and adjacency == "replace-one":
        return "PRV has no account of replace-one"
    return ""


def _pld(parts: Parts, adjacency: Adjacency, delta: float) -> Guarantee:
    if noise := pld.pure_gaussian_noise(parts, adjacency):
        return _answer("PLD", gaussian_epsilon(1 / noise, delta), "Gaussian mechanism in closed form")
    if delta < pld.SMALLEST_DELTA:
        return _answer("PLD", None, f"a delta below {pld.SMALLEST_DELTA:g} is below the rounding of the composition")
    found = pld.tight_epsilon(parts, adjacency, delta, _TOLERANCE)
    if isinstance(found, pld.TooLarge):
        floor = found.epsilon_floor if found.epsilon_floor > 0 and delta < pld.FLOOR_DELTA else None
        return _answer("PLD", floor, f"stopped: {found.reason}", exceeds=floor is not None)
    note = f"grid {found.grid.interval:.2g}, over-stated by at most about {found.grid.error:.1g}"
    return _answer("PLD", found.epsilon, note)


def _rdp(parts: Parts, adjacency: Adjacency, delta: float) -> Guarantee:
    found = renyi_epsilon(parts, adjacency, delta)
    left_out = f", {found.left_out} that do not converge left out" if found.left_out else ""
    by_replacement = adjacency == "zero-out" and parts[0].without_replacement
    null = "; a null record counted as a replacement" if by_replacement else ""
    return _answer("RDP", found.epsilon, f"{ORDERS_IN_WORDS}{left_out}; best order {found.order:g}{null}")


def _of_last_resort(answers: list[Guarantee], parts: Parts, delta: float) -> list[Guarantee]:
    """Return what can still be said of Poisson sampling under replace-one: twice add-remove, or a lower bound."""
    tight, renyi, second = answers
    if any(part.without_replacement for part in parts):
        return answers
    if (epsilon := twice_removed_epsilon(parts, delta)) is not None:
        note = "twice add-remove, as a replacement is a removal and an addition: over-stated"
        return [tight, _answer("RDP", epsilon, f"{note}; {ORDERS_IN_WORDS}"), second]
    floor = pld.epsilon_floor(parts, "replace-one")
    return [_answer("PLD", floor, tight.note, exceeds=True), renyi, second] if delta < pld.FLOOR_DELTA else answers


def _prv(parts: Parts, _: Adjacency, delta: float) -> Guarantee:
    grid = prv_grid(parts, delta)
    if grid.refused:
        return _answer("PRV", None, f"not asked: {grid.refused}")
    found = prv_epsilon(parts, delta, grid.error)
    if isinstance(found, str):
        return _answer("PRV", None, f"no answer: {found}")
    return _answer("PRV", found, f"error of {grid.error:.2g} included")


def _check_agreement(tight: Guarantee, renyi: Guarantee, second: Guarantee) -> None:
    if tight.epsilon is None or tight.exceeds or math.isinf(tight.epsilon):
        return
    if second.epsilon is not None and abs(tight.epsilon - second.epsilon) > max(0.02, 0.01 * tight.epsilon):
        raise DisagreementError(f"PLD says epsilon = {tight.epsilon:.4f}, PRV says {second.epsilon:.4f}")
    if renyi.epsilon is not None and renyi.epsilon < tight.epsilon - max(1e-3, 5 * _TOLERANCE * tight.epsilon):
        raise DisagreementError(f"PLD says epsilon = {tight.epsilon:.4f}, RDP is below with {renyi.epsilon:.4f}")


def _single_source_noted(found: tuple[Guarantee, ...]) -> tuple[Guarantee, ...]:
    if sum(guarantee.epsilon is not None for guarantee in found) != 1:
        return found
    return tuple(
        guarantee.model_copy(update={"note": f"single source; {guarantee.note}"})
        if guarantee.epsilon is not None
        else guarantee
        for guarantee in found
    )
