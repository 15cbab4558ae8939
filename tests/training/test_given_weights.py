"""Weights of step 0 from a file: all that does not fit is named before a number is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

from dpaudit.errors import InputError
from dpaudit.rng import Rng
from dpaudit.trainers.vip import ViP
from dpaudit.training.given_weights import check_fit, load_given

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn


@pytest.fixture
def model() -> nn.Module:
    return ViP().build(Rng.from_seed(0))


def written(path: Path, state: dict[str, Tensor]) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


def other_weights() -> dict[str, Tensor]:
    return ViP().build(Rng.from_seed(1)).state_dict()


def test_a_file_is_loaded_in_the_types_of_the_model(tmp_path: Path, model: nn.Module) -> None:
    given = {name: tensor.half() for name, tensor in other_weights().items()}
    load_given(written(tmp_path / "w.safetensors", given), model)
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, given[name].float())


def test_parts_leave_the_rest_as_drawn(tmp_path: Path, model: nn.Module) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    given = {name: tensor for name, tensor in other_weights().items() if name.startswith("encoder.")}
    load_given(written(tmp_path / "w.safetensors", {**given, "classifier.weight": torch.zeros(2)}), model, ("encoder",))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, given.get(name, before[name]))


def test_the_first_three_keys_that_differ_are_named_and_how(tmp_path: Path, model: nn.Module) -> None:
    state = other_weights()
    state["encoder.embed.weight"] = torch.zeros(64, 768)
    state["mean"] = torch.zeros(3)
    del state["decoder.head.bias"], state["decoder.head.weight"]
    path = written(tmp_path / "w.safetensors", state)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    shape = r"encoder\.embed\.weight has shape \(64, 768\), not \(64, 48\)"
    missing = r"decoder\.head\.weight is missing; decoder\.head\.bias is missing"
    with pytest.raises(InputError, match=rf"w\.safetensors'?: expected .*{shape}; {missing}; 1 more") as caught:
        load_given(path, model)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_an_extra_key_is_named(tmp_path: Path, model: nn.Module) -> None:
    path = written(tmp_path / "w.safetensors", {**other_weights(), "mean": torch.zeros(3)})
    with pytest.raises(InputError, match="mean is extra"):
        check_fit(path, model)


@pytest.mark.parametrize("content", [b"", b"no weights", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_file_that_is_no_safetensors_is_refused(tmp_path: Path, model: nn.Module, content: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"^start.weights = "):
        check_fit(path, model)


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, model: nn.Module) -> None:
    state = other_weights()
    state["encoder.norm.bias"][0] = torch.inf
    with pytest.raises(InputError, match=r"encoder\.norm\.bias.*finite"):
        load_given(written(tmp_path / "w.safetensors", state), model)


def test_a_part_that_is_no_module_is_refused(tmp_path: Path, model: nn.Module) -> None:
    path = written(tmp_path / "w.safetensors", other_weights())
    with pytest.raises(InputError, match=r"start.parts = 'encode': .*such as encoder, decoder"):
        check_fit(path, model, ("encode",))
