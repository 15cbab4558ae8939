"""Zero-shot classification and retrieval: above chance with pairs known by heart, at chance untrained."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from dpaudit.data.examples import Examples
from dpaudit.data.scenes.source import Scenes
from dpaudit.errors import DpauditError, InputError
from dpaudit.plugins import Probe, ProbeData, ReadsText
from dpaudit.probes.linear import wilson
from dpaudit.probes.retrieval import Retrieval
from dpaudit.probes.zero_shot import ZeroShot
from dpaudit.rng import Rng
from dpaudit.trainers.dp_clip import DPClip
from dpaudit.training.shared_space import TwoTowers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

KEY = Rng.from_seed(5)
CLASSES = ("ring", "star", "cross")


class Known:
    """A space in which records and texts are where they are said to be."""

    def __init__(self, images: NDArray[np.float32], texts: Mapping[str, Sequence[float] | NDArray[np.float32]]) -> None:
        self.images, self.said = images, texts

    def __call__(self, examples: Examples, /) -> NDArray[np.float32]:
        return self.images[: len(examples)]

    def texts(self, captions: Sequence[str], /) -> NDArray[np.float32]:
        return np.array([self.said[caption] for caption in captions], dtype=np.float32)


def held(n: int, labels: Any = None, captions: tuple[str, ...] | None = None) -> ProbeData:
    ids = np.array([f"r/{i}" for i in range(n)], dtype=np.str_)
    images = np.zeros((n, 3, 1, 1), dtype=np.uint8)
    records = Examples(ids=ids, images=images, captions=captions, labels=labels)
    return ProbeData(train=records.take(slice(0, 0)), test=records, classes=CLASSES)


def test_they_are_probes_that_read_text() -> None:
    for probe in (ZeroShot(), Retrieval()):
        assert isinstance(probe, Probe)
        assert isinstance(probe, ReadsText)
        assert probe.reads_text


def test_an_image_is_of_the_class_whose_mean_caption_is_nearest() -> None:
    axes = np.eye(3, dtype=np.float32)
    texts = {"a ring": axes[0], "the ring": axes[0], "a star": axes[1], "the star": axes[1]}
    texts |= {"a cross": axes[2], "the cross": axes[1]}  # one template misleads
    space = Known(axes[[0, 1, 2, 2]], texts)
    probe = ZeroShot(templates=("a {class}", "the {class}"), confidence=0.9)
    result = probe.measure({"trained": space}, held(4, np.array([0, 1, 2, 0])), KEY)
    assert result.measurements[0].score == wilson(3, 4, 0.9)
    assert result.detail["chance"] == pytest.approx(1 / 3)
    assert result.detail["most frequent class"] == 0.5


def test_recall_counts_equal_captions_as_right() -> None:
    axes = np.eye(3, dtype=np.float32)
    texts = {"one": axes[0], "two": axes[1], "three": axes[2]}
    data = held(4, captions=("one", "two", "one", "three"))
    space = Known(np.array([axes[0], axes[0], axes[0], axes[2]]), texts)
    result = Retrieval().measure({"trained": space}, data, KEY)
    assert result.measurements[0].score == wilson(3, 4, 0.95)
    assert result.detail["chance"] == pytest.approx((2 * 0.5 + 2 * 0.25) / 4)
    assert result.detail["R@5, text to image (trained)"] == 1.0
    backwards = Retrieval(direction="text to image").measure({"trained": space}, data, KEY)
    # "one" finds an image of "two" as near as its own, and of equals the wrong one counts first
    assert backwards.measurements[0].score.value == 0.25


def test_what_cannot_be_measured_is_refused() -> None:
    for templates in ((), ("a photo",)):
        with pytest.raises(InputError, match=r"^templates = .*\{class\}"):
            ZeroShot(templates=templates)
    for probe in (ZeroShot, Retrieval):
        with pytest.raises(InputError, match=r"^confidence = 1"):
            probe(confidence=1.0)
    with pytest.raises(InputError, match=r"^k = 0"):
        Retrieval(k=0)
    with pytest.raises(InputError, match="no labelled records"):
        ZeroShot().measure({}, held(3), KEY)
    with pytest.raises(InputError, match="no records with captions"):
        Retrieval().measure({}, held(3), KEY)
    broken = Known(np.full((2, 3), np.nan, dtype=np.float32), {f"a photo of a {name}": [1.0] * 3 for name in CLASSES})
    with pytest.raises(DpauditError, match=r"vectors \(trained\) are not finite"):
        ZeroShot().measure({"trained": broken}, held(2, np.array([0, 1])), KEY)


@pytest.fixture(scope="module")
def spaces() -> tuple[dict[str, TwoTowers], ProbeData, ProbeData]:
    """A model that knows a scene of each class by heart, and one that has seen nothing; these scenes, and others."""
    source = Scenes(size=400, image_size=16)
    every = source[source.ids()]
    assert every.labels is not None
    first = np.array([int(np.flatnonzero(every.labels == label)[0]) for label in range(8)])
    captions = tuple(f"a large {name}" for name in source.classes)
    records = dataclasses.replace(every.take(first), captions=captions)
    trainer = DPClip(tokenizer="scenes")
    models = {name: trainer.build(KEY) for name in ("trained", "untrained")}
    parameters = {name: each for name, each in models["trained"].named_parameters() if each.requires_grad}
    optimizer = torch.optim.AdamW(list(parameters.values()), lr=1e-3)
    batch = trainer.collate(records, KEY)
    for _ in range(60):
        for name, gradient in trainer.bounded_sum(models["trained"], batch, 10.0).items():
            parameters[name].grad = gradient
        optimizer.step()
    known, others = (
        ProbeData(train=records.take(slice(0, 0)), test=each, classes=source.classes, source=source)
        for each in (records, every)
    )
    return {name: TwoTowers(trainer, model.eval()) for name, model in models.items()}, known, others


def test_a_taught_model_knows_its_classes(spaces: tuple[dict[str, TwoTowers], ProbeData, ProbeData]) -> None:
    features, known, _ = spaces
    for probe in (ZeroShot(templates=("a large {class}",)), Retrieval(), Retrieval(direction="text to image")):
        result = probe.measure({"trained": features["trained"]}, known, KEY)
        assert result.measurements[0].score.low > 0.5 > float(result.detail["chance"])


def test_an_untrained_model_is_at_chance(spaces: tuple[dict[str, TwoTowers], ProbeData, ProbeData]) -> None:
    features, _, others = spaces
    untrained = {"untrained": features["untrained"]}
    guessed = ZeroShot(templates=("a large {class}",), confidence=0.999).measure(untrained, others, KEY)
    score = guessed.measurements[0].score
    assert score.low < 1 / 8 < score.high
    found = Retrieval(k=10, confidence=0.999).measure(untrained, others, KEY)
    assert found.measurements[0].score.low < float(found.detail["chance"]) + 0.01


def test_equal_texts_are_equal_vectors_in_order(
    spaces: tuple[dict[str, TwoTowers], ProbeData, ProbeData],
) -> None:
    space = spaces[0]["trained"]
    vectors = space.texts(["a red ring", "a blue star", "a red ring"])
    assert np.array_equal(vectors[0], vectors[2])
    assert not np.array_equal(vectors[0], vectors[1])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
