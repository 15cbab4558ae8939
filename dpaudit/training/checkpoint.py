"""Model, optimizer, averaged weights and step in one file, so that a run that was stopped goes on bit for bit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as encode

from dpaudit.errors import DamagedRunError
from dpaudit.runs import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn
    from torch.optim import Optimizer

__all__ = ["load_model", "restore", "save", "save_model"]


def save(
    path: Path, model: nn.Module, optimizer: Optimizer, average: Mapping[str, Tensor], *, step: int, seconds: float
) -> None:
    """Write the state after `step` steps atomically; `average` may be empty, `seconds` is the time spent so far."""
    tensors = {f"model/{name}": tensor for name, tensor in _flat(model.state_dict()).items()}
    tensors |= {f"average/{name}": tensor for name, tensor in _flat(average).items()}
    scalars: dict[str, Any] = {}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if isinstance(value, torch.Tensor):
                tensors[f"optimizer/{index}/{name}"] = _on_cpu(value)
            else:
                scalars[f"{index}/{name}"] = value
    facts = {"step": step, "seconds": seconds, "optimizer": scalars}
    write_atomically(path, encode(tensors, metadata={"state": json.dumps(facts)}))


def restore(path: Path, model: nn.Module, optimizer: Optimizer, average: Mapping[str, Tensor]) -> tuple[int, float]:
    """Load a checkpoint into model, optimizer and, in place, the average; return (steps done, seconds spent)."""
    facts, tensors = _read(path)
    model.load_state_dict(_part(tensors, "model/"))
    averaged = _part(tensors, "average/")
    if set(averaged) != set(average):
        found = f"averages of {len(averaged)} tensors"
        raise DamagedRunError(str(path), found, f"{len(average)}; --fresh starts over")
    for name, tensor in average.items():
        tensor.copy_(averaged[name])
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in _part(tensors, "optimizer/").items():
        index, key = name.split("/", 1)
        state.setdefault(int(index), {})[key] = tensor
    for name, value in facts["optimizer"].items():
        index, key = name.split("/", 1)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(facts["step"]), float(facts["seconds"])


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as stored:
            facts = json.loads(stored.metadata()["state"])
            return facts, {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise DamagedRunError(
            str(path), str(error), "the checkpoint that the run wrote; --fresh starts over"
        ) from error


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def save_model(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write a model's state, or the average of it, as safetensors, atomically."""
    write_atomically(path, encode(_flat(state)))


def load_model(path: Path, model: nn.Module) -> None:
    """Load what `save_model` wrote; a damaged file is named, never half-read."""
    try:
        state = load_file(path)
        model.load_state_dict(state)
    except (SafetensorError, OSError, RuntimeError) as error:
        line = str(error).splitlines()[0]
        raise DamagedRunError(str(path), line, "the weights that the run wrote; --fresh starts over") from error


def _flat(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: _on_cpu(tensor) for name, tensor in state.items()}


def _on_cpu(tensor: Tensor) -> Tensor:
    """Return a copy of its own, on the CPU: any machine can read it."""
    return tensor.detach().to("cpu", copy=True).contiguous()
