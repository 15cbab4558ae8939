"""Losses in bfloat16: every trainer's model, by each engine, beside one record at a time and beside float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from dpaudit.data.examples import Examples
from dpaudit.dp.engines import engine
from dpaudit.dp.precision import InBfloat16, at_precision, plain_float32
from dpaudit.dp.views import Views, viewed
from dpaudit.models.initialisation import seeded
from dpaudit.rng import Rng
from dpaudit.trainers.dp_cap import DPCap
from dpaudit.trainers.fine_tune import FineTune
from dpaudit.trainers.supervised import Supervised
from dpaudit.trainers.vip import ViP

if TYPE_CHECKING:
    from collections.abc import Callable

    from dpaudit.dp.clipping import Clipped
    from dpaudit.dp.tensors import Batch
    from dpaudit.plugins import PerExampleTrainer

KEY = Rng.from_seed(0)
CLIP = 0.3

#: trainer, engines, and how far bfloat16 may be from float32, L2 error over L2 norm. torch.func cannot mix both types
#: in a layer norm on a CPU. A standardised weight divides by a small deviation, 16 layers of them one after the other
TRAINERS: dict[str, tuple[Callable[[], PerExampleTrainer], tuple[str, ...], float]] = {
    "vip": (ViP, ("bookkeeping",), 0.01),
    "dp-cap": (lambda: DPCap(tokenizer="scenes"), ("bookkeeping",), 0.02),
    "dp-cap, tied": (lambda: DPCap(tokenizer="scenes", tied_vocabulary=True), ("bookkeeping",), 0.02),
    "cnn": (lambda: Supervised(width=4, image_size=16), ("bookkeeping", "functional"), 0.1),
    "wrn-16-4": (lambda: Supervised(model="wrn-16-4", image_size=8), ("bookkeeping",), 0.4),
    "fine-tune": (lambda: FineTune(layers="all"), ("bookkeeping",), 0.01),
}


def problem(trainer: PerExampleTrainer, count: int = 5) -> tuple[nn.Module, Batch]:
    side = trainer.image_size
    examples = Examples(
        ids=np.array([f"r{at}" for at in range(count)]),
        images=KEY.child("pixels").numpy().integers(0, 256, size=(count, 3, side, side), dtype=np.uint8),
        captions=tuple(("a red circle", "a green triangle above a blue square")[at % 2] for at in range(count)),
        labels=np.arange(count),
    )
    model = trainer.build(KEY.child("model"))
    with torch.no_grad(), seeded(KEY.child("away")):  # from where a head is 0
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return model, trainer.collate(examples, KEY)


def apart(found: Clipped, expected: Clipped) -> float:
    """Return the L2 norm of the error over that of what was expected."""
    pairs = [(found.gradients[name], tensor) for name, tensor in expected.gradients.items()]
    error = sum(float((one - other).double().square().sum()) for one, other in pairs)
    return float((error / sum(float(other.double().square().sum()) for _, other in pairs)) ** 0.5)


@pytest.mark.parametrize("name", list(TRAINERS))
def test_every_trainer_in_bfloat16_beside_the_loop_and_beside_float32(name: str) -> None:
    make, names, tolerance = TRAINERS[name]
    trainer = make()
    model, batch = problem(trainer)
    low = at_precision(trainer.losses, "bf16")
    exact, slow = (engine("loop")(model, losses, batch, CLIP) for losses in (trainer.losses, low))
    assert 1e-4 < apart(slow, exact) < tolerance
    for each in names:
        fast = engine(each)(model, low, batch, CLIP)
        assert apart(fast, slow) < 0.01
        assert fast.norms is not None
        assert slow.norms is not None
        torch.testing.assert_close(fast.norms, slow.norms, rtol=0.01, atol=0)
        assert {tensor.dtype for tensor in (*fast.gradients.values(), fast.norms, fast.losses)} == {torch.float32}


@pytest.mark.parametrize("name", ["vip", "dp-cap", "cnn"])
def test_no_record_contributes_more_in_bfloat16(name: str) -> None:
    trainer = TRAINERS[name][0]()
    model, batch = problem(trainer, 3)
    for at in range(3):
        row = {key: tensor[at : at + 1] for key, tensor in batch.items()}
        alone = engine("bookkeeping")(model, at_precision(trainer.losses, "bf16"), row, 0.01)
        norm = torch.cat([each.flatten() for each in alone.gradients.values()]).double().norm()
        assert float(norm) == pytest.approx(0.01, rel=1e-5)


def test_layers_multiply_in_bfloat16_and_losses_come_back_in_float32() -> None:
    seen = []

    def losses(model: nn.Module, batch: Batch) -> torch.Tensor:
        y: torch.Tensor = model(batch["x"])
        seen.append(y.dtype)
        return y.square().sum(1)

    model, batch = nn.Linear(4, 3), {"x": torch.randn(2, 4, generator=torch.Generator().manual_seed(0))}
    values = at_precision(losses, "bf16")(model, batch)
    assert seen == [torch.bfloat16]
    assert values.dtype == torch.float32
    assert at_precision(losses, "float32") is losses
    assert InBfloat16(losses) == InBfloat16(losses)  # by which the first batch of a model is known to be checked
    both = viewed(at_precision(losses, "bf16"), 2)
    assert isinstance(both, Views)
    assert both(model, {"x": batch["x"].unsqueeze(1).repeat(1, 2, 1)}).tolist() == values.tolist()


def test_float32_is_float32_inside_the_block_and_as_it_was_behind_it() -> None:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("high")
    try:
        with plain_float32():
            assert not torch.backends.cudnn.allow_tf32
            assert torch.get_float32_matmul_precision() == "highest"
        with pytest.raises(KeyError), plain_float32():
            raise KeyError
        assert torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = before
