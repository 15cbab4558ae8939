"""Two halves of a batch at once: when, with what threads, and what becomes of models that cannot be halved.

That halves give the loop's clipped sum is in test_bookkeeping, for every layer and model.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dpaudit.dp.bookkeeping import halves, symmetric
from dpaudit.dp.bookkeeping.clipped_sum import bookkeeping_sum
from dpaudit.dp.bookkeeping.halves import twin
from dpaudit.dp.loop import loop_sum
from dpaudit.errors import DpauditError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dpaudit.dp.tensors import Batch


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2, "a batch left torch with other threads than it found"
    torch.set_num_threads(before)


@pytest.fixture
def all_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Halve every batch, however small."""
    monkeypatch.setattr(halves, "_FEWEST_PRODUCTS", 0)


@pytest.fixture
def pieces(all_halved: None, monkeypatch: pytest.MonkeyPatch) -> list[int]:  # noqa: ARG001 (a fixture)
    """Note the records of every backward pass."""
    noted: list[int] = []
    inner = nn.Linear.forward

    def forward(self: nn.Linear, x: Tensor) -> Tensor:
        noted.append(len(x))
        return inner(self, x)

    monkeypatch.setattr(nn.Linear, "forward", forward)
    return noted


def network() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(6, 40), nn.Tanh(), nn.Linear(40, 3))


def batch_of(records: int) -> Batch:
    return {"x": torch.randn(records, 6, generator=torch.Generator().manual_seed(6))}


def squares(model: nn.Module, batch: Batch) -> Tensor:
    y: Tensor = model(batch["x"])
    return y.flatten(1).square().sum(1)


def equal(model: nn.Module, batch: Batch) -> None:
    found, expected = (engine(model, squares, batch, 0.5) for engine in (bookkeeping_sum, loop_sum))
    for name, each in expected.gradients.items():
        torch.testing.assert_close(found.gradients[name], each)


@pytest.mark.parametrize(("records", "first"), [(2, {1}), (3, {2, 1}), (8, {4}), (9, {5, 4})])
def test_a_batch_is_halved(records: int, first: set[int], pieces: list[int]) -> None:
    model = network()
    equal(model, batch_of(records))
    pieces.clear()
    bookkeeping_sum(model, squares, batch_of(records), 0.5)
    assert set(pieces) == first


def test_one_record_is_not(pieces: list[int]) -> None:
    equal(network(), batch_of(1))
    assert set(pieces) == {1}


def test_what_is_small_stays_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = network(), batch_of(8)
    products = 8 * sum(parameter.numel() for parameter in model.parameters())
    monkeypatch.setattr(halves, "_FEWEST_PRODUCTS", products)
    assert len(halves.halves(model, batch)) == 2
    monkeypatch.setattr(halves, "_FEWEST_PRODUCTS", products + 1)
    assert len(halves.halves(model, batch)) == 1
    model.get_submodule("0").requires_grad_(False)  # what is frozen needs no product of its own
    monkeypatch.setattr(halves, "_FEWEST_PRODUCTS", products)
    assert len(halves.halves(model, batch)) == 1


@pytest.mark.usefixtures("all_halved")
@pytest.mark.parametrize(("threads", "pieces"), [(1, 1), (2, 2), (3, 1), (4, 2)])
def test_an_even_number_of_threads_is_shared(threads: int, pieces: int) -> None:
    torch.set_num_threads(threads)
    try:
        assert len(halves.halves(network(), batch_of(8))) == pieces
        equal(network(), batch_of(8))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(2)


@pytest.mark.usefixtures("all_halved")
def test_on_other_threads_a_batch_stays_in_one_piece() -> None:
    """Whoever started them has shared out the processor."""
    found: list[int] = []
    worker = threading.Thread(target=lambda: found.append(len(halves.halves(network(), batch_of(8)))))
    worker.start()
    worker.join()
    assert found == [1]


@pytest.mark.usefixtures("all_halved")
def test_whoever_counts_operations_hears_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = network(), batch_of(8)
    bookkeeping_sum(model, squares, batch, 0.5)
    counts = []
    for fewest in (0, 10**18):
        monkeypatch.setattr(halves, "_FEWEST_PRODUCTS", fewest)
        with FlopCounterMode(display=False) as counter:
            bookkeeping_sum(model, squares, batch, 0.5)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


