"""How large a model and a training step of it are, computed on torch's `meta` device: shapes without any numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from dpaudit.data.examples import Examples
from dpaudit.dp.tensors import trainable
from dpaudit.errors import InputError
from dpaudit.rng import Rng

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from dpaudit.plugins import PerExampleTrainer, Trainer

__all__ = ["activation_bytes", "model_bytes", "optimizer_bytes", "shapes_only"]


def shapes_only(trainer: Trainer, name: str = "") -> nn.Module:
    """Return the trainer's model on the meta device, which takes no memory. name: of the trainer, for a refusal."""
    try:
        with torch.device("meta"):
            model = trainer.build(Rng.from_seed(0))
    except (RuntimeError, NotImplementedError) as error:
        line = str(error).splitlines()[0]
        expected = f"a trainer that builds its model without reading its numbers ({line})"
        raise InputError("trainer.name", name, expected) from error
    return model.to("meta")


def model_bytes(model: nn.Module, *, trained: bool = False) -> int:
    """Return the bytes of all parameters and buffers, or of what is trained alone."""
    tensors = trainable(model).values() if trained else model.state_dict().values()
    return sum(_bytes(tensor) for tensor in tensors)


def optimizer_bytes(optimizer: Optimizer) -> int:
    """Return the bytes of an optimizer's state after its first step, which is taken: its parameters are on `meta`."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.empty_like(parameter)
    optimizer.step()
    return sum(
        _bytes(value) for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value)
    )


def activation_bytes(trainer: PerExampleTrainer, model: nn.Module) -> int:
    """Return the bytes that a backward pass needs of the forward pass, per record: two records less one.

    model: on the meta device. RuntimeError where the losses read numbers, which are not there.
    """
    one, two = (_saved(trainer, model, count) for count in (1, 2))
    return two - one


def _saved(trainer: PerExampleTrainer, model: nn.Module, count: int) -> int:
    batch = trainer.collate(_blank(trainer, count), Rng.from_seed(0))
    own = {id(tensor.untyped_storage()) for tensor in model.state_dict(keep_vars=True).values()}
    kept: dict[int, torch.UntypedStorage] = {}  # storages stay alive, or another would get the same id

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if id(storage) not in own:
            kept[id(storage)] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        trainer.losses(model, {name: tensor.to("meta") for name, tensor in batch.items()})
    return sum(storage.nbytes() for storage in kept.values())


def _blank(trainer: Trainer, count: int) -> Examples:
    side, reads = trainer.image_size, trainer.modality
    return Examples(
        ids=np.array([f"blank/{number}" for number in range(count)]),
        images=np.zeros((count, 3, side, side), dtype=np.uint8),
        captions=("a",) * count if "caption" in reads else None,
        labels=np.zeros(count, dtype=np.int64) if "label" in reads else None,
    )


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
