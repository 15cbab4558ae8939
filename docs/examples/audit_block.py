"""How near the audit of 100,000 canaries comes to the accountant: the table of docs/canaries.md, by this command.

    python docs/examples/audit_block.py runs/audit-block               # epsilon 1, 2, 4, 8; five audits of each
    python docs/examples/audit_block.py runs/audit-block --audits 1    # one of each: a look

Each audit is a whole `vip-micro` from random weights, without probes and input canaries, with secret coins of its own
from the operating system. Begun again it goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import dpaudit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpaudit.results import AuditResult

#: epsilon, canaries and runs of a row
ROWS = ((1, 100_000, 1), (2, 100_000, 1), (4, 100_000, 1), (8, 100_000, 1), (8, 10_000, 4))
CERTIFIED = "{attack: audit_block, method: one-run-joint, hypothesis: accountant}"
HEAD = "| epsilon promised | canaries | runs | certified | the planner expected | under independence | audits |"


def audit(
    folder: Path, epsilon: float, canaries: int, runs: int, index: int, smaller: Sequence[str] = ()
) -> AuditResult:
    """Return one audit's result, done before or now; smaller: settings of a trial."""
    name = f"epsilon-{epsilon}-runs-{runs}-{index}"
    return dpaudit.run(
        "vip-micro",
        out=folder / name,
        overrides=[
            f"name={name}",
            "start=null",
            "probes=[]",
            "attacks=[audit_block]",
            f"privacy.epsilon={epsilon}",
            f"runs.count={runs}",
            f"canaries={{block: {canaries}}}",
            f"bounds.decide=[{CERTIFIED}]",
            "report={pictures: 0}",
            *smaller,
        ],
    )


def row(epsilon: float, results: Sequence[AuditResult]) -> str:
    """Return a line of the table: medians over audits, with the share of what they are measured by."""
    certified, independent = (
        statistics.median(bound.epsilon for result in results for bound in result.bounds if bound.method == method)
        for method in ("one-run-joint", "order-statistics")
    )
    plan = results[0].plans[0]
    expected, promised = plan.expected["accountant"], results[0].promise.epsilon
    cells = (
        f"{epsilon}",
        f"{plan.canaries:,}",
        f"{plan.runs}",
        f"{certified:.2f} ({certified / expected:.2f})",
        f"{expected:.2f}",
        f"{independent:.2f} ({independent / promised:.2f})",
        f"{len(results)}",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--audits", type=int, default=5)
    given = parser.parse_args()
    sys.stdout.write(f"{HEAD}\n|---|---|---|---|---|---|---|\n")
    for epsilon, canaries, runs in ROWS:
        audits = [audit(given.folder, epsilon, canaries, runs, index) for index in range(given.audits)]
        sys.stdout.write(row(epsilon, audits) + "\n")
