"""Zero-shot by captions and caption quality: right for a captioner that knows, at chance for one that does not."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from dpaudit.data.examples import Examples
from dpaudit.data.scenes.source import Scenes
from dpaudit.errors import InputError
from dpaudit.plugins import ChoosesCaption, Probe, ProbeData, ReadsSpeech
from dpaudit.probes.caption_zero_shot import CaptionZeroShot
from dpaudit.probes.captions import CaptionQuality
from dpaudit.probes.linear import wilson
from dpaudit.rng import Rng
from dpaudit.trainers.dp_cap import DPCap
from dpaudit.trainers.dp_clip import DPClip
from dpaudit.training.speech import Speaker
from dpaudit.training.targets import embedder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

KEY = Rng.from_seed(6)
CLASSES = ("ring", "star, asterisk", "cross")


class Told:
    """A captioner that says and prefers what it is told to, by the record's label."""

    def __init__(self, prefers: Callable[[int, str], float], says: Sequence[str] = ()) -> None:
        self.prefers, self.saying = prefers, says

    def __call__(self, examples: Examples, /) -> NDArray[np.float32]:
        return np.zeros((len(examples), 1), dtype=np.float32)

    def match(self, examples: Examples, captions: Sequence[str], /) -> NDArray[np.float64]:
        assert examples.labels is not None
        return np.array([self.prefers(*pair) for pair in zip(examples.labels.tolist(), captions, strict=True)])

    def says(self, examples: Examples, beams: int, /) -> list[str]:
        assert beams == 1
        return list(self.saying[: len(examples)])

    def chooses(self, examples: Examples, captions: Sequence[str], /) -> NDArray[np.int64]:
        assert examples.labels is not None
        found = [[self.prefers(label, caption) for caption in captions] for label in examples.labels.tolist()]
        return np.asarray(np.argmax(found, axis=1), dtype=np.int64)


def held(labels: Any, captions: tuple[str, ...] | None = None, others: Any = None) -> ProbeData:
    ids = np.array([f"r/{i}" for i in range(len(labels))], dtype=np.str_)
    images = np.zeros((len(labels), 3, 1, 1), dtype=np.uint8)
    known = np.array(labels, dtype=np.int64)
    records = Examples(ids=ids, images=images, captions=captions, labels=known, other_captions=others)
    return ProbeData(train=records.take(slice(0, 0)), test=records, classes=CLASSES)


def of_label(label: int, caption: str) -> float:
    return float(caption.removeprefix("a ") in ("ring", "asterisk", "cross")[label])


@pytest.mark.parametrize("by", ["likelihood", "tree"])
def test_the_best_wording_of_a_class_counts(by: Any) -> None:
    probe = CaptionZeroShot(templates=("a {class}",), by=by, confidence=0.9)
    result = probe.measure({"trained": Told(of_label)}, held([0, 1, 1, 2]), KEY)
    assert result.measurements[0].score == wilson(4, 4, 0.9)
    assert result.detail["chance"] == pytest.approx(1 / 3)
    assert (isinstance(probe, Probe), isinstance(probe, ReadsSpeech)) == (True, True)
    assert probe.reads_labels


def test_classes_that_tie_share_the_credit() -> None:
    probe = CaptionZeroShot(templates=("a {class}", "the {class}"))
    constant = probe.measure({"x": Told(lambda *_: -1.0)}, held([0, 1, 1, 2] * 20), KEY)
    assert constant.measurements[0].score.value == pytest.approx(1 / 3)


def test_at_chance_the_interval_covers_it() -> None:
    rng, probe = np.random.default_rng(0), CaptionZeroShot(confidence=0.9)
    data = held(np.arange(60) % 3)
    scores = [
        probe.measure({"x": Told(lambda *_: float(rng.random()))}, data, KEY).measurements[0].score for _ in range(100)
    ]
    wordings = np.array([1, 2, 1])  # of the second class the better of two counts, so it is named half the time
    chance = float((wordings / wordings.sum()).mean())
    missed = sum(not score.low <= chance <= score.high for score in scores)
    assert 2 <= missed <= 21  # Binomial(100, 0.1)


@pytest.fixture(scope="module")
def speakers() -> tuple[dict[str, Speaker], ProbeData]:
    """A captioner that knows a scene of each class by heart, and one that has seen nothing."""
    source = Scenes(size=400, image_size=16)
    every = source[source.ids()]
    assert every.labels is not None
    first = np.array([int(np.flatnonzero(every.labels == label)[0]) for label in range(8)])
    captions = tuple(f"a large {name}" for name in source.classes)
    records = dataclasses.replace(every.take(first), captions=captions)
    trainer = DPCap(tokenizer="scenes")
    models = {name: trainer.build(KEY) for name in ("trained", "untrained")}
    optimizer = torch.optim.Adam([p for p in models["trained"].parameters() if p.requires_grad], lr=3e-3)
    for _ in range(120):
        optimizer.zero_grad()
        trainer.losses(models["trained"], trainer.collate(records, KEY)).mean().backward()  # type: ignore[no-untyped-call]  # torch has no types there
        optimizer.step()
    spoken = {name: Speaker(trainer, model.eval(), embedder(trainer, model)) for name, model in models.items()}
    return spoken, ProbeData(train=every.take(slice(0, 50)), test=records, classes=source.classes, source=source)


