"""The digits are scikit-learn's, and the pinned fingerprint is checked when they are read."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from dpaudit.data import digits as module
from dpaudit.data.digits import Digits
from dpaudit.errors import DpauditError


def test_at_eight_pixels_they_are_the_original_scans() -> None:
    pixels, labels = load_digits(return_X_y=True)
    digits = Digits(image_size=8)
    records = digits[digits.ids()]
    assert len(digits) == 1797
    assert np.array_equal(records.labels, labels)  # type: ignore[arg-type]  # digits have labels
    for channel in range(3):
        assert np.array_equal(np.rint(records.images[:, channel] * (16 / 255)), pixels.reshape(-1, 8, 8))
    assert records.images.max() == 255


def test_captions_name_the_digit() -> None:
    records = Digits()[np.array(["digits/17", "digits/0"])]
    assert records.captions == ("a handwritten seven", "a handwritten zero")
    assert Digits().classes[records.labels[0]] == "seven"  # type: ignore[index]  # digits have labels


def test_resizing_keeps_the_picture() -> None:
    identity = np.array(["digits/42"])
    large, small = Digits(image_size=32)[identity].images[0, 0], Digits(image_size=8)[identity].images[0, 0]
    blocks = large.reshape(8, 4, 8, 4).mean(axis=(1, 3))
    assert np.corrcoef(blocks.ravel(), small.ravel())[0, 1] > 0.97


def test_other_content_than_the_pinned_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SHA256", "0" * 64)
    module._scans.cache_clear()
    with pytest.raises(DpauditError, match="digits have SHA-256 87ff0c9e40dc7e2c"):
        Digits()[np.array(["digits/0"])]
