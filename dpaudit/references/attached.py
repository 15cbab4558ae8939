"""A reference as an attack sees it: what it says is kept in the pool, so that it says it once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.errors import DpauditError
from dpaudit.references.reference import empty_model, train_reference
from dpaudit.runs import content_key
from dpaudit.training.attach import as_target
from dpaudit.training.checkpoint import load_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from dpaudit.canaries import Family
    from dpaudit.data.examples import Examples
    from dpaudit.mechanism import Mechanism
    from dpaudit.plugins import Moment, Target, Trace
    from dpaudit.progress import Progress
    from dpaudit.references.reference import Reference
    from dpaudit.rng import Rng

__all__ = ["PooledTarget"]


@dataclass(frozen=True, repr=False)
class PooledTarget:
    """A target whose answers are kept. Its model is loaded, or trained again, only for a question that is new."""

    reference: Reference
    progress: Progress

    @property
    def mechanism(self) -> Mechanism:
        """Return the mechanism by which the reference was trained."""
        return self.reference.job.mechanism

    def signal(self, name: str, examples: Examples, rng: Rng) -> NDArray[np.float64]:
        """Return a signal, (n,)."""
        key = content_key("signal", name, _digest(examples), rng.key.hex())
        return self._kept(key, lambda: self._target.signal(name, examples, rng)).astype(np.float64)

    def embed(self, examples: Examples) -> NDArray[np.float32]:
        """Return features, (n, d)."""
        return self._rows("embed", examples, lambda: self._target.embed(examples))

    def logits(self, examples: Examples) -> NDArray[np.float32]:
        """Return the logits of every class, (n, classes)."""
        return self._rows("logits", examples, lambda: self._target.logits(examples))

    def token_log_likelihoods(self, examples: Examples) -> NDArray[np.float32]:
        """Return log p of every token, (n, t), NaN behind a caption's end."""
        return self._rows("tokens", examples, lambda: self._target.token_log_likelihoods(examples))

    def image_vectors(self, examples: Examples) -> NDArray[np.float32]:
        """Return unit vectors of images, (n, d)."""
        return self._rows("image vectors", examples, lambda: self._target.image_vectors(examples))

    def text_vectors(self, examples: Examples) -> NDArray[np.float32]:
        """Return unit vectors of captions, (n, d)."""
        return self._rows("text vectors", examples, lambda: self._target.text_vectors(examples))

    def weights(self, at: Moment = "final") -> Mapping[str, NDArray[np.float32]]:
        """Raise DpauditError: an attacker sees the outputs of references."""
        return self._target.weights(at)

    def gradients(self, examples: Examples, rng: Rng, at: Moment = "final") -> Iterator[NDArray[np.float32]]:
        """Raise DpauditError: an attacker sees the outputs of references."""
        return self._target.gradients(examples, rng, at)

    def trace(self, family: Family) -> Trace:
        """Raise DpauditError: a reference carries no gradient canaries."""
        raise DpauditError(f"a reference has no trace of the family {family!r}")

    def _rows(self, name: str, examples: Examples, compute: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
        return self._kept(content_key(name, _digest(examples)), compute).astype(np.float32)

    def _kept(self, key: str, compute: Callable[[], NDArray[np.floating]]) -> NDArray[np.floating]:
        entry = self.reference.entry
        kept, fault = entry.signal(key)
        if kept is not None:
            return np.asarray(kept, dtype=kept.dtype)
        if fault is not None:
            self.progress.say(f"{self.reference.name} in the pool: {fault}; it is computed again")
        values = compute()
        entry.keep_signal(key, values)
        return values

    @cached_property
    def _target(self) -> Target:
        """Return the model; one that was not kept, or was changed, is trained again first, to the same weights."""
        entry, model = self.reference.entry, empty_model(self.reference)
        with entry.lock():
            fault = entry.fault() or entry.weights_fault()
            if fault is not None:
                self.progress.say(f"{self.reference.name} in the pool: {fault}; it is trained again")
                train_reference(self.reference, self.progress)
            load_model(entry.weights, model)
        return as_target(self.reference.job, model.eval(), "outputs")


def _digest(examples: Examples) -> str:
    """Return a hash of all that a model could read of records."""
    digest = hashlib.blake2b(digest_size=16)
    for field in fields(examples):
        value = getattr(examples, field.name)
        if isinstance(value, np.ndarray) and value.dtype.kind != "U":
            digest.update(repr((field.name, value.shape, str(value.dtype))).encode() + value.tobytes())
        else:
            told = value.tolist() if isinstance(value, np.ndarray) else value
            digest.update(repr((field.name, told)).encode())
    return digest.hexdigest()
