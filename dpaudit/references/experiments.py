"""Folders of experiments as the public code of LiRA writes them: read and written, one model per experiment.

FOLDER/experiment-I_M/keep.npy says whom of n records model I of M was trained on, (n,) booleans. scores/*.npy beside it
are its logit-scaled confidences, (n, draws) or (n, 1, draws); where they are missing, logits/*.npy, (n, 1, draws,
classes), and the labels in FOLDER/y_train.npy make them. The last file by name counts. Pickles are refused.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from dpaudit.errors import InputError
from dpaudit.runs import write_atomically, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Experiments", "holds_experiments", "read_experiments", "write_experiments"]

_NAME = re.compile(r"experiment-(\d+)_(\d+)")
_EPOCH = "0000000000.npy"


@dataclass(frozen=True, kw_only=True)
class Experiments:
    """M models and n records. keep: (M, n), whom a model was trained on; scores: (M, draws, n), higher = member."""

    keep: NDArray[np.bool_]
    scores: NDArray[np.float64]

    def __post_init__(self) -> None:
        models, records = self.keep.shape
        if self.scores.ndim != 3 or self.scores.shape[0] != models or self.scores.shape[2] != records:
            raise InputError("scores", self.scores.shape, f"({models}, draws, {records}), as keep has it")
        if not np.isfinite(self.scores).all():
            raise InputError("scores", "NaN or infinite", "finite numbers")


def holds_experiments(folder: Path) -> bool:
    """Return whether a folder has experiments in it."""
    return folder.is_dir() and any(_NAME.fullmatch(path.name) for path in folder.iterdir())


def read_experiments(folder: Path) -> Experiments:
    """Return the experiments of a folder, in the order of their numbers; InputError names a file that is wrong."""
    found = [(_NAME.fullmatch(path.name), path) for path in folder.iterdir()] if folder.is_dir() else []
    runs = [path for _, path in sorted((int(match[1]), path) for match, path in found if match)]
    if not runs:
        raise InputError("experiments", str(folder), "a folder with experiment-0_M, experiment-1_M, ...")
    keep = [_array(run / "keep.npy").astype(np.bool_) for run in runs]
    scores = [_scores(run, folder / "y_train.npy") for run in runs]
    if len({each.shape for each in (*keep, *(each[0] for each in scores))}) != 1:
        shapes = sorted({str(each.shape) for each in (*keep, *(each[0] for each in scores))})
        raise InputError(str(folder), ", ".join(shapes), "the same records in keep and scores of every experiment")
    return Experiments(keep=np.stack(keep), scores=np.stack(scores))


def write_experiments(folder: Path, experiments: Experiments) -> list[Path]:
    """Write keep.npy, scores and hparams.json of every model; return the experiments' folders."""
    models, made = len(experiments.keep), []
    for index, (keep, scores) in enumerate(zip(experiments.keep, experiments.scores, strict=True)):
        run = folder / f"experiment-{index}_{models}"
        write_atomically(run / "keep.npy", _encoded(keep))
        write_atomically(run / "scores" / _EPOCH, _encoded(scores.T[:, None, :].astype(np.float64)))
        write_json(run / "hparams.json", {"expid": index, "num_experiments": models, "written by": "dpaudit"})
        made.append(run)
    return made


def _scores(run: Path, labels: Path) -> NDArray[np.float64]:
    """Return the scores of one model, (draws, n)."""
    if (run / "scores").is_dir():
        values = _last(run / "scores").astype(np.float64)
        values = values.reshape(len(values), -1)
        return np.ascontiguousarray(values.T)
    logits, classes = _last(run / "logits").astype(np.float64), _array(labels).astype(np.int64)
    logits = logits.reshape(len(logits), -1, logits.shape[-1])
    if len(classes) < len(logits):
        raise InputError(str(labels), len(classes), f"at least {len(logits)} labels, one per record of the logits")
    at = classes[: len(logits), None, None]
    true = np.take_along_axis(logits, at, axis=2)[:, :, 0]
    np.put_along_axis(logits, at, -np.inf, axis=2)
    return np.ascontiguousarray((true - special.logsumexp(logits, axis=2)).T)


def _last(folder: Path) -> NDArray[np.generic]:
    files = sorted(folder.glob("*.npy"))
    if not files:
        raise InputError(str(folder), "empty or missing", "scores/*.npy, or logits/*.npy with labels")
    return _array(files[-1])


def _array(path: Path) -> NDArray[np.generic]:
    try:
        array: NDArray[np.generic] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(str(path), str(error).splitlines()[0], "a plain array as numpy writes it") from error
    return array


def _encoded(array: NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
