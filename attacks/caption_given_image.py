"""What the image adds to the likelihood of its caption: the language of a caption, which all share, is taken off."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.errors import InputError
from dpaudit.plugins import CaptionLikelihood, Needs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples
    from dpaudit.plugins import AttackView

__all__ = ["CaptionGivenImage"]


@dataclass(frozen=True, kw_only=True)
class CaptionGivenImage:
    """Scores a record by log p(caption | image) - log p(caption | a grey image), a mean over tokens.

    The second term is how easily said the caption is by itself, the difficulty by which text attacks calibrate
    (Carlini et al. 2021, "Extracting Training Data from Large Language Models", arXiv 2012.07805), here without another
    model. grey: the pixel of the image that shows nothing, 0 to 255.

    >>> CaptionGivenImage(grey=0).needs.access
    'outputs'
    """

    grey: int = 128

    def __post_init__(self) -> None:
        if not 0 <= self.grey <= 255:
            raise InputError("grey", self.grey, "a pixel, 0 to 255")

    @property
    def needs(self) -> Needs:
        """Return what it needs: a model that says how likely a caption is."""
        return Needs(
            access="outputs",
            families=("pool", "inputs"),
            capabilities=(CaptionLikelihood,),
            reads=frozenset({"caption"}),
        )

    def score(self, view: AttackView) -> NDArray[np.float64]:
        """Return the gain in nats per token of every candidate, (n,); higher = more likely a member."""
        records = view.candidates.records
        each = view.target.token_log_likelihoods(records).astype(np.float64)
        blind = view.target.token_log_likelihoods(self._without_image(records)).astype(np.float64)
        gain: NDArray[np.float64] = np.nanmean(each - blind, axis=1)
        return gain

    def _without_image(self, records: Examples) -> Examples:
        return dataclasses.replace(records, images=np.full_like(records.images, self.grey))
