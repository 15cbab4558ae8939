"""Wrong answers counted: the share with its interval, and how many of them chance excuses."""

from __future__ import annotations

from typing import Self

import numpy as np
from scipy.special import bdtr

from dpaudit.metrics import clopper_pearson
from dpaudit.results import Interval, Value

__all__ = ["Wrong", "most_excused"]

_ALPHA = 0.05
#: about 200 cells are claimed to hold; together they raise a false alarm at most once in 1,000 (DESIGN rule 13)
_ALARM = 5e-6


class Wrong(Value):
    """How many of the audits were wrong, and the share with its exact 95 % interval."""

    audits: int
    wrong: int
    share: Interval

    @classmethod
    def of(cls, wrong: int, audits: int) -> Self:
        """Count.

        >>> Wrong.of(7, 100).excused, Wrong.of(47, 100).excused
        (True, False)
        """
        return cls(audits=audits, wrong=wrong, share=clopper_pearson(wrong, audits))

    @property
    def excused(self) -> bool:
        """Return whether chance excuses so many, if an audit is wrong with chance 5 % at most."""
        return self.wrong <= most_excused(self.audits, _ALPHA)

    @property
    def above(self) -> bool:
        """Return whether the whole interval is above 5 %; of 40 cells that are right at 5 % one is by chance.

        >>> Wrong.of(130, 2000).above, Wrong.of(130, 2000).excused
        (True, True)
        """
        return self.share.low > _ALPHA


def most_excused(audits: int, chance: float) -> int:
    """Return the most events of this chance that bad luck excuses: exceeded with chance below 5e-6.

    >>> most_excused(2000, 0.05)
    146
    """
    return int(np.argmax(bdtr(np.arange(audits + 1), audits, chance) >= 1 - _ALARM))
