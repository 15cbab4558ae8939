"""Pictures as text inside the page: PNG files of the folder pictures/ as data URLs."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dpaudit.results import Picture, Said

__all__ = ["BUDGET", "Embedded", "embed"]

BUDGET = 2_000_000  # bytes of the page that pictures may take, so that the page can be sent by mail
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """A picture as a data URL: its file, its title, the text for who cannot see it, and what was said of its images."""

    file: str
    title: str
    alt: str
    data: str
    said: tuple[Said, ...]


def embed(pictures: Iterable[Picture], folder: Path) -> tuple[tuple[Embedded, ...], tuple[str, ...]]:
    """Return the pictures that fit into the page, and one line for each that does not, saying why."""
    shown: list[Embedded] = []
    lost: list[str] = []
    left = BUDGET
    for picture in pictures:
        content, problem = _read(folder, picture.file)
        if content and len(content) > left:
            problem = "too large for this page; it is in the folder pictures/"
        if problem:
            lost.append(f"Picture {picture.title or picture.file}: {problem}")
            continue
        left -= len(content)
        data = f"data:image/png;base64,{content}"
        shown.append(Embedded(file=picture.file, title=picture.title, alt=picture.alt, data=data, said=picture.said))
    return tuple(shown), tuple(lost)


def _read(folder: Path, name: str) -> tuple[str, str]:
    """Return (base64 of the file, "") or ("", what is wrong with it). Only plain names inside the folder are read."""
    if Path(name).name != name or not (folder / name).is_file():
        return "", f"no file {name} in the folder pictures/"
    content = (folder / name).read_bytes()
    if not content.startswith(_PNG):
        return "", f"{name} is not a PNG file"
    return base64.b64encode(content).decode("ascii"), ""
