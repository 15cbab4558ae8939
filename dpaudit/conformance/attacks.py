"""What every attack owes, tried on a toy that memorised half of its candidates, or on a trace made of known coins."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

from dpaudit.bounds.family import gaussian_family
from dpaudit.bounds.guesses import guess
from dpaudit.bounds.max_p import PlannedTest
from dpaudit.bounds.one_run_fdp import FdpRecursion
from dpaudit.conformance.finding import Finding, asked, failed, passed, raised, unclear
from dpaudit.conformance.overfit import overfit
from dpaudit.conformance.traced import Traced, traced
from dpaudit.errors import InputError
from dpaudit.metrics import auc, coin_blindness
from dpaudit.scores import LabelledScores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from dpaudit.conformance.overfit import Overfit
    from dpaudit.plugins import Attack

__all__ = ["check_attack"]

_SURE, _BLIND = 0.999, 1e-3  # confidence of the interval of the AUC; least p-value of scores that know no coin
_AUDITS, _GUESSES = 400, 32
_TOGETHER = 4  # references are trained by fours, so that most attacks share them


def check_attack(attack: Attack) -> tuple[Finding, ...]:
    """Return what every check found, in order.

    InputError where the attack needs what the suite's toy does not offer.
    """
    needs = attack.needs
    if {"pool", "inputs"}.isdisjoint(needs.families):
        return _of_trace(attack, traced(needs.families[0]))
    world = overfit(-(-needs.references // _TOGETHER) * _TOGETHER)
    _check_needs(attack, world)
    try:
        with _globals_from(1):
            trained = attack.score(world.view(needs))
            untrained = attack.score(world.view(needs, trained=False))
    except Exception as error:  # a stranger's plug-in may raise anything
        return (raised("contract", error),)
    findings = [passed("contract", "it asked its view for nothing that the contract does not name"), *_shapes(trained)]
    if findings[-1].status == "failed":
        return tuple(findings)
    return (
        *findings,
        asked("determinism", lambda check: _repeated(check, attack, world, trained)),
        asked("order", lambda check: _reordered(check, attack, world, trained)),
        asked("direction", lambda check: _direction(check, attack, world.members, trained)),
        asked("untrained model", lambda check: _blindness(check, untrained, world.members)),
        asked("null calibration", lambda check: _calibration(check, untrained)),
    )


def _check_needs(attack: Attack, world: Overfit) -> None:
    needs = attack.needs
    lacking = [kind for kind in needs.capabilities if not isinstance(world.toy, kind)]
    if lacking:
        raise InputError(
            "capabilities", lacking, "what the suite's toy offers: loss, classes, captions, a shared space"
        )
    if needs.population > len(world.population):
        raise InputError("population", needs.population, f"at most {len(world.population)}, the suite's strangers")


def _of_trace(attack: Attack, world: Traced) -> tuple[Finding, ...]:
    with _globals_from(1):
        try:
            scores = attack.score(world.view())
        except Exception as error:  # a stranger's plug-in may raise anything
            return (raised("contract", error),)
    findings = _shapes(scores, len(world.members))
    if findings[-1].status == "failed":
        return tuple(findings)
    with _globals_from(2):
        again = attack.score(world.view())
    return (
        *findings,
        _same("determinism", scores, again),
        asked("direction", lambda check: _direction(check, attack, world.members, scores)),
        asked("null calibration", lambda check: _calibration(check, scores)),
    )


def _shapes(scores: NDArray[np.float64], count: int = 128) -> list[Finding]:
    if not isinstance(scores, np.ndarray) or scores.shape != (count,):
        shape = getattr(scores, "shape", type(scores).__name__)
        return [failed("shape", f"{shape}, expected one score per candidate, ({count},)")]
    shape = passed("shape", f"({count},)")
    if not np.issubdtype(scores.dtype, np.floating):
        return [shape, failed("finite", f"scores are {scores.dtype}, expected floating-point numbers")]
    bad = int((~np.isfinite(scores)).sum())
    finite = failed("finite", f"{bad} scores are NaN or infinite") if bad else passed("finite", "all scores")
    return [shape, finite]


def _repeated(check: str, attack: Attack, world: Overfit, trained: NDArray[np.float64]) -> Finding:
    """Ask again, with the global generators of numpy and torch in another state."""
    with _globals_from(2):
        return _same(check, trained, attack.score(world.view(attack.needs)))


def _same(check: str, first: NDArray[np.float64], again: NDArray[np.float64]) -> Finding:
    if np.array_equal(first, again):
        return passed(check, "the same scores twice")
    changed = int((first != again).sum())
    return failed(check, f"{changed} scores changed from call to call: draw everything from view.rng")


def _reordered(check: str, attack: Attack, world: Overfit, trained: NDArray[np.float64]) -> Finding:
    order = np.random.default_rng(5).permutation(len(trained))
    again = attack.score(world.view(attack.needs, order=order))
    if again.shape == trained.shape and np.allclose(again, trained[order], rtol=1e-3, atol=1e-3 * float(trained.std())):
        return passed(check, "scores follow their candidates")
    return failed(check, "a candidate's score changes with its place: key draws by id, and learn in the order of ids")


def _direction(check: str, attack: Attack, members: NDArray[np.bool_], scores: NDArray[np.float64]) -> Finding:
    found = auc(LabelledScores(scores=np.asarray(scores, dtype=np.float64), member=members), _SURE)
    words = f"AUC {found.value:.3f} [{found.low:.3f}, {found.high:.3f}] on what was memorised"
    if not attack.needs.sees_model:
        return _control(check, scores, members, words)
    if found.low > 0.5:
        return passed(check, f"members score higher, {words}")
    if found.high < 0.5:
        return failed(check, f"members score lower, {words}: higher must mean a likelier member")
    return unclear(check, f"at chance, {words}: show it on a system that it is made for")


def _control(check: str, scores: NDArray[np.float64], members: NDArray[np.bool_], words: str) -> Finding:
    if coin_blindness(np.asarray(scores, dtype=np.float64), members) > _BLIND:
        return passed(check, f"a control that knows nothing, {words}")
    return failed(check, f"a control that knows the coins, {words}")


def _blindness(check: str, untrained: NDArray[np.float64], members: NDArray[np.bool_]) -> Finding:
    found = coin_blindness(np.asarray(untrained, dtype=np.float64), members)
    if found > _BLIND:
        return passed(check, f"its scores know no coins (p = {found:.2g})")
    return failed(check, f"its scores know the coins (p = {found:.2g}): memberships reached the attack")


def _calibration(check: str, scores: NDArray[np.float64]) -> Finding:
    """Toss new coins for the same scores: a bound may then claim a leak in at most alpha of the audits."""
    planned = PlannedTest(test=FdpRecursion(), family=gaussian_family(delta=1e-5), confidence=0.95)
    curve, rng, claims = planned.family.curve(planned.family.private), np.random.default_rng(0), 0
    values = np.asarray(scores, dtype=np.float64)
    for _ in range(_AUDITS):
        labelled = LabelledScores(scores=values, member=rng.random(len(values)) < 0.5)
        run = guess(labelled, guesses_in=_GUESSES, guesses_out=_GUESSES)
        claims += planned.test.refutes(curve, run, planned.level(1))
    words = f"{claims} of {_AUDITS} audits of coins that it never saw claim a leak at level 0.05"
    limit = _AUDITS * 0.05 + 4 * (_AUDITS * 0.05 * 0.95) ** 0.5
    return passed(check, words) if claims <= limit else failed(check, words)


@contextmanager
def _globals_from(seed: int) -> Iterator[None]:
    """Put the global generators of numpy and torch into a state inside the block; restore them afterwards."""
    state = np.random.get_state()  # noqa: NPY002 (what a careless plug-in reads)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 (as above)
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002 (as above)