@pytest.mark.usefixtures("all_halved")
def test_reduced_precision_of_products_is_left_to_one_piece() -> None:
    """Norms raise that setting of the whole process for a moment, which two halves would do over each other."""
    torch.set_float32_matmul_precision("medium")
    try:
        assert len(halves.halves(network(), batch_of(8))) == 1
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.usefixtures("all_halved")
def test_the_same_batch_gives_the_same_bits() -> None:
    model, batch = network(), batch_of(33)
    sums = [bookkeeping_sum(model, squares, batch, 0.5).gradients for _ in range(5)]
    for each in sums[1:]:
        assert all(torch.equal(each[name], sums[0][name]) for name in each)


def test_a_norm_that_is_no_number_is_named_by_its_place_in_the_whole_batch(pieces: list[int]) -> None:
    batch = batch_of(8)
    batch["x"][6] = torch.nan
    with pytest.raises(DpauditError, match=r"1 of 8 records .*record 6 of its micro-batch"):
        bookkeeping_sum(network(), squares, batch, 0.5)
    assert set(pieces) == {4, 8}


class Hidden(nn.Module):
    """Keeps a layer where torch does not look for children."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)
        self.again = [self.layer]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.again[0](x)
        return y


def test_a_model_that_cannot_be_halved_is_computed_whole_from_then_on(pieces: list[int]) -> None:
    model = Hidden()
    equal(model, batch_of(8))
    assert {4, 8} <= set(pieces)
    pieces.clear()
    bookkeeping_sum(model, squares, batch_of(8), 0.5)
    assert set(pieces) == {8}


class ByLength(nn.Module):
    """Uses a layer once more where a record is long."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        return self.layer(y) if float(x.detach().norm(dim=1).max()) > 100 else y


@pytest.mark.usefixtures("all_halved")
def test_halves_that_go_different_ways_are_not_added() -> None:
    model, batch = ByLength(), batch_of(8)
    equal(model, batch)
    batch["x"][7] *= 1e4  # of the second half: what the first tells is not enough
    with pytest.raises(DpauditError, match=r"not what each has alone|used otherwise"):
        equal(model, batch)  # a record that makes others' path longer: no batch of this model is private


@pytest.mark.usefixtures("all_halved")
def test_a_fault_of_the_losses_is_told_once_and_leaves_the_threads() -> None:
    def mean(model: nn.Module, batch: Batch) -> Tensor:
        return squares(model, batch).mean()

    numpy_threads = [library.get_num_threads() for library in symmetric._libraries()]
    with pytest.raises(DpauditError, match=r"losses of 8 records have shape \(\)"):
        bookkeeping_sum(network(), mean, batch_of(8), 0.5)
    assert [library.get_num_threads() for library in symmetric._libraries()] == numpy_threads


def tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    model[1].weight = model[0].weight
    return model


@pytest.mark.parametrize("make", [network, tied, lambda: nn.utils.parametrizations.weight_norm(nn.Linear(6, 3))])
def test_a_twin_has_the_same_tensors_in_tables_of_its_own(make: Callable[[], nn.Module]) -> None:
    model = make()
    other = twin(model)
    x = batch_of(4)["x"]
    assert torch.equal(other(x), model(x))
    ours, theirs = (dict(each.named_parameters(remove_duplicate=False)) for each in (model, other))
    assert list(ours) == list(theirs)
    assert all(ours[name] is theirs[name] for name in ours)
    before = model(x)
    with torch.no_grad():
        zeros = {name: torch.zeros_like(each) for name, each in other.named_parameters()}
        assert not torch.equal(torch.func.functional_call(other, zeros, (x,)), before)
        for module in other.modules():
            module._parameters.clear()
    assert torch.equal(model(x), before)
    assert not list(other.parameters())


def test_a_twin_knows_what_the_model_was_told_since() -> None:
    model = network()
    model.train()
    assert twin(model).training
    model.eval()
    assert not twin(model).training
