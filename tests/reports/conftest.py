"""Sample results for the tests of reports: one per verdict, a partial one, one without any promise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from scipy import special

from dpaudit.mechanism import Mechanism
from dpaudit.metrics import attack_result
from dpaudit.results import (
    Assumption,
    AttackResult,
    AuditResult,
    Bound,
    Counts,
    Guarantee,
    Interval,
    Measurement,
    Picture,
    Plan,
    ProbeResult,
    Promise,
    RunSummary,
    Said,
    Series,
    Threat,
    Verdict,
)
from dpaudit.scores import LabelledScores, ScoreTable, ThreatModel

if TYPE_CHECKING:
    from pathlib import Path

GRADIENTS = Threat(access="all steps", inserts="gradients")
OUTPUTS = Threat(access="outputs", inserts="inputs")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """The folder of the sample results' pictures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("reconstructions.png", "canaries.png"):
        Image.fromarray(rng.integers(0, 255, (96, 320, 3), dtype=np.uint8)).save(folder / name)
    return folder


@pytest.fixture(scope="session")
def samples() -> dict[str, AuditResult]:
    """Sample results by name: the four verdicts, partial, unpromised."""
    consistent = _consistent()
    return {
        "consistent": consistent,
        "violated": _violated(consistent),
        "unsound": _unsound(consistent),
        "inconclusive": _inconclusive(consistent),
        "partial": _partial(consistent),
        "unpromised": _unpromised(consistent),
    }


def _consistent() -> AuditResult:
    return AuditResult(
        name="vip-small",
        title="ViP on 2,000 street scenes",
        dpaudit_version="0.1.0",
        recipe={"data": {"name": "scenes", "size": 2000}, "trainer": {"name": "vip"}, "privacy": {"epsilon": 8.0}},
        environment={"python": "3.11.7", "torch": "2.9.0", "dpaudit": "0.1.0", "device": "cpu"},
        system="ViP: masked autoencoder, ViT-Tiny, 5.6 M parameters, under DP-SGD",
        promise=_promise(),
        guarantees=(
            Guarantee(accountant="PLD", epsilon=7.9998, delta=1e-5, adjacency="add-remove"),
            Guarantee(accountant="RDP", epsilon=8.671, delta=1e-5, adjacency="add-remove", note="looser by design"),
            Guarantee(
                accountant="PRV", epsilon=None, delta=1e-5, adjacency="add-remove", note="no sound answer above ε = 10"
            ),
        ),
        assumptions=(
            Assumption(name="Poisson sampling", status="held", evidence="ledger: 400 drawn sizes, chi-square p = 0.41"),
            Assumption(name="Noise as stated", status="held", evidence="replay of 20 steps: measured 0.742 of 0.741"),
            Assumption(
                name="Public pre-training data", status="unknown", evidence="the start weights name no training data"
            ),
        ),
        runs=(_run("target-00", 1), _run("target-01", 2)),
        attacks=(
            _attack("audit_block", "block", GRADIENTS, 1.6, 1),
            _attack("loss", "pool", OUTPUTS, 0.1, 2),
            _attack("loss", "inputs", OUTPUTS, 0.4, 3, exploratory=True),
        ),
        bounds=_bounds(),
        plans=(_plan(0.93),),
        probes=(
            _probe("linear", (0.712, 0.65, 0.583)),
            _probe("nearest neighbours", (0.664, 0.61, 0.55)),
        ),
        pictures=(
            Picture(
                file="reconstructions.png",
                title="Originals, what the model saw, what it painted",
                alt="Four rows of scenes: the original, the original with three quarters of it masked, the painting",
            ),
            Picture(
                file="canaries.png",
                title="Inserted canaries",
                alt="Eight noise images",
                said=(Said(generated="a large ring", caption="a small ring"), Said(generated="", caption=None)),
            ),
        ),
        verdict=Verdict(
            word="CONSISTENT",
            sentence="No attack refuted the promise of ε = 8, and the audit would have noticed half the noise with "
            "probability 0.93.",
            reasons=("audit_block refutes ε up to 5.55 of the promised 8.00.",),
        ),
        commands=("dpaudit init vip-small", "dpaudit run vip-small.yaml -o runs/vip-small"),
        missing=("LiRA was not run: it needs 16 reference runs and the recipe has none.",),
    )


