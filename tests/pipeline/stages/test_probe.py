"""Probes in a run: each beside its baselines, features computed once, and what cannot be measured refused at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import dpaudit
from dpaudit.errors import InputError
from dpaudit.training.kept_features import KeptFeatures

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples
    from dpaudit.results import ProbeResult

TINY = (
    "data.size=260",
    "data.split={audit_pool: 0, probe_train: 90, probe_test: 40}",
    "privacy.epsilon=inf",
    "privacy.steps=2",
    "privacy.batch_size=16",
    "canaries={block: 0}",
    "attacks=[]",
    "bounds={decide: []}",
    "report.pictures=0",
)
PROBES = (
    "[knn, {name: few-shot, shots: 2, draws: 2}, captions, {name: caption-zero-shot, by: tree}, compositional, "
    "{name: fine-tune, epsilon: 8, steps: 2, batch_size: 8, draws: 1}]"
)


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, ProbeResult], int]:
    """A captioner's run with many probes, and how often features of its models were computed."""
    folder, computed = tmp_path_factory.mktemp("probes") / "run", []
    kept = KeptFeatures.__call__

    def counted(self: KeptFeatures, examples: Examples, /) -> NDArray:  # type: ignore[type-arg]  # as it is
        before = len(list(self.folder.glob("*.npy")))
        found = kept(self, examples)
        computed.append(len(list(self.folder.glob("*.npy"))) - before)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KeptFeatures, "__call__", counted)
        result = dpaudit.run("dp-cap-micro", out=folder, overrides=(*TINY, f"probes={PROBES}"))
    assert len(computed) == 8  # two probes of features, two models, two parts
    return folder, {probe.probe: probe for probe in result.probes}, sum(computed)


def test_every_probe_stands_beside_its_baselines(probed: tuple[Path, dict[str, ProbeResult], int]) -> None:
    _, results, _ = probed
    rows = {name: [measurement.features for measurement in probe.measurements] for name, probe in results.items()}
    features = ["trained", "untrained", "raw pixels"]
    assert [rows[name] for name in ("knn", "few-shot", "fine-tune")] == [features] * 3
    assert rows["caption-zero-shot"] == ["trained", "untrained"]
    assert rows["captions"] == ["trained", "untrained", "caption of another image"]
    assert rows["compositional"][2:] == ["trained, image hidden", "untrained, image hidden"]
    for probe in results.values():
        for measurement in probe.measurements:
            assert measurement.score.low <= measurement.score.value <= measurement.score.high


def test_results_say_that_the_probes_records_are_private(probed: tuple[Path, dict[str, ProbeResult], int]) -> None:
    folder, results, _ = probed
    assert {probe.private for probe in results.values()} == {True}
    assert "no epsilon covers what these scores tell of them" in (folder / "report.html").read_text()


def test_features_are_computed_once_for_all_probes(probed: tuple[Path, dict[str, ProbeResult], int]) -> None:
    folder, _, computed = probed
    assert computed == len(list((folder / "probes" / "features").glob("*.npy"))) == 4  # two models, two parts


@pytest.mark.parametrize(
    ("recipe", "probe", "refused"),
    [
        ("quickstart", "captions", r"probes.0.name = 'captions': .* asks for Captions, which vip does not offer"),
        ("quickstart", "{name: compositional, exchanged: order}", "EmbedsText or CaptionLikelihood, which vip"),
        ("quickstart", "caption-zero-shot", "CaptionLikelihood, which vip does not offer"),
        ("quickstart", "{name: few-shot, shots: 0}", r"probes.0.shots = 0"),
        ("quickstart", "{name: compositional, exchanged: colour}", r"probes.0.exchanged = 'colour'"),
    ],
)
def test_what_a_run_cannot_be_probed_for_is_one_line(tmp_path: Path, recipe: str, probe: str, refused: str) -> None:
    with pytest.raises(InputError, match=refused) as caught:
        dpaudit.run(recipe, out=tmp_path / "run", overrides=[f"probes=[{probe}]"])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_an_exchange_is_asked_of_data_that_know_it(tmp_path: Path) -> None:
    digits = (
        "data={name: digits, split: {audit_pool: 100, probe_train: 50, probe_test: 50}}",
        "trainer.tokenizer=clip-bpe",
    )
    more = ("canaries={block: 0}", "attacks=[]", "bounds={decide: []}", "privacy.steps=1", "privacy.batch_size=16")
    with pytest.raises(InputError, match="the data set knows nothing to exchange in a caption"):
        dpaudit.run("dp-cap-micro", out=tmp_path / "run", overrides=(*digits, *more, "probes=[compositional]"))
