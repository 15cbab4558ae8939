"""Products x x' by the symmetric update, against the plain product in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from dpaudit.dp.bookkeeping import symmetric
from dpaudit.dp.bookkeeping.forms import Grams, Outer
from dpaudit.dp.bookkeeping.symmetric import gram
from dpaudit.dp.devices import one_thread

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture
def updates(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Note what is multiplied by symmetric updates."""
    noted: list[torch.Tensor] = []
    inner = symmetric._updated

    def updated(x: torch.Tensor) -> torch.Tensor:
        noted.append(x)
        return inner(x)

    monkeypatch.setattr(symmetric, "_updated", updated)
    return noted


def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize("shape", [(5, 32, 7), (2, 3, 40, 5), (1, 65, 96), (7, 197, 64)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_equals_the_plain_product(
    shape: tuple[int, ...], dtype: torch.dtype, tolerance: float, updates: list[torch.Tensor]
) -> None:
    x = drawn(*shape, dtype=dtype)
    wide = x.double()
    expected = wide @ wide.transpose(-2, -1)
    error = (gram(x) - expected).abs().max() / expected.abs().max()
    assert float(error) < tolerance
    assert len(updates) == 1


def test_a_tensor_with_gaps_and_a_gradient(updates: list[torch.Tensor]) -> None:
    x = drawn(4, 33, 40, 2)[..., 0].transpose(1, 2).requires_grad_()
    found = gram(x)
    assert updates
    assert not found.requires_grad
    torch.testing.assert_close(found, (x @ x.transpose(1, 2)).detach())


@pytest.mark.parametrize("shape", [(5, 31, 7), (0, 40, 3), (40, 3)])
def test_what_is_small_or_empty_is_torch_s(shape: tuple[int, ...], updates: list[torch.Tensor]) -> None:
    x = drawn(*shape)
    assert torch.equal(gram(x), x @ x.transpose(-2, -1))
    assert updates == []


def test_threads_devices_and_other_libraries_are_torch_s(
    updates: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = drawn(2, 40, 3)
    torch.set_num_threads(2)  # the fixture sets it back
    assert torch.equal(gram(x), x @ x.transpose(-2, -1))
    torch.set_num_threads(1)
    assert gram(x.to("meta")).shape == (2, 40, 40)
    monkeypatch.setattr(symmetric, "_libraries", tuple)
    gram(x)
    assert updates == []


def test_numpy_gets_its_threads_back(updates: list[torch.Tensor]) -> None:
    before = [library.get_num_threads() for library in symmetric._libraries()]
    gram(drawn(4, 40, 3))
    assert updates
    assert [library.get_num_threads() for library in symmetric._libraries()] == before


def test_norms_of_layers_that_see_many_tokens(updates: list[torch.Tensor]) -> None:
    left, right = drawn(3, 64, 200), drawn(3, 64, 300)
    norms = Outer(left, right, (200, 300)).norms(Grams())
    assert updates
    expected = torch.linalg.vector_norm((left.double().transpose(1, 2) @ right.double()).flatten(1), dim=1)
    torch.testing.assert_close(norms.double(), expected, rtol=1e-6, atol=0.0)
