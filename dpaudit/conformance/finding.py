"""What one check of a plug-in found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Finding", "Status", "asked", "failed", "passed", "raised", "unclear"]

#: unclear: the suite cannot tell, the reason is in the words; it is no failure
Status: TypeAlias = Literal["passed", "failed", "unclear"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check, and what was found in words.

    >>> print(Finding(check="shape", status="passed", words="(128,)"))
    ok    shape: (128,)
    """

    check: str
    status: Status
    words: str

    def __str__(self) -> str:
        sign = {"passed": "ok  ", "failed": "FAIL", "unclear": "?   "}[self.status]
        return f"{sign}  {self.check}: {self.words}"


def passed(check: str, words: str) -> Finding:
    """Return that a check was passed."""
    return Finding(check=check, status="passed", words=words)


def failed(check: str, words: str) -> Finding:
    """Return that a check was failed."""
    return Finding(check=check, status="failed", words=words)


def unclear(check: str, words: str) -> Finding:
    """Return that a check could not tell, and why."""
    return Finding(check=check, status="unclear", words=words)


def raised(check: str, error: Exception) -> Finding:
    """Return that a check was failed because the plug-in raised this.

    >>> print(raised("shape", ValueError("3 scores")))
    FAIL  shape: it raised ValueError: 3 scores
    """
    reason = (str(error).strip().splitlines() or [""])[0]
    return failed(check, f"it raised {type(error).__name__}: {reason}")


def asked(check: str, find: Callable[[str], Finding]) -> Finding:
    """Return what a check finds; whatever the plug-in raises on the way is a failure with the reason."""
    try:
        return find(check)
    except Exception as error:  # a stranger's plug-in may raise anything, and the other checks go on
        return raised(check, error)
