"""Several processes train one recipe: the first does all that `dpaudit train` does, the others share its steps.

Started by `torchrun --nproc-per-node N -m dpaudit train RECIPE`. The others read the run folder, so all machines must
see it; they write nothing, and begin each run when the first says so. Sums go over the network before noise is added to
them: they are as private as the data.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from dpaudit.errors import DpauditError
from dpaudit.pipeline.order import open_run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dpaudit.dp.processes import Group

__all__ = ["follows", "shared"]


def follows() -> bool:
    """Return whether torchrun has started this process as one that does not lead."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and os.environ.get("RANK", "0") != "0"


@contextlib.contextmanager
def shared(device: str | None = None) -> Iterator[bool]:
    """Yield whether this process is to do the work of the block; the others have followed it to the end by then.

    device: where to compute, in place of the recipe's; `cuda` and `auto` give each process of a machine its own GPU.

    >>> with shared() as leads:
    ...     leads
    True
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield True
        return
    from dpaudit.dp.processes import joined  # noqa: PLC0415 (imports torch; one process may find nothing to do)

    with joined() as group:
        if group.rank:
            _follow(group, device)
            yield False
        else:
            with _leading(group):
                yield True


@contextlib.contextmanager
def _leading(group: Group) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(DpauditError):  # the others may be gone; what matters is why this one stopped
            group.dismiss()
        raise
    group.dismiss()


def _follow(group: Group, device: str | None) -> None:
    from dpaudit.pipeline.stages.references import share_references  # noqa: PLC0415 (imports torch)
    from dpaudit.training.train import follow  # noqa: PLC0415 (imports torch)

    while run := group.hear():
        audit, name = open_run(Path(run).parent, device=device), Path(run).name
        if name == "references":
            share_references(audit)
        else:
            follow(audit.job(name))
