"""The table of `dpaudit bench engine`: one row per model, what was promised of it in brackets."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dpaudit.bench.engine import EngineBench, EngineRow, Measured

__all__ = ["engine_rows", "gpu_rows"]

_OURS = "dpaudit"
_PEERS = ("Opacus hooks", "Opacus ghost")


def engine_rows(measured: EngineBench) -> list[list[str]]:
    """Return the table: times are multiples of the ordinary step, memory multiples of its peak."""
    titles = ["model", "B", "parameters", "step / ordinary", "processor time", *_PEERS, "faster than them"]
    others = ["memory / ordinary", "error", f"{measured.canaries:,} canaries", "noise"]
    return [[*titles, *others], *(_cells(row) for row in measured.rows)]


def gpu_rows(measured: EngineBench) -> list[list[str]]:
    """Return the table of a GPU: images per second at the row's batch, and the largest batch of one pass, by step."""
    titles = ["model", "step", "B", "images / s", "largest batch", "peak memory"]
    cells = [
        [
            row.title,
            step.name,
            str(row.records),
            "refuses" if step.seconds is None else f"{row.records / step.seconds:,.0f}",
            "-" if step.largest_batch is None else f"{step.largest_batch:,}",
            "-" if step.peak_bytes is None else f"{step.peak_bytes / 2**30:.2f} GiB",
        ]
        for row in measured.rows
        for step in row.steps
    ]
    return [titles, *cells]


def _cells(row: EngineRow) -> list[str]:
    ours, peers = row.step(_OURS), [row.step(name) for name in _PEERS]
    return [
        row.title,
        str(row.records),
        f"{row.parameters / 1e6:.1f} M",
        _times(ours.ratio) + _aim(row, "step", "at most"),
        _times(ours.cpu_ratio),
        *(_peer(peer) for peer in peers),
        " and ".join(_times(peer.ours_faster) for peer in peers) + _aim(row, "faster", "at least"),
        _times(ours.memory_ratio) + _aim(row, "memory", "at most"),
        "-" if ours.parity is None else f"{ours.parity:.0e}",
        f"{row.block_percent:.1f} %",
        f"{row.noise_percent:.1f} %",
    ]


def _peer(peer: Measured) -> str:
    return "refuses" if peer.refuses is not None else f"{_times(peer.ratio)}, memory {_times(peer.memory_ratio)}"


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _aim(row: EngineRow, what: str, word: str) -> str:
    if row.aims is None:
        return ""
    against = f" than {row.aims['peer']}" if what == "faster" else ""
    return f" ({word} {row.aims[what]}{against})"