@pytest.mark.parametrize("by", ["likelihood", "tree"])
def test_a_captioner_that_knows_the_images_names_their_classes(
    speakers: tuple[dict[str, Speaker], ProbeData], by: Any
) -> None:
    probe = CaptionZeroShot(templates=("a large {class}",), by=by)
    trained, untrained = probe.measure(*speakers, KEY).measurements
    assert trained.score.value == 1.0
    assert untrained.score.value < 0.5


def test_the_tree_is_open_to_its_captions_alone(speakers: tuple[dict[str, Speaker], ProbeData]) -> None:
    spoken, data = speakers
    said = spoken["trained"].chooses(data.test, ["a small red ring", "a small red star"])
    assert set(said.tolist()) <= {0, 1}
    assert isinstance(DPCap(tokenizer="scenes"), ChoosesCaption)
    with pytest.raises(InputError, match=r"^caption = 'a dog': expected text that reads otherwise than 'a cat'"):
        spoken["trained"].chooses(data.test, ["a cat", "a dog"])


def test_a_speaker_matches_by_likelihood_or_by_cosine(speakers: tuple[dict[str, Speaker], ProbeData]) -> None:
    spoken, data = speakers
    assert data.test.captions is not None
    right = spoken["trained"].match(data.test, data.test.captions)
    wrong = spoken["trained"].match(data.test, data.test.captions[1:] + data.test.captions[:1])
    assert (right > wrong).all()
    trainer = DPClip(tokenizer="scenes")
    model = trainer.build(KEY).eval()
    clip = Speaker(trainer, model, embedder(trainer, model))
    with torch.no_grad():
        images = trainer.image_vectors(model, torch.tensor(data.test.images))
        texts = trainer.text_vectors(model, data.test.captions)
    expected = (images * texts).sum(dim=1).numpy()
    np.testing.assert_allclose(clip.match(data.test, data.test.captions), expected, atol=1e-5)


def test_captions_that_are_said_rightly_score_best_and_others_little(
    speakers: tuple[dict[str, Speaker], ProbeData],
) -> None:
    spoken, data = speakers
    result = CaptionQuality(resamples=20).measure(spoken, data, KEY)
    scores = {measurement.features: measurement.score for measurement in result.measurements}
    assert list(scores) == ["trained", "untrained", "caption of another image"]
    assert scores["trained"].low > scores["untrained"].high
    assert scores["untrained"].high < 1


def test_both_metrics_are_those_of_the_field() -> None:
    captions = ("a red ring above a blue star.", "one green cross", "a white moon over the sea")
    others = ((), ("a green cross", "a cross"), ())
    data = held([0, 1, 2], captions, others)
    same = CaptionQuality(resamples=20).measure({"x": Told(of_label, captions)}, data, KEY)
    assert same.detail["BLEU-4 (x)"] == pytest.approx(1.0, abs=1e-6)
    assert same.detail["references per image"] == pytest.approx(5 / 3)
    assert same.measurements[0].score.value == same.detail["CIDEr (x)"]
    said = ("a red ring above a blue cross", "one green cross", "a white moon over the sea")
    bleu = CaptionQuality(metric="BLEU-4").measure({"x": Told(of_label, said)}, data, KEY).measurements[0].score
    precisions = [15 / 16, 12 / 13, 9 / 10, 6 / 7]  # Papineni et al. 2002: of 16 words 15 are right, and so on
    assert bleu.value == pytest.approx(float(np.prod(precisions)) ** 0.25, abs=1e-6)
    assert bleu.low <= bleu.value <= bleu.high


def test_the_interval_of_cider_covers() -> None:
    rng = np.random.default_rng(3)
    words = [f"w{k}" for k in range(30)]
    pool = [" ".join(rng.choice(words, 6)) for _ in range(2000)]
    said = [text if rng.random() < 0.5 else other for text, other in zip(pool, pool[::-1], strict=True)]
    covered = 0
    for start in range(0, 2000, 50):
        part = slice(start, start + 50)
        data = held([0] * 50, tuple(pool[part]))
        probe = CaptionQuality(confidence=0.9, resamples=100)
        score = probe.measure({"x": Told(of_label, said[part])}, data, KEY).measurements[0].score
        covered += score.low <= 5.0 <= score.high  # a right caption scores 10, one of other words next to nothing
    assert 30 <= covered < 40  # of 36; fewer than 30 would be a chance of about 1 in 200


@pytest.mark.parametrize(
    ("field", "kind", "options"),
    [
        ("templates", CaptionZeroShot, {"templates": ("a photo",)}),
        ("confidence", CaptionZeroShot, {"confidence": 1.0}),
        ("beams", CaptionQuality, {"beams": 0}),
        ("resamples", CaptionQuality, {"resamples": 1}),
        ("confidence", CaptionQuality, {"confidence": 0.0}),
    ],
)
def test_bad_options_are_named(field: str, kind: Any, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"^{field} = "):
        kind(**options)


def test_what_cannot_be_measured_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no labelled records"):
        CaptionZeroShot().measure({}, dataclasses.replace(held([0]), classes=()), KEY)
    with pytest.raises(InputError, match="two or more, with captions"):
        CaptionQuality().measure({}, held([0, 1]), KEY)
    monkeypatch.setitem(__import__("sys").modules, "pycocoevalcap.bleu.bleu_scorer", None)
    with pytest.raises(InputError, match=r"pip install 'dpaudit\[captions\]'"):
        CaptionQuality()
