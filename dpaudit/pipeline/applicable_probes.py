"""Whether a probe can be measured on a run at all: what it reads against what there is, before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpaudit.discovery import configure
from dpaudit.pipeline.applicable import offers
from dpaudit.plugins import (
    AsksQuestions,
    Classifies,
    EmbedsText,
    KnowsTruth,
    Misdescribes,
    ReadsLabels,
    ReadsLogits,
    ReadsMisdescriptions,
    ReadsQuestions,
    ReadsSpeech,
    ReadsText,
    ReadsTruth,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dpaudit.pipeline.audit import Audit
    from dpaudit.plugins import Probe
    from dpaudit.recipes.recipe import ProbeEntry

__all__ = ["check_probe_applicable"]


def check_probe_applicable(audit: Audit, index: int, entry: ProbeEntry) -> None:
    """Raise InputError, one line, where data or trainer lack what the recipe's probe number `index` reads."""
    probe = configure("probes", entry, audit.loaded.where.at(f"probes.{index}"))
    for expected in (*_lacking_data(audit, probe), *_lacking_trainer(audit, probe)):
        raise audit.loaded.where.refusal(f"probes.{index}.name", entry.name, expected)


def _lacking_data(audit: Audit, probe: Probe) -> Iterator[str]:
    asks = isinstance(probe, ReadsQuestions) and probe.reads_questions
    truth = isinstance(probe, ReadsTruth) and probe.reads_truth
    exchanges = isinstance(probe, ReadsMisdescriptions) and probe.reads_misdescriptions
    if audit.population.classes is None and not (asks or truth or _reads_captions_alone(probe)):
        yield "no probe: the data set has no labels"
    if truth and not isinstance(audit.dataset, KnowsTruth):
        yield "another probe: of these data no truth is known"
    if asks and not isinstance(audit.dataset, AsksQuestions):
        yield "another probe: the data set asks no questions"
    if exchanges and not isinstance(audit.dataset, Misdescribes):
        yield "another probe: the data set knows nothing to exchange in a caption"


def _lacking_trainer(audit: Audit, probe: Probe) -> Iterator[str]:
    if isinstance(probe, ReadsLogits) and probe.reads_logits and not isinstance(audit.trainer, Classifies):
        yield "another probe: this trainer does not classify"
    if isinstance(probe, ReadsText) and probe.reads_text and not isinstance(audit.trainer, EmbedsText):
        yield "another probe: this trainer does not embed text"
    for kind in probe.reads_speech if isinstance(probe, ReadsSpeech) else ():
        if not isinstance(audit.trainer, kind):
            yield f"another probe: this one asks for {offers(kind)}, which {audit.recipe.trainer.name} does not offer"


def _reads_captions_alone(probe: Probe) -> bool:
    if isinstance(probe, ReadsLabels) and probe.reads_labels:
        return False
    texts = isinstance(probe, ReadsText) and probe.reads_text
    return texts or (isinstance(probe, ReadsSpeech) and bool(probe.reads_speech))