def _promise() -> Promise:
    fpr = np.append(np.geomspace(1e-5, 0.5, 60), np.linspace(0.51, 1, 20))
    fnr = special.ndtr(-special.ndtri(fpr) - 1.6)
    return Promise(
        kind="accountant",
        epsilon=8.0,
        delta=1e-5,
        mechanism=Mechanism(
            sampling="poisson",
            adjacency="add-remove",
            noise_multiplier=0.741,
            sampling_rate=0.05,
            steps=400,
            clip_norm=1.0,
            batch_size=100,
            dataset_size=2000,
        ),
        curve=Series(name="trade-off", x=tuple(fpr.tolist()), y=tuple(fnr.tolist())),
    )


def _run(name: str, seed: int) -> RunSummary:
    rng = np.random.default_rng(seed)
    step = np.arange(0, 400, 4.0)
    curves = {
        "loss": 0.9 * np.exp(-step / 120) + 0.3 + 0.02 * rng.normal(size=100),
        "drawn batch size": rng.binomial(2000, 0.05, 100).astype(float),
        "clipped fraction": 1 - 0.4 * step / 400,
    }
    return RunSummary(
        name=name,
        role="target",
        parameters=5_612_304,
        steps=400,
        seconds=1834.2,
        commitment="9f2c" * 16,
        openings=1,
        curves=tuple(Series(name=key, x=tuple(step), y=tuple(values)) for key, values in curves.items()),
        facts={"peak memory": "3.1 GiB", "records per second": 21.8, "empty batches": 0},
    )


def _attack(
    name: str, family: str, threat: Threat, shift: float, seed: int, *, exploratory: bool = False
) -> AttackResult:
    rng = np.random.default_rng(seed)
    member = rng.random(1000) < 0.5
    scores = rng.normal(size=1000) + shift * member
    table = ScoreTable(
        attack=name,
        run="target-00",
        family=family,
        threat_model=ThreatModel(access=threat.access, inserts=threat.inserts),
        ids=np.arange(1000).astype(str),
        scores=scores,
    )
    labelled = LabelledScores(scores=scores, member=member)
    return attack_result(table, labelled, untrained=rng.normal(size=1000), exploratory=exploratory)


def _bounds() -> tuple[Bound, ...]:
    counts = Counts(
        canaries=(1000, 1000), guesses=(200, 200), correct=(191, 188), guesses_in=(100, 100), guesses_out=(100, 100)
    )
    shared = {"delta": 1e-5, "counts": counts, "strategy": "guess counts fixed by the plan before unsealing"}
    return (
        Bound(
            method="f-DP recursion, product of 2 runs",
            hypothesis="accountant",
            guarantee="certified",
            epsilon=5.5534,
            confidence=0.975,
            p_value=0.41,
            parameter=1.21,
            attack="audit_block",
            threat=GRADIENTS,
            decides=True,
            **shared,
        ),
        Bound(
            method="Steinke, Nasr, Jagielski 2023",
            hypothesis="any",
            guarantee="certified",
            epsilon=2.347,
            confidence=0.975,
            p_value=0.88,
            attack="audit_block",
            threat=GRADIENTS,
            decides=True,
            **shared,
        ),
        Bound(
            method="f-DP recursion",
            hypothesis="gaussian",
            guarantee="certified",
            epsilon=5.1,
            confidence=0.95,
            p_value=0.5,
            attack="audit_block",
            threat=GRADIENTS,
            **shared,
        ),
        Bound(
            method="f-DP recursion",
            hypothesis="accountant",
            guarantee="certified",
            epsilon=0.0,
            confidence=0.95,
            p_value=1.0,
            attack="loss",
            threat=OUTPUTS,
            exploratory=True,
            note="chosen after the scores were seen",
            **shared,
        ),
        Bound(
            method="order statistics",
            hypothesis="gaussian",
            guarantee="under_independence",
            epsilon=7.61,
            confidence=0.95,
            attack="audit_block",
            threat=GRADIENTS,
            **shared,
        ),
        Bound(
            method="Gaussian fit",
            hypothesis="none",
            guarantee="estimate",
            epsilon=8.31,
            delta=1e-5,
            confidence=0.5,
            strategy="all scores",
            counts=Counts(canaries=(1000, 1000)),
            attack="audit_block",
            threat=GRADIENTS,
        ),
    )


