"""Files and folders of a data set: checked paths, safe names, and a fingerprint that decodes nothing."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["IMAGE_SUFFIXES", "check_name", "existing", "fingerprint", "walk"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
_EDGE_BYTES = 64 * 1024
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def existing(field: str, path: str) -> Path:
    """Return the path with ~ expanded, or raise InputError naming the path when nothing is there."""
    found = Path(path).expanduser()
    if not found.exists():
        raise InputError(field, str(found), "a file or folder that exists")
    return found


def check_name(name: str) -> str:
    """Return a file name that can be an id: printable, UTF-8, one line."""
    if _UNSAFE.search(name):
        raise InputError("data file name", name, "a name in UTF-8 without control characters")
    return name


def walk(folder: Path, suffixes: tuple[str, ...]) -> Iterator[str]:
    """Yield the relative POSIX path of every file with one of these suffixes; hidden names are left out.

    Linked folders are followed. A folder that cannot be listed is an InputError.
    """
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        prefix = Path(parent).relative_to(folder)
        for name in names:
            if name.lower().endswith(suffixes) and not name.startswith("."):
                yield check_name((prefix / name).as_posix())


def fingerprint(options: Iterable[object], files: Iterable[tuple[str, Path]]) -> str:
    """Return 32 hex digits over options and, per (name, file), name, size, first and last 64 KiB.

    An edit that keeps a file's size and touches only its middle is not seen: the price of an answer in milliseconds.
    """
    digest = hashlib.blake2b(repr(tuple(options)).encode(), digest_size=16)
    for name, path in files:
        digest.update(f"\0{name}\0".encode())
        _digest_file(digest, path)
    return digest.hexdigest()


def _digest_file(digest: hashlib.blake2b, path: Path) -> None:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest.update(size.to_bytes(8, "little") + file.read(_EDGE_BYTES))
            if size > _EDGE_BYTES:
                file.seek(max(_EDGE_BYTES, size - _EDGE_BYTES))
                digest.update(file.read(_EDGE_BYTES))
    except OSError as error:
        raise InputError("data file", str(path), f"a readable file ({error.strerror})") from error


def _refuse(error: OSError) -> None:
    raise InputError("data folder", error.filename, f"a readable folder ({error.strerror})") from error
