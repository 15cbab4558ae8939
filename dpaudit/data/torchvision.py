"""The small data sets that torchvision reads, when their files are on disk."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from dpaudit.data.annotations import Index, Indexed
from dpaudit.data.decode import check_image_size, square
from dpaudit.data.files import existing, fingerprint
from dpaudit.data.labels import captions_from_classes, check_template
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples

__all__ = ["Torchvision"]

#: name -> torchvision's class, and where below the root that class looks for its files
_SETS = {
    "mnist": ("MNIST", "MNIST/raw/*"),
    "fashion-mnist": ("FashionMNIST", "FashionMNIST/raw/*"),
    "svhn": ("SVHN", "*_32x32.mat"),
    "cifar10": ("CIFAR10", "cifar-10-batches-py/*"),
    "cifar100": ("CIFAR100", "cifar-100-python/*"),
    "cifar100-coarse": ("CIFAR100", "cifar-100-python/*"),
}
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True, kw_only=True)
class Torchvision(Indexed):
    """MNIST, Fashion-MNIST, SVHN, CIFAR-10 or CIFAR-100 from the files below `path`, torchvision's `root`.

    cifar100-coarse: the same images under the 20 classes that CIFAR-100's 100 belong to.
    Nothing is downloaded. part: train, test, or all (train, then test). Ids "train/0", "test/0", ...; one record = one
    image, resized (bicubic), grey ones as three equal channels. caption_template, for example "a photo of a {class}",
    makes captions from class names.
    """

    path: str
    set: Literal["mnist", "fashion-mnist", "svhn", "cifar10", "cifar100", "cifar100-coarse"]
    image_size: int
    part: Literal["train", "test", "all"] = "train"
    caption_template: str | None = None

    def __post_init__(self) -> None:
        check_image_size(self.image_size)
        check_template(self.caption_template)

    def __getitem__(self, ids: NDArray[np.str_]) -> Examples:
        """Return the records with these ids, in this order."""
        positions = self._index.positions(ids)
        images = np.empty((len(positions), 3, self.image_size, self.image_size), dtype=np.uint8)
        for image, row in zip(images, positions.tolist(), strict=True):
            image[:] = np.asarray(square(Image.fromarray(self._images[row]), self.image_size)).transpose(2, 0, 1)
        return self._index.examples(positions, images)

    def fingerprint(self) -> str:
        """Return a hash of the options and of every file's name, size and edges; decodes nothing."""
        folder, pattern = self._root, _SETS[self.set][1]
        files = sorted(file for file in folder.glob(pattern) if file.is_file())
        if not files:
            raise self._missing("no file matches")
        options = (self.set, self.image_size, self.part, self.caption_template)
        return fingerprint(("torchvision", *options), [(file.relative_to(folder).as_posix(), file) for file in files])

    @cached_property
    def _root(self) -> Path:
        return existing("data path", self.path)

    @cached_property
    def _parts(self) -> dict[str, Any]:
        return {part: self._load(part) for part in ("train", "test") if self.part in {part, "all"}}

    @cached_property
    def _images(self) -> NDArray[np.uint8]:
        return np.concatenate([_rgb(np.asarray(part.data)) for part in self._parts.values()])

    @cached_property
    def _index(self) -> Index:
        ids = [f"{part}/{row}" for part, loaded in self._parts.items() for row in range(len(loaded))]
        first = next(iter(self._parts.values()))
        if self.set == "cifar100-coarse":
            labels = np.concatenate([_coarse_labels(part) for part in self._parts.values()])
            classes = tuple(_unpickled(first, first.meta["filename"])["coarse_label_names"])
        else:
            labels = np.concatenate([_labels(part) for part in self._parts.values()])
            classes = _class_names(first)
        template = self.caption_template
        captions = None if template is None else captions_from_classes(template, labels, classes)
        return Index(ids=np.array(ids), captions=captions, labels=labels, classes=classes)

    def _load(self, part: str) -> Any:
        from torchvision import datasets  # noqa: PLC0415  # torch is slow; fingerprints go without

        root, kind = str(self._root), getattr(datasets, _SETS[self.set][0])
        try:
            return kind(root, split=part) if self.set == "svhn" else kind(root, train=part == "train")
        except (RuntimeError, ValueError, OSError, EOFError) as error:
            raise self._missing(" ".join(str(error).split())) from error

    def _missing(self, reason: str) -> InputError:
        where = f"{self._root}/{_SETS[self.set][1]}"
        return InputError("data path", str(self._root), f"the unchanged files of {self.set} at {where} ({reason})")


def _rgb(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return images as (n, height, width, 3), from grey (n, height, width), that, or (n, 3, height, width)."""
    if images.ndim == 3:
        return np.repeat(images[..., None], 3, axis=3)
    return images if images.shape[3] == 3 else images.transpose(0, 2, 3, 1)


def _labels(part: Any) -> NDArray[np.int64]:
    return np.asarray(part.labels if hasattr(part, "labels") else part.targets, dtype=np.int64)


def _coarse_labels(part: Any) -> NDArray[np.int64]:
    files = part.train_list if part.train else part.test_list
    return np.concatenate([np.asarray(_unpickled(part, name)["coarse_labels"], dtype=np.int64) for name, _ in files])


def _unpickled(part: Any, name: str) -> dict[str, Any]:
    """Return one of CIFAR's own files; torchvision has compared its checksum."""
    with (Path(part.root) / part.base_folder / name).open("rb") as file:
        content: dict[str, Any] = pickle.load(file, encoding="latin1")  # noqa: S301  # see above
    return content


def _class_names(part: Any) -> tuple[str, ...]:
    """Return torchvision's class names; of "0 - zero" the word, and words for SVHN, which has none."""
    names = getattr(part, "classes", _DIGITS)
    return tuple(str(name).rpartition(" - ")[2] for name in names)
