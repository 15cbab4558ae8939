"""Torchvision's readers on small files in their formats."""

from __future__ import annotations

import hashlib
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.io
import torchvision

from dpaudit.data.torchvision import Torchvision
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


def _idx(values: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """Return an array in MNIST's own file format."""
    header = bytes([0, 0, 8, values.ndim]) + b"".join(length.to_bytes(4, "big") for length in values.shape)
    return header + values.tobytes()


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for part, count in (("train", 6), ("t10k", 3)):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(_idx(draw.integers(0, 256, (count, 28, 28), dtype=np.uint8)))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(_idx((np.arange(count) % 10).astype(np.uint8)))
    return tmp_path


def test_mnist_is_read_as_three_equal_channels(mnist: Path) -> None:
    data = Torchvision(path=str(mnist), set="mnist", image_size=28, part="all", caption_template="the digit {class}")
    records = data[np.array(["test/2", "train/5"])]
    stored = (mnist / "MNIST/raw/train-images-idx3-ubyte").read_bytes()[16 + 5 * 784 :][:784]
    assert len(data) == 9
    assert records.captions == ("the digit two", "the digit five")
    assert records.labels is not None
    assert records.labels.tolist() == [2, 5]
    assert all(channel.tobytes() == stored for channel in records.images[1])
    small = Torchvision(path=str(mnist), set="mnist", image_size=14)
    assert small.ids().tolist() == [f"train/{row}" for row in range(6)]


def test_cifar_keeps_colours_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3072), dtype=np.uint8)
    batch = pickle.dumps({"data": pixels, "labels": [3, 0, 1, 9]})
    names = pickle.dumps({"label_names": [f"class{number}" for number in range(10)]})
    (folder / "data_batch_1").write_bytes(batch)
    (folder / "batches.meta").write_bytes(names)
    kind = torchvision.datasets.CIFAR10
    monkeypatch.setattr(kind, "train_list", [["data_batch_1", hashlib.md5(batch, usedforsecurity=False).hexdigest()]])
    monkeypatch.setattr(kind, "test_list", [])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": hashlib.md5(names, usedforsecurity=False).hexdigest()})
    data = Torchvision(path=str(tmp_path), set="cifar10", image_size=32)
    assert np.array_equal(data[data.ids()].images, pixels.reshape(4, 3, 32, 32))
    assert data.classes == tuple(f"class{number}" for number in range(10))
    assert data.annotations(data.ids()).labels.tolist() == [3, 0, 1, 9]  # type: ignore[union-attr]  # CIFAR has labels


def test_the_coarse_classes_of_cifar100_are_other_labels_of_the_same_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3072), dtype=np.uint8)
    stored = {"data": pixels, "fine_labels": [99, 0, 41], "coarse_labels": [4, 19, 0]}
    names = {"fine_label_names": [f"fine{n}" for n in range(100)], "coarse_label_names": [f"c{n}" for n in range(20)]}
    digests = {}
    for name, content in (("train", stored), ("meta", names)):
        written = pickle.dumps(content)
        (folder / name).write_bytes(written)
        digests[name] = hashlib.md5(written, usedforsecurity=False).hexdigest()
    kind = torchvision.datasets.CIFAR100
    monkeypatch.setattr(kind, "train_list", [["train", digests["train"]]])
    monkeypatch.setattr(kind, "test_list", [])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": digests["meta"]})
    fine, coarse = (
        Torchvision(path=str(tmp_path), set=name, image_size=32) for name in ("cifar100", "cifar100-coarse")
    )
    assert np.array_equal(fine[fine.ids()].images, coarse[coarse.ids()].images)
    assert fine.annotations(fine.ids()).labels.tolist() == [99, 0, 41]  # type: ignore[union-attr]  # CIFAR has labels
    assert coarse.annotations(coarse.ids()).labels.tolist() == [4, 19, 0]  # type: ignore[union-attr]  # the same
    assert coarse.classes == tuple(f"c{n}" for n in range(20))
    assert fine.fingerprint() != coarse.fingerprint()


def test_svhn_is_read_from_its_mat_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 4), dtype=np.uint8)
    path = tmp_path / "train_32x32.mat"
    scipy.io.savemat(path, {"X": pixels, "y": np.array([[10], [1], [2], [9]], dtype=np.uint8)})
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setitem(torchvision.datasets.SVHN.split_list, "train", ["", "train_32x32.mat", digest])
    data = Torchvision(path=str(tmp_path), set="svhn", image_size=32)
    assert np.array_equal(data[np.array(["train/2"])].images[0], pixels[..., 2].transpose(2, 0, 1))
    assert data.annotations(data.ids()).labels.tolist() == [0, 1, 2, 9]  # type: ignore[union-attr]  # SVHN has labels


def test_missing_and_damaged_files_are_one_line(mnist: Path, tmp_path: Path) -> None:
    for name in ("cifar10", "cifar100", "cifar100-coarse", "svhn", "fashion-mnist"):
        data = Torchvision(path=str(tmp_path), set=name, image_size=8)
        for use in (len, Torchvision.fingerprint):
            with pytest.raises(InputError, match=rf"the unchanged files of {name} at .*\(") as raised:
                use(data)
            assert "\n" not in str(raised.value)
    (mnist / "MNIST/raw/train-labels-idx1-ubyte").write_bytes(b"\0\0\10\1")
    with pytest.raises(InputError, match="the unchanged files of mnist"):
        len(Torchvision(path=str(mnist), set="mnist", image_size=8))


def test_fingerprints_follow_files_and_options(mnist: Path) -> None:
    data = Torchvision(path=str(mnist), set="mnist", image_size=8)
    before = data.fingerprint()
    assert before != Torchvision(path=str(mnist), set="mnist", image_size=8, part="test").fingerprint()
    labels = mnist / "MNIST/raw/train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\7")
    assert Torchvision(path=str(mnist), set="mnist", image_size=8).fingerprint() != before
