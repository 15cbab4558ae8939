"""One sentence on where the weights of step 0 are from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpaudit.reports import numbers

if TYPE_CHECKING:
    from dpaudit.results import Beginning

__all__ = ["beginning_line"]


def beginning_line(beginning: Beginning) -> str:
    """Return the sentence that stands above the table of runs; all in it may be published.

    >>> from dpaudit.results import Beginning
    >>> beginning_line(Beginning(kind="weights", source="vip.safetensors", fingerprint="0" * 64, weights="ab" * 32))
    'All runs start from the weights of vip.safetensors (SHA-256 of the start: abababababababab).'
    """
    digest = f"SHA-256 of the start: {beginning.weights[:16]}"
    if beginning.trainer is not None:
        digest = f"weights of {beginning.trainer}, taken over as far as they fit; {digest}"
    if beginning.kind == "weights":
        what = f"the modules {', '.join(beginning.parts)}" if beginning.parts else "the weights"
        return f"All runs start from {what} of {beginning.source} ({digest})."
    steps, batch, records = (
        numbers.count(number or 0) for number in (beginning.steps, beginning.batch_size, beginning.records)
    )
    time = numbers.duration(beginning.seconds or 0.0)
    done = f"{steps} steps of {batch} on {beginning.source}, {records} records"
    if beginning.same_data or beginning.shared:
        return f"All runs start from a stage without noise whose data are NOT public: {done}, {time} ({digest})."
    standing = "made by a program" if beginning.by_construction else "declared public"
    loss = f"loss {beginning.first_loss:.3g} to {beginning.last_loss:.3g}"
    return f"All runs start from a public stage without noise: {done} {standing}; {loss}, {time} ({digest})."
