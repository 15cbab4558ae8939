"""Encoded images -> square uint8 arrays; an image that cannot be read is an error that names its file or row."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, UnidentifiedImageError

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["FORMATS", "LARGEST_SIDE", "check_image_size", "decode", "square"]

#: the formats that are opened at all; PIL knows others that start programs (EPS) or are rarely fuzzed
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
LARGEST_SIDE = 4096
#: more than 8 bits per channel: PIL would cut the values off at 255 without a word
_DEEP_MODES = ("I", "F")
#: what PIL's decoders raise on damaged bytes
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
    UserWarning,
)


def check_image_size(image_size: int) -> None:
    """Raise InputError unless this is a usable side in pixels."""
    if not 1 <= image_size <= LARGEST_SIDE:
        raise InputError("data image_size", image_size, f"a whole number of pixels from 1 to {LARGEST_SIDE}")


def decode(sources: Iterable[tuple[str, bytes | Path]], count: int, side: int) -> NDArray[np.uint8]:
    """Return `count` images as RGB, (count, 3, side, side); each source is (name for errors, bytes or file).

    The shorter side is resized to `side` (bicubic), then the centre is cut out. Large JPEGs are decoded at a reduced
    scale, at least twice what is needed. EXIF orientation is not applied; of an animation the first picture is taken.
    A decompression bomb (PIL's limit) and a truncated file are errors like any other unreadable image.
    """
    images = np.empty((count, 3, side, side), dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="PIL")  # damaged metadata beside sound pixels
        warnings.filterwarnings("error", "Truncated File Read", UserWarning)
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for row, (name, source) in enumerate(sources):
            images[row] = _decode_one(name, source, side)
    return images


def square(image: Image.Image, side: int) -> Image.Image:
    """Return the central square of an image at side x side pixels: resize the shorter side, cut the centre."""
    width, height = image.size
    if (width, height) == (side, side):
        return image
    short = min(width, height)
    left, top = (width - short) / 2, (height - short) / 2
    return image.resize((side, side), Image.Resampling.BICUBIC, box=(left, top, left + short, top + short))


def _decode_one(name: str, source: bytes | Path, side: int) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            if image.mode.startswith(_DEEP_MODES):
                raise _unreadable(name, f"8 bits per channel, not mode {image.mode}")
            image.draft("RGB", (2 * side, 2 * side))
            pixels = np.asarray(square(_rgb(image), side))
    except UnidentifiedImageError as error:
        raise _unreadable(name, "none of " + ", ".join(FORMATS)) from error
    except _UNREADABLE as error:
        raise _unreadable(name, _reason(error)) from error
    return pixels.transpose(2, 0, 1)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if "transparency" in image.info:  # a palette's transparency only converts well by way of RGBA
        image = image.convert("RGBA")
    return image.convert("RGB")


def _unreadable(name: str, reason: str) -> InputError:
    return InputError("data image", name, f"a readable image ({reason})")


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())
