"""A trainer and a data set of a user's own, small enough that an audit of them takes a second, and what they find."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from dpaudit.pipeline.order import advance, open_audit
from dpaudit.pipeline.stages.account import account_audit, read_account
from dpaudit.verdict import decide

if TYPE_CHECKING:
    from pathlib import Path

    from dpaudit.results import Assumption, Verdict

PLUG_INS = '''
"""A linear autoencoder of 4 x 4 pixels with one fault, and digits some of which are there twice."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from dpaudit.data.digits import Digits
from dpaudit.data.examples import Examples
from dpaudit.models.initialisation import seeded


@dataclass(frozen=True, kw_only=True)
class Small:
    fault: str = ""
    image_size: int = 4

    @property
    def modality(self):
        return frozenset({"image"})

    def build(self, rng):
        with seeded(rng):
            model = nn.Sequential(nn.Linear(48, 8), nn.Unflatten(1, (2, 4)), nn.Flatten(), nn.Linear(8, 48))
        if self.fault == "batch norm":
            model.insert(2, nn.BatchNorm1d(2))
        if self.fault == "loaded":
            with torch.no_grad():
                model[0].weight.copy_(torch.linspace(-1, 1, 384).reshape(8, 48))
        return model

    def collate(self, examples, rng):
        return {"pixels": torch.from_numpy(examples.images).reshape(len(examples), 48).float() / 255}

    def losses(self, model, batch):
        values = (model(batch["pixels"]) - batch["pixels"]).square().mean(dim=1)
        return values - values.mean() / 2 if self.fault == "coupled" else values

    def embed(self, model, images):
        return model[0](images.reshape(len(images), 48).float() / 255)

    def optimizer(self, parameters, steps):
        return torch.optim.SGD(parameters, lr=0.1)

    def learning_rate(self, step, steps):
        return 0.1


@dataclass(frozen=True, kw_only=True)
class Twice:
    image_size: int = 4

    @property
    def classes(self):
        return None

    def __len__(self):
        return 300

    def ids(self):
        return np.array([f"twice/{row}" for row in range(300)])

    def __getitem__(self, ids):
        rows = [int(name.split("/")[1]) for name in ids.tolist()]
        digits = Digits(image_size=self.image_size)
        sources = np.array([f"digits/{row - 290 if row >= 290 else row}" for row in rows])
        return Examples(ids=np.asarray(ids, dtype=np.str_), images=digits[sources].images)

    def fingerprint(self):
        return "twice"
'''


class Audited(Protocol):
    """Train with these settings; return the ledger of assumptions by name, and the verdict where no attack succeeds."""

    def __call__(self, *settings: str, fresh: bool = False) -> tuple[dict[str, Assumption], Verdict]: ...


@pytest.fixture
def audited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Audited:
    monkeypatch.chdir(tmp_path)  # where ./small.py is looked for
    (tmp_path / "small.py").write_text(PLUG_INS)
    (tmp_path / "recipe.yaml").write_text(
        "name: small\n"
        "data: {name: digits, limit: 300, split: {audit_pool: 40}}\n"
        "trainer: {name: './small.py:Small'}\n"
        "privacy: {noise_multiplier: 1, delta: 1.0e-5, clip_norm: 0.5, batch_size: 75, steps: 30, tuning_runs: 0}\n"
        "canaries: {block: 200, inputs: {noise: 20}}\n"
        "runs: {checkpoint_every: 30}\n"
        "bounds: {decide: []}\n"
    )

    def run(*settings: str, fresh: bool = False) -> tuple[dict[str, Assumption], Verdict]:
        audit = open_audit(tmp_path / "recipe.yaml", out=tmp_path / "run", overrides=settings)
        advance(audit, "train", fresh=fresh)
        account_audit(audit)
        premises, planned = read_account(audit).assumptions, audit.planned
        verdict = decide(planned.promise, [], premises, planned.plans, audit.recipe.bounds.power)
        return {premise.name: premise for premise in premises}, verdict

    return run
