"""What a run was made with: versions, platform and the source's git revision."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["environment"]

_PACKAGES = ("dpaudit", "torch", "numpy", "scipy", "scikit-learn", "dp-accounting", "opacus")


def environment() -> dict[str, str]:
    """Return package versions, Python, platform, and git revision and dirty flag where the source is a checkout.

    >>> environment()["dpaudit"] == version("dpaudit")
    True
    """
    facts = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "not installed"
    return facts | _revision(Path(__file__).resolve().parent)


def _revision(source: Path) -> dict[str, str]:
    if not (source.parent / ".git").exists():
        return {"git": "not a checkout"}
    revision = _git(source, "rev-parse", "HEAD")
    changes = _git(source, "status", "--porcelain", "--untracked-files=no")
    if revision is None or changes is None:
        return {"git": "not readable"}
    return {"git": revision, "git dirty": "yes" if changes else "no"}


def _git(source: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(  # noqa: S603 (fixed arguments, no shell)
            ["git", "-C", str(source), *arguments],  # noqa: S607 (git is where the user's PATH says)
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
