"""A model in memory as its attacker sees it: what it says, and where his access allows its weights and steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING

import torch

from dpaudit.dp.tensors import home, trainable
from dpaudit.errors import DpauditError
from dpaudit.training import signals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from dpaudit.canaries import Family
    from dpaudit.data.examples import Examples
    from dpaudit.mechanism import Mechanism
    from dpaudit.plugins import Classifies, Features, Moment, Trace, Trainer
    from dpaudit.rng import Rng
    from dpaudit.scores import Access

__all__ = ["ModelTarget", "classifier", "embedder"]


def embedder(trainer: Trainer, model: nn.Module) -> Features:
    """Return a function from records to features (n, d), in batches, without gradients."""
    device = home(model)
    return partial(signals.in_batches, lambda part: trainer.embed(model, torch.tensor(part.images, device=device)))


def classifier(trainer: Classifies, model: nn.Module) -> Features:
    """Return a function from records to logits (n, classes), in batches, without gradients."""
    device = home(model)
    return partial(signals.in_batches, lambda part: trainer.logits(model, torch.tensor(part.images, device=device)))


@dataclass(frozen=True, kw_only=True, repr=False)
class ModelTarget:
    """A `dpaudit.plugins.Target`. Its fields are no part of that contract. untrained: makes the model of step 0."""

    trainer: Trainer
    model: nn.Module
    untrained: Callable[[], nn.Module]
    mechanism: Mechanism
    access: Access
    traces: Mapping[Family, Trace] = field(default_factory=dict)

    def signal(self, name: str, examples: Examples, rng: Rng) -> NDArray[np.float64]:
        """Return one number per record, (n,)."""
        return signals.signal(name, self.trainer, self.model, examples, rng)

    def embed(self, examples: Examples) -> NDArray[np.float32]:
        """Return features, (n, d)."""
        return embedder(self.trainer, self.model)(examples)

    def logits(self, examples: Examples) -> NDArray[np.float32]:
        """Return logits, (n, classes)."""
        return signals.logits(self.trainer, self.model, examples)

    def token_log_likelihoods(self, examples: Examples) -> NDArray[np.float32]:
        """Return the log-probability of every token of each caption, (n, t)."""
        return signals.token_log_likelihoods(self.trainer, self.model, examples)

    def image_vectors(self, examples: Examples) -> NDArray[np.float32]:
        """Return unit vectors of images, (n, d)."""
        return signals.vectors(self.trainer, self.model, examples)

    def text_vectors(self, examples: Examples) -> NDArray[np.float32]:
        """Return unit vectors of captions, (n, d)."""
        return signals.text_vectors(self.trainer, self.model, examples)

    def weights(self, at: Moment = "final") -> Mapping[str, NDArray[np.float32]]:
        """Return name -> trained tensor."""
        found = trainable(self._model(at))
        return {name: parameter.detach().float().cpu().numpy() for name, parameter in found.items()}

    def gradients(self, examples: Examples, rng: Rng, at: Moment = "final") -> Iterator[NDArray[np.float32]]:
        """Yield the gradient of each record's loss, (p,)."""
        return signals.record_gradients(self.trainer, self._model(at), examples, rng)

    def trace(self, family: Family) -> Trace:
        """Return the trace of a family."""
        if family not in self.traces:
            raise DpauditError(f"this attacker has no trace of the family {family!r}")
        return self.traces[family]

    @cached_property
    def _first(self) -> nn.Module:
        return self.untrained()

    def _model(self, at: Moment) -> nn.Module:
        if self.access == "outputs":
            raise DpauditError("this attacker sees outputs, no weights: its needs must say access `final weights`")
        return self.model if at == "final" else self._first
