"""What every attack owes: shape, direction on an overfit model, chance on an untrained one, order, determinism."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from dpaudit.attacks.ae_csa import AugmentedCosine
from dpaudit.attacks.blind import Blind
from dpaudit.attacks.caption_given_image import CaptionGivenImage
from dpaudit.attacks.caption_likelihood import CaptionProbability
from dpaudit.attacks.clip_cosine import ClipCosine
from dpaudit.attacks.clip_margin import ClipMargin
from dpaudit.attacks.clip_rank import ClipRank
from dpaudit.attacks.confidence import Confidence
from dpaudit.attacks.deja_vu import DejaVu
from dpaudit.attacks.deja_vu_pairs import DejaVuPairs
from dpaudit.attacks.displacement import Displacement
from dpaudit.attacks.embedding_norm import EmbeddingNorm
from dpaudit.attacks.encoder_mi import EncoderMI
from dpaudit.attacks.entropy import Entropy
from dpaudit.attacks.exposure import Exposure
from dpaudit.attacks.gradient_norm import GradientNorm
from dpaudit.attacks.gradient_product import GradientProduct
from dpaudit.attacks.loss import Loss
from dpaudit.attacks.min_k import MinK
from dpaudit.attacks.modified_entropy import ModifiedEntropy
from dpaudit.attacks.part_crop import PartCrop
from dpaudit.attacks.random_scores import RandomScores
from dpaudit.attacks.wsa import WeaklySupervised
from dpaudit.metrics import coin_blindness
from dpaudit.plugins import Attack

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.plugins import AttackView

    class Overfit:
        """As in conftest.py, which tests cannot import."""

        members: NDArray[np.bool_]

        def view(self, state: str = "trained", order: NDArray[np.int64] | None = None) -> AttackView: ...
        def auc(self, scores: NDArray[np.float64]) -> float: ...


#: system, attack, the least AUC that it must reach there; 0 where it is not known to work
CASES: tuple[tuple[str, Attack, float], ...] = (
    ("classifier", Loss(masks=1), 0.9),
    ("classifier", Confidence(), 0.8),
    ("classifier", Entropy(), 0.8),
    ("classifier", ModifiedEntropy(), 0.9),
    ("classifier", EmbeddingNorm(), 0.65),
    ("classifier", GradientNorm(), 0.9),
    ("classifier", GradientProduct(strangers=16), 0.9),
    ("classifier", Displacement(), 0.9),
    ("classifier", Displacement(gradient_at="both", unit=False), 0.6),
    ("classifier", EncoderMI(views=4), 0),
    ("classifier", PartCrop(parts=4, side=2), 0),
    ("classifier", DejaVu(), 0),
    ("classifier", DejaVu(part="edge"), 0),
    ("captioner", Loss(masks=1), 0.9),
    ("captioner", CaptionProbability(), 0.9),
    ("captioner", CaptionProbability(over="sum"), 0.8),
    ("captioner", CaptionGivenImage(), 0.6),
    ("captioner", MinK(), 0.9),
    ("captioner", Exposure(others=4), 0.7),
    ("autoencoder", Loss(masks=2), 0.8),
    ("autoencoder", GradientNorm(masks=2), 0.5),
    ("autoencoder", EncoderMI(views=3), 0),
    ("pairs", ClipCosine(), 0.85),
    ("pairs", ClipMargin(), 0.85),
    ("pairs", ClipRank(), 0.85),
    ("pairs", AugmentedCosine(views=3), 0.85),
    ("pairs", WeaklySupervised(), 0.75),
    ("pairs", DejaVuPairs(), 0.65),
    ("pairs", Blind(), 0),
    ("pairs", RandomScores(), 0),
)


def name(case: object) -> str | None:
    return type(case).__name__ if isinstance(case, Attack) else None


each_case = pytest.mark.parametrize(("overfit", "attack", "least"), CASES, indirect=["overfit"], ids=name)


@each_case
def test_members_score_higher_and_the_untrained_model_knows_nothing(
    overfit: Overfit, attack: Attack, least: float
) -> None:
    trained, untrained = (attack.score(overfit.view(state)) for state in ("trained", "untrained"))
    for scores in (trained, untrained):
        assert scores.shape == overfit.members.shape
        assert scores.dtype == np.float64
        assert np.isfinite(scores).all()
    assert overfit.auc(trained) > least
    assert coin_blindness(untrained, overfit.members) > 1e-3
    if not attack.needs.sees_model:
        np.testing.assert_array_equal(trained, untrained)


@each_case
def test_the_order_of_candidates_does_not_matter(overfit: Overfit, attack: Attack, least: float) -> None:
    del least
    order = np.random.default_rng(5).permutation(len(overfit.members))[:]
    scores = attack.score(overfit.view())
    np.testing.assert_allclose(attack.score(overfit.view(order=order)), scores[order], rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(attack.score(overfit.view()), scores)


def test_every_attack_is_an_attack() -> None:
    assert all(isinstance(attack, Attack) for _, attack, _ in CASES)
    assert cast("object", Blind().needs.sees_model) is False
