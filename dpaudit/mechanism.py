"""What training does to the data, as a value: everything that accounting needs and nothing else."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dpaudit.errors import InputError

__all__ = ["Adjacency", "InitialWeights", "Mechanism", "Sampling"]

Adjacency: TypeAlias = Literal["add-remove", "replace-one", "zero-out"]
Sampling: TypeAlias = Literal["poisson", "fixed", "shuffle", "full"]
#: what the weights at step 0 were made from
InitialWeights: TypeAlias = Literal["random", "synthetic", "public", "private"]


class Mechanism(BaseModel):
    """`steps` noisy clipped sums over sampled batches.

    noise_multiplier: noise std / add-remove sensitivity (0 and infinity are allowed: no noise, no signal).
    sampling_rate: chance of a record to be in a step (poisson), or batch / data size (fixed, shuffle). shuffle_buffer:
    an epoch takes records in the order of storage through a buffer of so many (None: in a uniform order).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    sampling: Sampling
    adjacency: Adjacency
    noise_multiplier: float = Field(ge=0)
    sampling_rate: float = Field(gt=0, le=1)
    steps: int = Field(ge=0)
    clip_norm: float = Field(gt=0, description="C; infinity = no clipping")
    batch_size: int = Field(ge=1, description="the divisor: the expected batch size, a public constant")
    dataset_size: int = Field(ge=1, description="records that could have been in, every input canary counted")
    shuffle_buffer: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _only_shuffles_have_a_buffer(self) -> Mechanism:
        if self.shuffle_buffer is not None and self.sampling != "shuffle":
            raise InputError("shuffle_buffer", self.shuffle_buffer, f"null with sampling {self.sampling}")
        return self

    @property
    def is_clipped(self) -> bool:
        """Return whether gradients are clipped at all."""
        return math.isfinite(self.clip_norm)

    @property
    def is_private(self) -> bool:
        """Return whether anything at all is promised: gradients are clipped and noise is added."""
        return self.noise_multiplier > 0 and self.is_clipped

    @property
    def is_streamed(self) -> bool:
        """Return whether storage decides who meets whom: a buffer that holds all records makes a uniform order."""
        return self.shuffle_buffer is not None and self.shuffle_buffer < self.dataset_size

    @property
    def stream(self) -> str:
        """Return what is to be said behind the name of the sampling: nothing unless records are streamed."""
        return f" (streamed in storage order, buffer {self.shuffle_buffer:,})" if self.is_streamed else ""
