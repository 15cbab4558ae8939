"""What is promised, and by which mechanism: from a recipe and the size of its data, or from numbers alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from dpaudit.accounting.accountant import tight_guarantee
from dpaudit.accounting.calibrate import calibrate_noise
from dpaudit.accounting.curve import epsilon_at, has_curve
from dpaudit.accounting.events import mechanism_event
from dpaudit.bounds.gdp import gdp_epsilon
from dpaudit.errors import InputError
from dpaudit.mechanism import Adjacency, Mechanism, Sampling
from dpaudit.results import Promise
from dpaudit.simulation import nothing_promised, simulated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dpaudit.recipes.recipe import LoadedRecipe

__all__ = ["Stated", "accountable", "recipe_mechanism", "recipe_promise", "stated_promise", "step_promise"]


def recipe_mechanism(loaded: LoadedRecipe, size: int) -> Mechanism:
    """Return the mechanism of a recipe whose runs could hold `size` records, its noise calibrated to the promise.

    Where the recipe simulates a smaller batch, the mechanism is that of the simulation.
    """
    privacy, where = loaded.recipe.privacy, loaded.where
    if privacy.batch_size > size:
        expected = f"at most the {size} records that can be in (the data less probe_train and probe_test)"
        raise where.refusal("privacy.batch_size", privacy.batch_size, expected)
    if privacy.sampling == "full" and privacy.batch_size != size:
        raise where.refusal("privacy.batch_size", privacy.batch_size, f"{size}, all records, with sampling `full`")
    unbounded = privacy.epsilon is not None and math.isinf(privacy.epsilon)
    template = Mechanism(
        sampling=privacy.sampling,
        adjacency=privacy.adjacency,
        noise_multiplier=0.0 if unbounded else privacy.noise_multiplier or 0.0,
        sampling_rate=privacy.batch_size / size,
        steps=privacy.steps,
        clip_norm=math.inf if unbounded else privacy.clip_norm,
        batch_size=privacy.batch_size,
        dataset_size=size,
        shuffle_buffer=privacy.shuffle_buffer,
    )
    if privacy.epsilon is not None and not unbounded:
        template = _calibrated(template, privacy.epsilon, _delta(loaded, size))
    return template if privacy.simulate_batch is None else simulated(template, privacy.simulate_batch)


def recipe_promise(loaded: LoadedRecipe, mechanism: Mechanism) -> Promise:
    """Return what a recipe promises of its mechanism: a claim that it names, or the accountant's answer."""
    privacy, delta = loaded.recipe.privacy, _delta(loaded, mechanism.dataset_size)
    if privacy.simulate_batch is not None:
        return nothing_promised(mechanism, privacy.batch_size, delta)
    if privacy.claimed_epsilon is not None:
        claimed_delta = delta if privacy.claimed_delta is None else privacy.claimed_delta
        return Promise(kind="claim", epsilon=privacy.claimed_epsilon, delta=claimed_delta, mechanism=mechanism)
    return _accounted(mechanism, delta)


def step_promise(promise: Promise) -> Promise:
    """Return what the promise of a run says of each of its steps, for a record that a coin of its own puts in.

    Sampling does not help such a record: one step is one Gaussian, whose neighbours lie one declared sensitivity apart.
    The noise unit (`dpaudit.accounting.executed`) is at least S(add-remove), S(zero-out) or S(replace-one) / 2; so the
    promise is Gaussian with mu = 1 / z, or 2 / z under replace-one. A promise of nothing stays one.

    >>> promise = stated_promise(Stated(noise_multiplier=2, batch_size=10, dataset_size=100, steps=9, delta=1e-5))
    >>> step = step_promise(promise)
    >>> step.mechanism.noise_multiplier, step.mechanism.sampling, step.run == promise.mechanism
    (2.0, 'full', True)
    """
    if promise.kind == "none":
        return promise
    run = promise.mechanism
    noise = run.noise_multiplier / (2 if run.adjacency == "replace-one" else 1)
    sampling = {"sampling": "full", "sampling_rate": 1.0, "shuffle_buffer": None}
    one = {**sampling, "adjacency": "add-remove", "noise_multiplier": noise, "steps": 1}
    return Promise(
        kind="accountant",
        epsilon=gdp_epsilon(1 / noise, promise.delta),
        delta=promise.delta,
        mechanism=run.model_copy(update=one),
        run=run,
    )


@dataclass(frozen=True, kw_only=True)
class Stated:
    """A promise in numbers: epsilon or the noise multiplier, and delta.

    batch_size, dataset_size, steps: all three, or none of them, which stands for one Gaussian step on all data.
    """

    delta: float | None = None
    epsilon: float | None = None
    noise_multiplier: float | None = None
    batch_size: int | None = None
    dataset_size: int | None = None
    steps: int | None = None
    sampling: Sampling = "poisson"
    adjacency: Adjacency = "add-remove"


