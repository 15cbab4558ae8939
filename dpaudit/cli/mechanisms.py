"""The mechanism that the options of a command name: what the hypothesis `accountant` is about."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dpaudit.mechanism import Mechanism

__all__ = ["MechanismOptions"]


@dataclass(frozen=True, kw_only=True)
class MechanismOptions:
    """The options as they were given, None for those that were not.

    The sampling rate is given itself, or by the (expected) batch size and the size of the data.
    """

    noise_multiplier: float | None = None
    steps: int | None = None
    sampling_rate: float | None = None
    batch_size: int | None = None
    dataset_size: int | None = None
    sampling: str = "poisson"
    adjacency: str = "add-remove"

    def mechanism(self, hypothesis: str | None) -> Mechanism | None:
        """Return the mechanism, or None if none is named and none is needed.

        InputError names the options that are missing, or the one that is wrong or that `hypothesis` would ignore.
        """
        from dpaudit.mechanism import Mechanism  # noqa: PLC0415 (imports stay lazy for --help)

        given = [option for option, value in self._numbers() if value is not None]
        if not given and hypothesis != "accountant":
            return None
        if hypothesis not in (None, "accountant"):
            raise InputError(given[0], dict(self._numbers())[given[0]], "nothing: only hypothesis accountant uses it")
        if missing := list(self._missing()):
            raise InputError("--hypothesis", "accountant", f"the mechanism it is about: {', '.join(missing)} missing")
        for option, value, right, expected in self._requirements():
            if not right:
                raise InputError(option, value, expected)
        batch, records = self.batch_size or 1, self.dataset_size or 1
        return Mechanism.model_validate(
            {
                "sampling": self.sampling,
                "adjacency": self.adjacency,
                "noise_multiplier": self.noise_multiplier,
                "sampling_rate": batch / records if self.sampling_rate is None else self.sampling_rate,
                "steps": self.steps,
                "clip_norm": 1.0,
                "batch_size": batch,
                "dataset_size": records,
            }
        )

    def _numbers(self) -> Iterator[tuple[str, Any]]:
        for name in ("noise_multiplier", "steps", "sampling_rate", "batch_size", "dataset_size"):
            yield f"--{name.replace('_', '-')}", getattr(self, name)

    def _missing(self) -> Iterator[str]:
        if self.noise_multiplier is None:
            yield "--noise-multiplier"
        if self.steps is None:
            yield "--steps"
        sizes = {"--batch-size": self.batch_size, "--dataset-size": self.dataset_size}
        unknown = [option for option, size in sizes.items() if size is None]
        if len(unknown) == 1:
            yield unknown[0]
        elif unknown and self.sampling_rate is None and self.sampling != "full":
            yield "--sampling-rate (or --batch-size and --dataset-size)"

    def _requirements(self) -> Iterator[tuple[str, Any, bool, str]]:
        """Yield (option, value, whether it is right, what is expected); each may rely on those before it."""
        from dpaudit.mechanism import Adjacency, Sampling  # noqa: PLC0415 (imports stay lazy for --help)

        for option, word, known in (
            ("--sampling", self.sampling, get_args(Sampling)),
            ("--adjacency", self.adjacency, get_args(Adjacency)),
        ):
            yield option, word, word in known, f"one of {', '.join(known)}"
        noise, steps, rate = self.noise_multiplier or 0.0, self.steps or 0, self.sampling_rate
        yield "--noise-multiplier", noise, 0 < noise < math.inf, "a finite number above 0"
        yield "--steps", steps, steps >= 1, "at least 1"
        sized = self.batch_size is not None or self.dataset_size is not None
        yield "--sampling-rate", rate, rate is None or not sized, "nothing beside --batch-size and --dataset-size"
        yield "--sampling-rate", rate, rate is None or 0 < rate <= 1, "a number above 0 and at most 1"
        epochs = rate is None or self.sampling == "poisson"
        yield "--sampling-rate", rate, epochs, f"--batch-size and --dataset-size instead, with sampling {self.sampling}"
        if self.batch_size is None or self.dataset_size is None:
            return
        batch, records = self.batch_size, self.dataset_size
        yield "--batch-size", batch, 1 <= batch <= records, f"1 to the dataset size ({records})"
        full = self.sampling != "full" or batch == records
        yield "--batch-size", batch, full, f"{records}, all records, with sampling full"
