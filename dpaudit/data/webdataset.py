"""Webdataset shards (tar files, as img2dataset writes them) with random access."""

from __future__ import annotations

import json
import re
import tarfile
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from dpaudit.data.annotations import Index, Indexed
from dpaudit.data.captions import first_and_others
from dpaudit.data.decode import check_image_size, decode
from dpaudit.data.files import IMAGE_SUFFIXES, check_name, existing, fingerprint
from dpaudit.data.labels import number_classes
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from dpaudit.data.examples import Examples

__all__ = ["WebDataset"]

_Value = TypeVar("_Value")
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


class _Sample(NamedTuple):
    shard: Path
    offset: int
    size: int
    captions: tuple[str, ...] | None
    label: str | None


@dataclass(frozen=True, kw_only=True)
class WebDataset(Indexed):
    """Samples of tar shards; one record = the files of one key: an image, and beside it .txt, .json or .cls.

    path: a folder of *.tar, one tar, or a pattern such as "shards/{00000..00099}.tar". Ids are "shard/key". Caption:
    the .txt file, or the field `caption` of the .json file, a text or a list; label: the .cls file. The shards are read
    once, from end to end, to find where each image starts; then every record is one seek away, as Poisson sampling
    needs. Ids stand in the order of the shards: with `sampling: shuffle` and `privacy.shuffle_buffer` a run reads them
    as a stream does, shard after shard, and is never accounted as if it sampled at random.
    """

    path: str
    image_size: int

    def __post_init__(self) -> None:
        check_image_size(self.image_size)

    def __getitem__(self, ids: NDArray[np.str_]) -> Examples:
        """Return the records with these ids, in this order."""
        positions = self._index.positions(ids)
        names = self._index.ids[positions].tolist()
        sources = ((name, _read(self._samples[name])) for name in names)
        return self._index.examples(positions, decode(sources, len(names), self.image_size))

    def fingerprint(self) -> str:
        """Return a hash of the options and of every shard's name, size and edges."""
        return fingerprint(("webdataset", self.image_size), [(shard.name, shard) for shard in self._shards])

    @cached_property
    def _shards(self) -> list[Path]:
        found = _RANGE.search(self.path)
        if found is not None:
            first, last = found.groups()
            names = [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
            return [
                existing("data path", self.path[: found.start()] + name + self.path[found.end() :]) for name in names
            ]
        path = existing("data path", self.path)
        shards = sorted(path.glob("*.tar")) if path.is_dir() else [path]
        if not shards:
            raise InputError("data path", str(path), "at least one *.tar in it")
        return shards

    @cached_property
    def _samples(self) -> dict[str, _Sample]:
        return dict(sample for shard in self._shards for sample in _samples(shard))

    @cached_property
    def _index(self) -> Index:
        samples = self._samples
        if not samples:
            raise InputError("data path", self.path, "shards with at least one image")
        said = self._all_or_none("caption (.txt, or a caption in .json)", [each.captions for each in samples.values()])
        captions, others = (None, None) if said is None else first_and_others(said)
        names = self._all_or_none("label (.cls)", [each.label for each in samples.values()])
        labels, classes = (None, None) if names is None else number_classes(names)
        ids = np.array(list(samples))
        return Index(ids=ids, captions=captions, labels=labels, classes=classes, other_captions=others)

    def _all_or_none(self, what: str, values: list[_Value | None]) -> tuple[_Value, ...] | None:
        there = tuple(value for value in values if value is not None)
        if there and len(there) < len(values):
            without = list(self._samples)[values.index(None)]
            raise InputError("data sample", without, f"a {what}, as {len(there)} other samples have")
        return there or None


def _samples(shard: Path) -> Iterator[tuple[str, _Sample]]:
    """Yield id and place of every sample; its files stand together, as the format demands."""
    try:
        with tarfile.open(shard, "r:") as tar:
            key, files = "", dict[str, Any]()
            for member in tar:
                if not member.isfile():
                    continue
                stem, suffix = _split(member.name)
                if stem != key:
                    yield from _sample(shard, key, files)
                    key, files = stem, {}
                files[suffix] = member if suffix in IMAGE_SUFFIXES else _text(tar, member, suffix)
            yield from _sample(shard, key, files)
            _check_end(shard, tar.offset)
    except (tarfile.TarError, OSError) as error:
        raise InputError("data path", str(shard), f"a readable, uncompressed tar file ({error})") from error


def _check_end(shard: Path, offset: int) -> None:
    """Raise InputError unless the block behind the last file is the end mark: tarfile does not mind that it is cut."""
    with shard.open("rb") as file:
        file.seek(offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise InputError("data path", str(shard), "a whole tar file: this one ends before its end mark")


def _sample(shard: Path, key: str, files: dict[str, Any]) -> Iterator[tuple[str, _Sample]]:
    image = next((file for suffix, file in files.items() if suffix in IMAGE_SUFFIXES), None)
    if image is not None:
        captions = files.get(".txt") or files.get(".json")
        label = files.get(".cls")
        yield (
            check_name(f"{shard.stem}/{key}"),
            _Sample(shard, image.offset_data, image.size, captions, label[0] if label else None),
        )


def _split(name: str) -> tuple[str, str]:
    """Return the key (the path up to its file name's first dot) and the suffix of a file in a shard."""
    folder, slash, file = name.rpartition("/")
    stem, dot, rest = file.partition(".")
    return folder + slash + stem, (dot + rest).lower()


def _text(tar: tarfile.TarFile, member: tarfile.TarInfo, suffix: str) -> tuple[str, ...] | None:
    """Return captions, or one class name; None for a file that holds neither."""
    if suffix not in {".txt", ".json", ".cls"}:
        return None
    opened = tar.extractfile(member)
    try:
        text = "" if opened is None else opened.read().decode()
        if suffix != ".json":
            return (text.strip(),) if text.strip() else None
        found = json.loads(text)
    except ValueError as error:
        raise InputError("data file", member.name, f"text in UTF-8, JSON if so named ({error})") from error
    said = found.get("caption") if isinstance(found, dict) else None
    every = said if isinstance(said, list) else [said]
    texts = tuple(text for text in every if isinstance(text, str))
    return texts if texts and len(texts) == len(every) else None


def _read(sample: _Sample) -> bytes:
    with sample.shard.open("rb") as file:
        file.seek(sample.offset)
        return file.read(sample.size)
