"""A GPU for machines without one: tensors that live elsewhere, hold real numbers, and refuse to meet the CPU's.

`register()` makes torch know a device `gpu`. Its tensors are wrappers around tensors of the CPU, so every operation has
the CPU's bits, and what no GPU allows is an error: an operation on tensors of both places, or `numpy()` of one of them.
Torch can register such a device once per process and not forget it again: use it in a process of its own.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import torch
from safetensors.torch import load_file
from torch.utils import _pytree as pytree
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode

import dpaudit
from dpaudit.data.examples import Examples
from dpaudit.discovery import available, configure
from dpaudit.dp import devices
from dpaudit.dp.audit_block import GradientCanaries, block_placement, coordinate_placement
from dpaudit.dp.devices import CPU
from dpaudit.dp.engines import ENGINES
from dpaudit.dp.step import DpStep, assign
from dpaudit.dp.tensors import moved, trainable
from dpaudit.mechanism import Mechanism
from dpaudit.models.initialisation import seeded
from dpaudit.plugins import CaptionLikelihood, Classifies
from dpaudit.recipes.recipe import PlugInEntry
from dpaudit.rng import Rng
from dpaudit.trainers.dp_cap import DPCap
from dpaudit.trainers.fine_tune import FineTune
from dpaudit.trainers.supervised import Supervised
from dpaudit.trainers.vip import ViP
from dpaudit.training import checkpoint, signals
from dpaudit.training.optimizers import Average
from dpaudit.training.pictures import captioned, reconstructions
from dpaudit.training.pretraining import mean_gradients
from dpaudit.training.rehearsal import Rehearsal
from dpaudit.training.sensitivity import replay_trainer
from dpaudit.training.targets import classifier, embedder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dpaudit.plugins import PerExampleTrainer, Trainer

NAME = "gpu"

#: what a GPU does with a tensor of the CPU: copy it, here or there
_COPIES = {torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default}


class MixedError(Exception):
    """An operation got tensors of both places."""


class Elsewhere(torch.Tensor):
    """A tensor on the pretended GPU; `numbers` are on the CPU."""

    numbers: torch.Tensor

    @staticmethod
    def __new__(cls, numbers: torch.Tensor) -> Elsewhere:
        made: Elsewhere = torch.Tensor._make_wrapper_subclass(
            cls,
            numbers.size(),
            strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype,
            device=torch.device(NAME, 0),
        )
        made.numbers = numbers
        return made

    def tolist(self) -> Any:
        """Return the numbers, as every device gives them away; torch refuses it to wrappers."""
        return self.numbers.tolist()

    def data_ptr(self) -> int:
        """Return where the numbers are; of a wrapper it would be 0."""
        return self.numbers.data_ptr()

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]  # as torch's own wrappers do

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]  # torch's stub leaves `func` out
        return _done(func, args, kwargs or {})


class _Everywhere(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own is untyped
    """Sees also what makes a tensor out of nothing, on either device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _done(func, args, kwargs or {})


def _done(func: Any, args: Any, kwargs: Any) -> Any:
    kwargs = dict(kwargs)
    asked = kwargs.pop("device", None)
    leaves = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    there = [leaf for leaf in leaves if isinstance(leaf, Elsewhere)]
    here = [leaf for leaf in leaves if not isinstance(leaf, Elsewhere) and leaf.dim() > 0]
    if there and here and func not in _COPIES:
        raise MixedError(f"{func} meets {tuple(there[0].shape)} on {NAME} and {tuple(here[0].shape)} on the CPU")
    plain = pytree.tree_map(lambda leaf: leaf.numbers if isinstance(leaf, Elsewhere) else leaf, (args, kwargs))
    result = func(*plain[0], **plain[1])
    if func is torch.ops.aten.copy_.default:
        return args[0]
    stays = bool(there) if asked is None else torch.device(asked).type == NAME
    if func is torch.ops.aten._to_copy.default and result is plain[0][0]:
        result = result.clone()
    return _wrapped(result, args, plain[0]) if stays else result


