"""WSA: pairs of suspiciously high cosine teach a classifier what members are (Ko et al. 2023, arXiv 2310.00108)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dpaudit.errors import InputError
from dpaudit.plugins import EmbedsText, Needs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples
    from dpaudit.plugins import AttackView, Target

__all__ = ["WeaklySupervised"]


@dataclass(frozen=True, kw_only=True)
class WeaklySupervised:
    """Scores a pair by a classifier between non-members and pseudo-members, on image vector, caption vector, product.

    Pseudo-members: candidates whose cosine is above the non-members' mean by `deviations` standard deviations, and
    at least the `least` share of highest cosine. The paper's Weakly Supervised Attack, with logistic regression
    (inverse penalty `strength`) in place of its MLP, which needs thousands of pairs; the product of the two vectors,
    whose sum is the cosine, is added.

    >>> WeaklySupervised().needs.population
    20
    """

    deviations: float = 1.5
    least: float = 0.1
    strength: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.least < 1:
            raise InputError("least", self.least, "a share of the candidates between 0 and 1")
        if not self.strength > 0:
            raise InputError("strength", self.strength, "a number above 0")

    @property
    def needs(self) -> Needs:
        """Return what it needs: images and captions in one space, and non-members to learn from."""
        return Needs(
            access="outputs",
            families=("pool", "inputs"),
            capabilities=(EmbedsText,),
            reads=frozenset({"caption"}),
            population=20,
        )

    def score(self, view: AttackView) -> NDArray[np.float64]:
        """Return the classifier's log-odds of every candidate, (n,); higher = more likely a member."""
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 (takes a second to import)
        from sklearn.pipeline import make_pipeline  # noqa: PLC0415 (as above)
        from sklearn.preprocessing import StandardScaler  # noqa: PLC0415 (as above)

        order = np.argsort(view.candidates.ids)  # so that the fit does not depend on the order of candidates
        known, usual = _features(view.target, view.population)
        asked, cosines = _features(view.target, view.candidates.records.take(order))
        suspected = asked[cosines >= self._threshold(usual, cosines)]
        classifier = make_pipeline(
            StandardScaler(), LogisticRegression(C=self.strength, class_weight="balanced", max_iter=1000)
        )
        classifier.fit(np.concatenate([known, suspected]), np.arange(len(known) + len(suspected)) >= len(known))
        scores = np.empty(len(order), dtype=np.float64)
        scores[order] = classifier.decision_function(asked)
        return scores

    def _threshold(self, known: NDArray[np.float64], asked: NDArray[np.float64]) -> float:
        rare = float(known.mean() + self.deviations * known.std())
        return min(rare, float(np.quantile(asked, 1 - self.least)))


def _features(target: Target, records: Examples) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    images = target.image_vectors(records).astype(np.float64)
    captions = target.text_vectors(records).astype(np.float64)
    product = images * captions
    return np.concatenate([images, captions, product], axis=1), product.sum(axis=1)