def stated_promise(stated: Stated) -> Promise:
    """Return the promise that the numbers make; InputError names the one that is missing or wrong.

    >>> promise = stated_promise(Stated(epsilon=8.0, delta=1e-5))
    >>> promise.kind, promise.mechanism.sampling, 7.99 < promise.epsilon <= 8
    ('accountant', 'full', True)
    """
    for field, value, right, expected in _requirements(stated):
        if not right:
            raise InputError(field, value, expected)
    delta, mechanism = stated.delta or 0.0, _template(stated)
    if stated.epsilon is not None:
        mechanism = _calibrated(mechanism, stated.epsilon, delta)
    return _accounted(mechanism, delta)


def _requirements(stated: Stated) -> Iterator[tuple[str, Any, bool, str]]:
    """Yield (field, value, whether it is right, what is expected); each may rely on those before it."""
    epsilon, noise, delta = stated.epsilon, stated.noise_multiplier, stated.delta
    for name, value, known in (
        ("sampling", stated.sampling, get_args(Sampling)),
        ("adjacency", stated.adjacency, get_args(Adjacency)),
    ):
        yield name, value, value in known, f"one of {', '.join(known)}"
    yield "epsilon", epsilon, epsilon is not None or noise is not None, "a number above 0, or a noise multiplier"
    yield "noise_multiplier", noise, epsilon is None or noise is None, "nothing: epsilon is given too"
    yield "epsilon", epsilon, epsilon != math.inf, "a finite number: there is no promise to plan against"
    yield "epsilon", epsilon, epsilon is None or epsilon > 0, "a number above 0"
    private = noise is None or 0 < noise < math.inf
    yield "noise_multiplier", noise, private, "a finite number above 0: without noise there is no promise"
    yield "delta", delta, delta is not None and 0 < delta < 1, "a number between 0 and 1, both excluded"
    sizes = {"batch_size": stated.batch_size, "dataset_size": stated.dataset_size, "steps": stated.steps}
    if noise is not None or any(size is not None for size in sizes.values()):
        for name, size in sizes.items():
            yield name, size, size is not None and size >= 1, "at least 1 (batch_size, dataset_size, steps go together)"
        records, batch = stated.dataset_size or 1, stated.batch_size or 1
        yield "batch_size", batch, batch <= records, f"1 to the dataset size ({records})"
        full = stated.sampling != "full" or batch == records
        yield "batch_size", batch, full, f"{records}, all records, with sampling full"


def _template(stated: Stated) -> Mechanism:
    batch, records, steps = stated.batch_size or 1, stated.dataset_size or 1, stated.steps or 1
    return Mechanism(
        sampling="full" if stated.steps is None else stated.sampling,
        adjacency=stated.adjacency,
        noise_multiplier=stated.noise_multiplier or 0.0,
        sampling_rate=batch / records,
        steps=steps,
        clip_norm=1.0,
        batch_size=batch,
        dataset_size=records,
    )


def _calibrated(template: Mechanism, epsilon: float, delta: float) -> Mechanism:
    noise = calibrate_noise(epsilon, delta, accountable(template))
    return template.model_copy(update={"noise_multiplier": noise})


def _accounted(mechanism: Mechanism, delta: float) -> Promise:
    if not mechanism.is_private:
        return Promise(kind="none", epsilon=math.inf, delta=delta, mechanism=mechanism)
    answer = tight_guarantee(mechanism_event(mechanism), mechanism.adjacency, delta)
    if answer.epsilon is not None:
        kind: Literal["accountant", "claim"] = "accountant" if has_curve(mechanism) else "claim"
        return Promise(kind=kind, epsilon=answer.epsilon, delta=delta, mechanism=mechanism)
    epsilon = epsilon_at(accountable(mechanism), mechanism.noise_multiplier, delta)
    sampling = f"{mechanism.sampling} sampling{mechanism.stream}"
    note = f"the number that Poisson accounting would print; {sampling} does not earn it"
    return Promise(kind="claim", epsilon=epsilon, delta=delta, mechanism=mechanism, note=note)


def accountable(mechanism: Mechanism) -> Mechanism:
    """Return the mechanism, or the Poisson one of the same rate where nobody can account what is executed."""
    unsound = mechanism.sampling in ("shuffle", "fixed") and mechanism.adjacency == "add-remove"
    return mechanism.model_copy(update={"sampling": "poisson", "shuffle_buffer": None}) if unsound else mechanism


def _delta(loaded: LoadedRecipe, size: int) -> float:
    return 1 / (2 * size) if loaded.recipe.privacy.delta is None else loaded.recipe.privacy.delta