def _wrapped(result: Any, args: Any, plain: Any) -> Any:
    """Return the result elsewhere; an argument that was changed in place is that argument."""
    given = {id(inner): outer for outer, inner in zip(pytree.tree_leaves(args), pytree.tree_leaves(plain), strict=True)}

    def each(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return leaf
        return given[id(leaf)] if isinstance(given.get(id(leaf)), Elsewhere) else Elsewhere(leaf)

    return pytree.tree_map(each, result)


class _Module(backend_registration._DummyBackendModule):
    """What torch asks a device's module."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]

    def get_rng_state(self, device: object = None) -> torch.Tensor:  # noqa: ARG002 (nothing is ever drawn there)
        return torch.zeros(1, dtype=torch.uint8)


def _marked(cls: type[Any], data: torch.Tensor, requires_grad: bool = False, **kwargs: Any) -> Any:
    """Return a tensor of a class that only marks it: torch cannot put one wrapper around another.

    What marks a tensor that is elsewhere is itself on the CPU, so an operation on its numbers is found out as well.
    """
    plain = data.numbers.detach() if isinstance(data, Elsewhere) else data
    return _make_subclass(cls, plain, requires_grad, **kwargs)


_make_subclass = torch.Tensor._make_subclass


def register() -> None:
    """Make torch know the device; to be called before the first backward pass of a process."""
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    for name, kernel in {"empty_strided": _empty_strided, "empty.memory_format": _empty, "_copy_from": _copied}.items():
        _KERNELS.impl(name, kernel, "PrivateUse1")  # type: ignore[no-untyped-call]  # as above


_KERNELS = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]  # as above


def _empty_strided(size: Any, stride: Any, *, dtype: Any = None, **_: Any) -> Elsewhere:
    """What torch calls by itself, where it turns a list of indices into a tensor."""
    return Elsewhere(torch.empty_strided(size, stride, dtype=dtype))


def _empty(size: Any, *, dtype: Any = None, **_: Any) -> Elsewhere:
    return Elsewhere(torch.empty(size, dtype=dtype))


def _copied(source: torch.Tensor, target: torch.Tensor, _: bool = False) -> torch.Tensor:
    numbers = source.numbers if isinstance(source, Elsewhere) else source
    (target.numbers if isinstance(target, Elsewhere) else target).copy_(numbers)
    return target


@contextmanager
def pretended() -> Iterator[torch.device]:
    """Use the device inside the block."""
    torch.__future__.set_swap_module_params_on_conversion(True)  # or a model that moves would lose what it shares
    torch.Tensor._make_subclass = staticmethod(_marked)  # type: ignore[assignment,method-assign]  # torch's own is in C
    try:
        with _Everywhere():  # type: ignore[no-untyped-call]  # as above
            yield torch.device(NAME, 0)
    finally:
        torch.Tensor._make_subclass = _make_subclass  # type: ignore[method-assign]  # as above
        torch.__future__.set_swap_module_params_on_conversion(False)


# What is done there and on the CPU: `python pretend_gpu.py` prints how far the two are apart.

KEY = Rng.from_seed(0)
RECORDS = 5

#: trainers at their smallest size
SMALL: dict[str, Callable[[], PerExampleTrainer]] = {
    "vip": ViP,
    "dp-cap": lambda: DPCap(tokenizer="scenes", tied_vocabulary=True),
    "supervised": lambda: Supervised(width=4, image_size=16, padding=1, flip=True),
    "wrn": lambda: Supervised(model="wrn-16-4", image_size=8),
    "fine-tune": lambda: FineTune(layers="all"),
}

#: what a trainer cannot do without on records like these
OPTIONS: dict[str, dict[str, object]] = {"logit-dp": {"smallest_crop": 0.5}}

Found = dict[str, np.ndarray[Any, Any]]


def records(side: int) -> Examples:
    pixels = KEY.child("pixels").numpy().integers(0, 256, size=(RECORDS, 3, side, side), dtype=np.uint8)
    said = ("a red circle above a blue square", "a green triangle", "a yellow cross left of a red star")
    captions = tuple(said[at % len(said)] for at in range(RECORDS))
    return Examples(
        ids=np.array([f"r{at}" for at in range(RECORDS)]), images=pixels, captions=captions, labels=np.arange(RECORDS)
    )


def built(trainer: Trainer, device: torch.device) -> torch.nn.Module:
    """Return the trainer's model on the device, moved a little away from where its head is 0."""
    model = trainer.build(KEY.child("model"))
    with torch.no_grad(), seeded(KEY.child("away")):
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return model.to(device)


def stepped(trainer: PerExampleTrainer, engine_name: str, **changes: Any) -> DpStep:
    """Return a step that draws every record, in micro-batches, with canaries of both families."""
    values: dict[str, Any] = {
        "sampling": "full",
        "adjacency": "add-remove",
        "noise_multiplier": 0.5,
        "sampling_rate": 1.0,
        "steps": 2,
        "clip_norm": 0.3,
        "batch_size": RECORDS,
        "dataset_size": RECORDS,
    }
    clipped = engine_name != "none"
    if not clipped:
        values |= {"noise_multiplier": 0.0, "clip_norm": math.inf}
    model = trainer.build(KEY.child("model"))
    placements = (block_placement(50), coordinate_placement(model, 2, KEY)) if clipped else ()
    given: dict[str, Any] = {"losses": trainer.losses, "micro_batch": 3} | changes
    return DpStep(
        mechanism=Mechanism.model_validate(values),
        members=np.ones(RECORDS, dtype=np.bool_),
        sampling=KEY.child("sampling"),
        noise=KEY.child("noise"),
        engine=ENGINES[engine_name] if clipped else ENGINES["loop"],
        canaries=tuple(GradientCanaries(each, np.arange(len(each)) % 2 == 0) for each in placements),
        **given,
    )


def trained(trainer: PerExampleTrainer, device: torch.device, engine_name: str, **changes: Any) -> Found:
    """Return what two steps release and leave, by way of a checkpoint between them."""
    examples, step = records(trainer.image_size), stepped(trainer, engine_name, **changes)

    def load(positions: np.ndarray[Any, np.dtype[np.int64]]) -> dict[str, torch.Tensor]:
        return moved(trainer.collate(examples.take(positions), KEY.child("collate")), device)

    found: Found = {}
    with tempfile.TemporaryDirectory() as folder:
        for index in range(2):
            model = built(trainer, device)
            optimizer = trainer.optimizer(list(trainable(model).values()), 2)
            average = Average(model, 0.9)
            if index:
                checkpoint.restore(Path(folder) / "state", model, optimizer, average.state)
            release = step(index, model, load)
            assign(model, release.gradients)
            optimizer.step()
            average.update(index, model)
            checkpoint.save(Path(folder) / "state", model, optimizer, average.state, step=index, seconds=0.0)
            found |= {f"{index} {name}": tensor.cpu().numpy() for name, tensor in release.gradients.items()}
            found |= {f"{index} {family}": values for family, values in release.canaries.items()}
            row = [value for value in vars(release.row).values() if value is not None and math.isfinite(value)]
            found[f"{index} ledger"] = np.array(row)
        found |= {name: tensor.numpy() for name, tensor in load_file(Path(folder) / "state").items()}
    return found


def read(trainer: Trainer, device: torch.device) -> Found:
    """Return all that attacks, probes and pictures ask of a model."""
    model, examples = built(trainer, device).eval(), records(trainer.image_size)
    found: Found = {
        "loss": signals.signal("loss", trainer, model, examples, KEY),
        "features": embedder(trainer, model)(examples),
        "gradient": next(signals.record_gradients(trainer, model, examples, KEY)),
    }
    if isinstance(trainer, Classifies):
        found["logits"] = classifier(trainer, model)(examples)
    if isinstance(trainer, CaptionLikelihood):
        found["tokens"] = np.nan_to_num(signals.token_log_likelihoods(trainer, model, examples))
    with tempfile.TemporaryDirectory() as folder:
        captioned(Path(folder), trainer, model, examples)
        reconstructions(Path(folder), trainer, model, examples, KEY)
    batch = trainer.collate(examples, KEY)
    loss, gradients = mean_gradients(model, trainer, batch, 6)  # type: ignore[arg-type]  # any trainer will do
    return found | {"public loss": np.array(loss)} | {name: value.cpu().numpy() for name, value in gradients.items()}


def replayed(name: str, device: torch.device) -> Found:
    """Return what record and replay finds of a trainer by its name, at its default options, and how it is noised."""
    trainer = configure("trainers", PlugInEntry.model_validate({"name": name} | OPTIONS.get(name, {})))
    rehearsal = Rehearsal(trainer=trainer, clip_norm=1.0, rng=KEY, engine=ENGINES["bookkeeping"])
    examples = records(trainer.image_size).take(slice(0, 3))
    found = replay_trainer(rehearsal, examples, model=built(trainer, device))
    return {"distances": np.array([each.distance for each in found.differences])}


def planted(device: torch.device) -> dict[str, bool]:
    """Return whether mistakes that a GPU would refuse are found out."""
    trainer = ViP()
    table = torch.linspace(0, 1, RECORDS)

    def weighed(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return trainer.losses(model, batch) * table[: len(batch["images"])]

    def unmoved(function: Callable[[], object]) -> bool:
        try:
            function()
        except MixedError:
            return True
        return False

    model, examples = built(trainer, device), records(16)
    part = built(trainer, device)
    part.get_submodule("decoder.head").cpu()
    batch = trainer.collate(examples, KEY)
    engines = {
        f"a table of the losses, {name}": unmoved(lambda name=name: trained(trainer, device, name, losses=weighed))  # type: ignore[misc]  # bound now
        for name in ENGINES
    }
    return engines | {
        "a batch": unmoved(lambda: ENGINES["loop"](model, trainer.losses, batch, 1.0)),
        "a part of the model": unmoved(lambda: ENGINES["loop"](part, trainer.losses, moved(batch, device), 1.0)),
        "nothing": unmoved(lambda: ENGINES["loop"](model, trainer.losses, moved(batch, device), 1.0)),
    }


def cases() -> dict[str, Callable[[torch.device], Found]]:
    """Return everything that is done twice, by name."""
    done: dict[str, Callable[[torch.device], Found]] = {}
    for name, make in SMALL.items():
        for engine_name in (*ENGINES, "none") if name in ("vip", "dp-cap", "supervised") else ("bookkeeping",):
            done[f"step of {name}, {engine_name}"] = partial(_trained, make, engine_name)
        done[f"signals of {name}"] = partial(_read, make)
    done["step of vip, secure noise"] = partial(_trained, ViP, "bookkeeping", secure=True)
    done |= {f"replay of {each.name}": partial(replayed, each.name) for each in available("trainers")}
    return done


def _trained(make: Callable[[], PerExampleTrainer], engine_name: str, device: torch.device, **changes: Any) -> Found:
    return trained(make(), device, engine_name, **changes)


def _read(make: Callable[[], Trainer], device: torch.device) -> Found:
    return read(make(), device)


def audited(folder: Path, device: torch.device, settings: Sequence[str]) -> Found:
    """Return the weights that a whole audit leaves on a device: train, attack, bound, account, probe, paint."""
    with mock.patch.object(devices, "device_of", return_value=device):
        dpaudit.run("quickstart", out=folder, overrides=settings)
    return {name: tensor.numpy() for name, tensor in load_file(folder / "target-00" / "model.safetensors").items()}


def distance(one: Found, other: Found) -> float:
    """Return the largest difference of any array, in units of its largest number."""
    assert one.keys() == other.keys()
    worst = [
        np.abs(one[name] - other[name]).max() / max(np.abs(one[name]).max(), 1e-6) for name in one if one[name].size
    ]
    return float(max(worst))


def main() -> None:
    """Print what was found as one line of JSON: of an audit in a folder, or of the cases whose names hold a word."""
    register()
    if sys.argv[1] == "audit":
        one = audited(Path(sys.argv[2]) / "here", CPU, sys.argv[3:])
        with pretended() as device:
            said = distance(one, audited(Path(sys.argv[2]) / "there", device, sys.argv[3:]))
        sys.stdout.write(json.dumps(said) + "\n")
        return
    every = cases()
    chosen = [name for name in every if any(part in name for part in sys.argv[1:])]
    here = {name: every[name](CPU) for name in chosen}
    with pretended() as device:
        there = {name: every[name](device) for name in chosen}
        caught = planted(device)
    found = {"distances": {name: distance(here[name], there[name]) for name in chosen}, "caught": caught}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
