"""Where a run is computed, as its manifest says it, and where it was resumed somewhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpaudit.dp.devices import in_words
from dpaudit.runs import read_json, write_json

if TYPE_CHECKING:
    from dpaudit.progress import Progress
    from dpaudit.training.job import Job

__all__ = ["RESUMED", "note_device", "where_computed"]

RESUMED = (
    "bit-identical on the CPU of one machine; on a GPU, or resumed on another device, sums differ in their last bits "
    "(batches, noise and coins do not)"
)


def where_computed(job: Job) -> dict[str, object]:
    """Return where and in which precision a run begins to compute, for its manifest."""
    first = {"from_step": 0, "device": in_words(job.device)}
    return {"precision": job.recipe.compute.precision, "devices": [first], "resume": RESUMED}


def note_device(job: Job, steps_done: int, progress: Progress) -> None:
    """Add to the manifest from which step on another device computes, if it does, and say so."""
    path = job.run / "manifest.json"
    manifest, here = read_json(path), in_words(job.device)
    before = [each for each in manifest["compute"]["devices"] if each["from_step"] < steps_done]
    if (before or manifest["compute"]["devices"])[-1]["device"] == here:
        return
    if before:
        earlier = before[-1]["device"]
        progress.say(f"{job.name}: goes on at step {steps_done} on {here}, begun on {earlier}: not bit-identical")
    manifest["compute"]["devices"] = [*before, {"from_step": steps_done, "device": here}]
    write_json(path, manifest)