def _plan(power: float) -> Plan:
    return Plan(
        attack="audit_block",
        method="f-DP recursion, product of 2 runs",
        canaries=1000,
        runs=2,
        guesses_in=100,
        guesses_out=100,
        expected_epsilon=5.55,
        power=power,
        largest_epsilon=9.13,
    )


def _probe(name: str, values: tuple[float, float, float]) -> ProbeResult:
    kinds = ("trained", "raw pixels", "untrained")
    return ProbeResult(
        probe=name,
        run="target-00",
        metric="accuracy",
        measurements=tuple(
            Measurement(features=kind, score=Interval(value=value, low=value - 0.02, high=value + 0.02))
            for kind, value in zip(kinds, values, strict=True)
        ),
        train_size=1200,
        test_size=600,
        detail={"classes": 10, "regularisation": 0.01},
    )


def _violated(base: AuditResult) -> AuditResult:
    first = base.bounds[0].model_copy(update={"epsilon": 11.2345, "p_value": 2.9e-12})
    verdict = Verdict(
        word="VIOLATED",
        sentence="The promise of ε = 8 cannot be true: an attack that sees all steps did better than any mechanism "
        "that keeps it.",
        reasons=("audit_block refutes ε up to 11.23, above the promised 8.00 (p = 2.9e-12).",),
    )
    return base.model_copy(update={"bounds": (first, *base.bounds[1:]), "verdict": verdict})


def _unsound(base: AuditResult) -> AuditResult:
    broken = Assumption(
        name="Divided by the expected batch size",
        status="violated",
        evidence="the ledger divides step 3 by 97, the size drawn, not by 100",
    )
    verdict = Verdict(
        word="UNSOUND", sentence="Training divided by the drawn batch size, so the accountant's ε does not apply."
    )
    return base.model_copy(update={"assumptions": (*base.assumptions, broken), "verdict": verdict})


def _inconclusive(base: AuditResult) -> AuditResult:
    verdict = Verdict(
        word="INCONCLUSIVE",
        sentence="With 40 canaries this audit would have missed half the noise three times in four.",
    )
    zero = tuple(bound.model_copy(update={"epsilon": 0.0, "p_value": 1.0}) for bound in base.bounds[:2])
    return base.model_copy(update={"bounds": zero, "plans": (_plan(0.26),), "verdict": verdict})


def _partial(base: AuditResult) -> AuditResult:
    empty = ("guarantees", "assumptions", "runs", "attacks", "bounds", "plans", "probes", "pictures", "commands")
    promise = base.promise.model_copy(update={"kind": "claim", "curve": None})
    verdict = Verdict(word="INCONCLUSIVE", sentence="Nothing has been attacked yet.")
    update = {"promise": promise, "verdict": verdict, "recipe": {}, "environment": {}, "title": ""}
    missing = ("Training stopped at step 120 of 400.",)
    return base.model_copy(update=dict.fromkeys(empty, ()) | update | {"missing": missing})


def _unpromised(base: AuditResult) -> AuditResult:
    mechanism = base.promise.mechanism.model_copy(update={"noise_multiplier": 0.0, "clip_norm": float("inf")})
    promise = base.promise.model_copy(
        update={"kind": "none", "epsilon": float("inf"), "mechanism": mechanism, "curve": None}
    )
    guarantees = tuple(g.model_copy(update={"epsilon": float("inf"), "note": ""}) for g in base.guarantees[:2])
    bounds = tuple(bound.model_copy(update={"p_value": None}) for bound in base.bounds)
    extreme = bounds[-1].model_copy(update={"epsilon": float("inf")})
    verdict = Verdict(word="CONSISTENT", sentence="Nothing was promised, and attacks show at least ε = 5.55.")
    return base.model_copy(
        update={"promise": promise, "guarantees": guarantees, "bounds": (*bounds[:-1], extreme), "verdict": verdict}
    )
