"""Class names and the numbers that stand for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["captions_from_classes", "check_template", "name_labels", "number_classes"]

_SLOT = "{class}"


def number_classes(names: Sequence[str]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return labels (n,) and the sorted class names that they point to.

    >>> number_classes(["dog", "cat", "dog"])
    (array([1, 0, 1]), ('cat', 'dog'))
    """
    classes, labels = np.unique(names, return_inverse=True)
    return labels.astype(np.int64), tuple(classes.tolist())


def name_labels(values: Sequence[int], names: Sequence[str]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return labels (n,) and class names for integers that each record spells out; classes in the integers' order.

    >>> name_labels([7, 3, 7], ["dog", "cat", "dog"])
    (array([1, 0, 1]), ('cat', 'dog'))
    """
    pairs = sorted(set(zip(values, names, strict=True)))
    numbers, classes = [number for number, _ in pairs], tuple(name for _, name in pairs)
    if len(set(numbers)) < len(pairs) or len(set(classes)) < len(pairs):
        raise InputError(
            "data class_column", _first_clash(pairs), "one name for each label and one label for each name"
        )
    return np.searchsorted(np.array(numbers, dtype=np.int64), np.array(values, dtype=np.int64)), classes


def check_template(template: str | None) -> None:
    """Raise InputError unless the template is None or has a place for the class name."""
    if template is not None and _SLOT not in template:
        raise InputError("data caption_template", template, f"a text with {_SLOT} in it")


def captions_from_classes(
    template: str, labels: NDArray[np.int64] | None, classes: tuple[str, ...] | None
) -> tuple[str, ...]:
    """Return one caption per record: the template with the class name (its underscores as spaces) put in.

    >>> captions_from_classes("a photo of a {class}", np.array([1, 0]), ("cat", "polar_bear"))
    ('a photo of a polar bear', 'a photo of a cat')
    """
    if labels is None or classes is None:
        raise InputError("data caption_template", template, "data with labels (there are none)")
    texts = [template.replace(_SLOT, name.replace("_", " ")) for name in classes]
    return tuple(texts[label] for label in labels.tolist())


def _first_clash(pairs: list[tuple[int, str]]) -> list[tuple[int, str]]:
    for side in (0, 1):
        seen: dict[object, tuple[int, str]] = {}
        for pair in pairs:
            if pair[side] in seen:
                return [seen[pair[side]], pair]
            seen[pair[side]] = pair
    return []
