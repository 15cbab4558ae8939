"""Records with several captions: one privacy unit, of which a step reads one caption."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpaudit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dpaudit.data.examples import Examples
    from dpaudit.rng import Rng

__all__ = ["drawn_captions", "first_and_others"]


def drawn_captions(rng: Rng, examples: Examples) -> tuple[str, ...]:
    """Return one of each record's captions, all equally likely, keyed by (rng, id): n strings.

    Who else is in the batch does not matter. InputError where records have no captions.

    >>> import numpy as np
    >>> from dpaudit.data.examples import Examples
    >>> from dpaudit.rng import Rng
    >>> one = Examples(ids=np.array(["a"]), images=np.zeros((1, 3, 2, 2), dtype=np.uint8), captions=("a ring",))
    >>> drawn_captions(Rng.from_seed(0), one)
    ('a ring',)
    """
    if examples.captions is None:
        raise InputError("captions", None, "data with captions")
    if examples.other_captions is None:
        return examples.captions
    drawn = rng.child("caption").uniform(examples.ids, 1)[:, 0].tolist()
    every = [(first, *others) for first, others in zip(examples.captions, examples.other_captions, strict=True)]
    return tuple(captions[int(share * len(captions))] for captions, share in zip(every, drawn, strict=True))


def first_and_others(
    captions: Iterable[Sequence[str]],
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...] | None]:
    """Return the first caption of each record, and its others; None where no record has any.

    >>> first_and_others([["a dog", "a pet"], ["a cat"]])
    (('a dog', 'a cat'), (('a pet',), ()))
    """
    every = [tuple(said) for said in captions]
    others = tuple(said[1:] for said in every)
    return tuple(said[0] for said in every), others if any(others) else None
