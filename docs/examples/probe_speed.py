"""How long the linear probe takes on 50,000 records of 768 features, the search for C included."""

from __future__ import annotations

import sys
import time

import numpy as np

from dpaudit.data.examples import Examples
from dpaudit.plugins import ProbeData
from dpaudit.probes.linear import Linear
from dpaudit.rng import Rng

TRAIN, TEST, WIDTH, CLASSES = 50_000, 5_000, 768, 10


def main() -> None:
    """Fit features of ten overlapping classes and write how long it took."""
    draws = np.random.default_rng(0)
    labels = draws.integers(CLASSES, size=TRAIN + TEST)
    spectrum = np.arange(1, WIDTH + 1) ** -0.7  # an encoder's features are far from independent
    middles, mixing = 0.12 * draws.normal(size=(CLASSES, WIDTH)), draws.normal(size=(WIDTH, WIDTH)) / WIDTH**0.5
    x = (((draws.normal(size=(TRAIN + TEST, WIDTH)) + middles[labels]) * spectrum) @ mixing).astype(np.float32)
    ids = np.array([f"{row}" for row in range(TRAIN + TEST)])
    every = Examples(ids=ids, images=np.zeros((TRAIN + TEST, 3, 1, 1), dtype=np.uint8), labels=labels)
    parts = every.take(slice(0, TRAIN)), every.take(slice(TRAIN, None))
    data = ProbeData(train=parts[0], test=parts[1], classes=tuple(f"class {k}" for k in range(CLASSES)))
    began, worked = time.perf_counter(), time.process_time()
    found = Linear().measure({"features": lambda part: x[part.ids.astype(np.int64)]}, data, Rng.from_seed(0))
    spent = f"{time.perf_counter() - began:.0f} s, {time.process_time() - worked:.0f} s of CPU time"
    sys.stdout.write(f"{spent}\n{found.measurements[0].score}\n{found.detail}\n")


if __name__ == "__main__":
    main()
