"""Randomness as a tree of keys: one root, a child per purpose, never a global generator.

A key is 32 bytes. A child's key is a BLAKE2b hash of the parent's key and the child's names, so streams of different
purposes, steps and tensors never meet, and any of them can be opened again without replaying the others.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Rng"]

Array: TypeAlias = NDArray[np.generic]


@dataclass(frozen=True)
class Rng:
    """A 32-byte key from which independent streams are opened.

    >>> root = Rng.from_seed(7)
    >>> bool(root.child("noise", 3).numpy().random() == root.child("noise", 3).numpy().random())
    True
    >>> root.child("noise", 3) == root.child("noise", 4)
    False
    """

    key: bytes

    @classmethod
    def from_seed(cls, seed: int) -> Rng:
        """Return the root of a public, reproducible tree: anyone who knows the seed knows every draw."""
        return cls(hashlib.blake2b(str(seed).encode(), digest_size=32, person=b"dpaudit-seed").digest())

    @classmethod
    def from_system(cls) -> Rng:
        """Return a root drawn from the operating system: secret, never drawn twice."""
        return cls(secrets.token_bytes(32))

    def child(self, *names: str | int) -> Rng:
        """Return the key of a purpose, for example `child("noise", step, "encoder.weight")`."""
        if not all(type(name) in (str, int) for name in names):
            raise TypeError(f"names of a child must be str or int, not {[type(name).__name__ for name in names]}")
        path = json.dumps(names)
        return Rng(hashlib.blake2b(path.encode(), key=self.key, digest_size=32).digest())

    def numpy(self, chunk: int = 0) -> np.random.Generator:
        """Return a Philox generator keyed by 128 bits of the key, its counter at `chunk` * 2^192.

        So a long stream can be drawn in chunks by several threads: chunks never meet, whoever draws them.

        (torch's own CPU generator keeps 32 bits of its seed: a few thousand streams would repeat with noticeable
        probability, so it is never used for noise.)
        """
        key, counter = int.from_bytes(self.key[:16], "little"), np.array([0, 0, 0, chunk], dtype=np.uint64)
        return np.random.Generator(np.random.Philox(key=key, counter=counter))

    def stream(self, length: int, chunk: int = 0) -> bytes:
        """Return `length` bytes of SHAKE-256 over key and chunk number: unpredictable to who does not know the key.

        A keyed sponge (Bertoni et al. 2011), 256 bits strong, and still a function of the key alone: all processes and
        a resumed run open the same stream.
        """
        return hashlib.shake_256(b"dpaudit-stream" + self.key + chunk.to_bytes(8, "little")).digest(length)

    def integer(self, bits: int = 63) -> int:
        """Return a fixed integer of this key, for libraries that take a seed."""
        return int.from_bytes(self.key[16:24], "little") % (1 << bits)

    def uniform(self, ids: Array, width: int) -> NDArray[np.float64]:
        """Return uniforms in [0, 1), shape (len(ids), width); row i depends on the key and ids[i] alone.

        For augmentation and masks, which must not depend on who else is in the batch.
        """
        return (self.words(ids, width) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def words(self, ids: Array, width: int) -> NDArray[np.uint64]:
        """Return 64 random bits each, shape (len(ids), width); row i depends on the key and ids[i] alone.

        A counter passed through the SplitMix64 finaliser (Steele, Lea, Flood 2014): statistically good, not
        cryptographic.
        """
        seeds = np.array([self._hash(identity) for identity in ids], dtype=np.uint64).reshape(-1, 1)
        with np.errstate(over="ignore"):
            counters = np.arange(1, width + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
            return _splitmix(seeds + counters)

    def _hash(self, identity: object) -> int:
        return int.from_bytes(hashlib.blake2b(str(identity).encode(), key=self.key, digest_size=8).digest(), "little")


def _splitmix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
