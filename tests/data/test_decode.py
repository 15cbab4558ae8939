"""Decoding: geometry, colour, and every way in which a file can be broken."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from dpaudit.data.decode import FORMATS, decode
from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def one(source: bytes | Path, side: int) -> NDArray[np.uint8]:
    image: NDArray[np.uint8] = decode([("it", source)], 1, side)[0]
    return image


def test_an_image_of_the_right_size_is_not_touched() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size=(9, 9, 3), dtype=np.uint8)
    assert np.array_equal(one(encoded(Image.fromarray(pixels)), 9), pixels.transpose(2, 0, 1))


@pytest.mark.parametrize(("width", "height"), [(60, 20), (20, 60), (20, 20)])
@pytest.mark.parametrize("side", [10, 20, 40])
def test_it_is_resizing_the_shorter_side_and_cutting_the_centre(width: int, height: int, side: int) -> None:
    down, across = np.mgrid[:height, :width]  # smooth: PIL orders its two passes by cost, and noise shows the order
    pixels = np.stack([100 + 60 * np.sin(down / 3), 100 + 60 * np.cos(across / 4), 2 * (down + across)], axis=2)
    pixels = pixels.astype(np.uint8)
    long = max(width, height) * side // 20
    size = (long, side) if width > height else (side, long)
    whole = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    left, top = (whole.width - side) // 2, (whole.height - side) // 2
    wanted = np.asarray(whole.crop((left, top, left + side, top + side))).transpose(2, 0, 1)
    assert np.abs(one(encoded(Image.fromarray(pixels)), side).astype(int) - wanted).max() <= 1


def test_rows_stay_rows_and_channels_stay_channels() -> None:
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    pixels[:4, :, 0], pixels[:, :4, 2] = 255, 255
    image = one(encoded(Image.fromarray(pixels)), 4)
    assert (image[0, 0] == 255).all()
    assert (image[0, 3] == 0).all()
    assert (image[2, :, 0] == 255).all()
    assert (image[2, :, 3] == 0).all()
    assert (image[1] == 0).all()


@pytest.mark.parametrize("kind", FORMATS)
def test_every_listed_format_is_read(kind: str) -> None:
    image = one(encoded(Image.new("RGB", (6, 6), (10, 200, 60)), kind), 6)
    assert np.abs(image.reshape(3, -1).mean(axis=1) - [10, 200, 60]).max() < 4


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_every_eight_bit_mode_becomes_rgb(mode: str) -> None:
    kind = "TIFF" if mode in {"CMYK", "YCbCr"} else "PNG"
    image = one(encoded(Image.new("RGB", (5, 5), (255, 255, 255)).convert(mode), kind), 5)
    assert image.shape == (3, 5, 5)
    assert image.min() >= 253


def test_a_palette_with_transparency_is_read_without_a_warning() -> None:
    palette = Image.new("RGB", (4, 4), (250, 0, 0)).quantize(4)
    image = one(encoded(palette, transparency=b"\x00\x80\xff\xff"), 4)
    assert image[:, 0, 0].tolist() == [250, 0, 0]


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_more_than_eight_bits_are_refused(dtype: type) -> None:
    deep = encoded(Image.fromarray(np.full((4, 4), 40_000, dtype=dtype)), "TIFF")
    with pytest.raises(InputError, match="8 bits per channel"):
        one(deep, 4)


def test_a_large_jpeg_decoded_small_looks_the_same() -> None:
    waves = np.sin(np.linspace(0, 180, 800))[:, None] * np.cos(np.linspace(0, 270, 1200))[None]
    picture = Image.fromarray(np.repeat((120 + 100 * waves).astype(np.uint8)[:, :, None], 3, axis=2))
    quick, exact = one(encoded(picture, "JPEG", quality=95), 200), one(encoded(picture, "PNG"), 200)
    assert np.abs(quick.astype(int) - exact.astype(int)).max() <= 8


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_a_truncated_image_is_an_error(kind: str, encode: Callable[..., bytes]) -> None:
    whole = encode(0, kind, (40, 40))
    with pytest.raises(InputError, match="data image = 'it': expected a readable image"):
        one(whole[: len(whole) // 2], 8)


@pytest.mark.parametrize("damaged", [b"", b"not an image", b"\xff\xd8\xff\xe0", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_what_is_no_image_is_an_error(damaged: bytes) -> None:
    with pytest.raises(InputError, match=r"readable image \(none of JPEG, PNG"):
        one(damaged, 8)


def test_a_file_that_is_missing_or_a_folder_is_an_error(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "gone.png", "No such file"), (tmp_path, "directory")):
        with pytest.raises(InputError, match=reason):
            one(path, 8)


@pytest.mark.parametrize("factor", [1.5, 3])
def test_a_decompression_bomb_is_an_error(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = encoded(Image.new("RGB", (30, 30)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(900 / factor))
    with pytest.raises(InputError, match="decompression bomb"):
        one(bomb, 8)


def test_damaged_metadata_beside_sound_pixels_is_no_error() -> None:
    plain = Image.new("RGB", (6, 6), (9, 9, 9))
    exif = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x05\x00\x12\x01"
    assert np.abs(one(encoded(plain, "JPEG", exif=exif), 6).astype(int) - 9).max() <= 2


@pytest.mark.parametrize("kind", FORMATS)
def test_random_damage_gives_an_image_or_an_input_error(kind: str, encode: Callable[..., bytes]) -> None:
    rng = np.random.default_rng(3)
    whole, refused = encode(1, kind, (10, 14)), 0
    for _ in range(80):
        damaged = np.frombuffer(whole, dtype=np.uint8).copy()
        damaged[rng.integers(0, min(len(damaged), 300), size=6)] = rng.integers(0, 256, size=6, dtype=np.uint8)
        try:
            assert one(damaged.tobytes()[: int(rng.integers(1, len(damaged) + 40))], 8).shape == (3, 8, 8)
        except InputError:
            refused += 1
    assert refused > 0
