"""Turns the results.json files of docs/examples/results.sh into the tables of docs/results.md.

    python docs/examples/results_table.py runs

A cell is the mean accuracy over seeds with the 95 % interval of Student's t over them. Every seed has other training
records, another synthetic stage and other test records, so the interval is over all of these. Differences are taken
within a seed, where both sides were tested on the same records.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

from dpaudit.metrics import over_seeds

DATA = {"scenes": "scenes", "parquet": "CIFAR-10"}
TRAINER = {"vip": "ViP", "dp-cap": "DP-Cap", "dp-clip": "DP-CLIP", "logit-dp": "Logit-DP"}
STAGES = {"untrained": "random initialisation", "pre-trained": "synthetic initialisation"}
#: DP-CLIP starts from public pairs, not from synthetic images
START = {"dp-clip": {"pre-trained": "public pairs, epsilon 0"}}


def tables(folder: Path) -> str:
    """Return both tables for every data set of which a run is finished, as Markdown."""
    lines: list[str] = []
    for data, rows in sorted(read(folder).items(), reverse=True):
        lines += [f"### {data}", "", "| features | accuracy, % | seeds |", "|---|---|---|"]
        for name, values in rows.items():
            lines.append(f"| {name} | {cell(list(values.values()))} | {', '.join(map(str, sorted(values)))} |")
        lines += ["", "| difference | points | seeds above 0 |", "|---|---|---|", *differences(rows), ""]
    return "\n".join(lines)


def differences(rows: dict[str, dict[int, float]]) -> list[str]:
    """Return the rows of the second table: differences within a seed."""
    lines = []
    for better, worse in pairs(list(rows)):
        shared = sorted(rows[better].keys() & rows[worse].keys())
        apart = [rows[better][seed] - rows[worse][seed] for seed in shared]
        if apart:
            above = sum(each > 0 for each in apart)
            lines.append(f"| {better} - {worse} | {cell(apart, signed=True)} | {above} of {len(apart)} |")
    return lines


def read(folder: Path) -> dict[str, dict[str, dict[int, float]]]:
    """Return the accuracy in percent by data set, features and seed."""
    found: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for path in sorted(folder.glob("*/results.json"), key=lambda each: each.parent.name):
        result = json.loads(path.read_text(encoding="utf-8"))
        recipe = result["recipe"]
        trainer = recipe["trainer"]["name"]
        system = TRAINER[trainer]
        epsilon = str(recipe["privacy"]["epsilon"]).removesuffix(".0").replace("Infinity", "infinity")
        names = {kind: f"{system} model, {stage}" for kind, stage in (STAGES | START.get(trainer, {})).items()}
        names |= {"trained": f"{system}, epsilon {epsilon}"}
        if recipe["data"].get("pairs") is None:  # the probe of pairs has other records
            names["raw pixels"] = "raw pixels"
        for probe in (each for each in result["probes"] if each["probe"] == "linear"):
            for each in (each for each in probe["measurements"] if each["features"] in names):
                accuracy = 100 * each["score"]["value"]
                found[DATA[recipe["data"]["name"]]][names[each["features"]]][recipe["seed"]] = accuracy
    return {data: dict(sorted(rows.items(), key=lambda row: order(row[0]))) for data, rows in found.items()}


def order(name: str) -> tuple[int, str]:
    """Return where features stand in the table: raw pixels, then each system, random, as it starts and trained."""
    stages = ("raw", "random", "synthetic", "public", "epsilon 8", "epsilon inf")
    stage = next(place for place, word in enumerate(stages) if word in name)
    systems = list(TRAINER.values())
    system = next((place for place, word in enumerate(systems) if name.startswith((f"{word} ", f"{word},"))), -1)
    return (10 * (1 + system) + stage, name)


def pairs(names: list[str]) -> list[tuple[str, str]]:
    """Return which features are compared: what the papers put in order, as far as it was measured."""
    wanted = [
        ("ViP, epsilon 8", "ViP model, synthetic initialisation"),
        ("ViP model, synthetic initialisation", "ViP model, random initialisation"),
        ("ViP, epsilon infinity", "ViP, epsilon 8"),
        ("DP-Cap, epsilon 8", "ViP, epsilon 8"),
        ("DP-Cap, epsilon 8", "DP-Cap model, synthetic initialisation"),
        ("DP-Cap, epsilon 8", "DP-Cap model, random initialisation"),
        ("DP-Cap, epsilon infinity", "DP-Cap, epsilon 8"),
        ("DP-Cap, epsilon infinity", "ViP, epsilon infinity"),
        ("DP-CLIP, epsilon 8", "DP-CLIP model, public pairs, epsilon 0"),
        ("DP-CLIP, epsilon 8", "ViP, epsilon 8"),
        ("DP-CLIP, epsilon infinity", "DP-CLIP, epsilon 8"),
        ("Logit-DP, epsilon 8", "Logit-DP model, random initialisation"),
        ("Logit-DP, epsilon infinity", "Logit-DP, epsilon 8"),
        ("ViP, epsilon 8", "raw pixels"),
    ]
    return [pair for pair in wanted if set(pair) <= set(names)]


def cell(values: list[float], *, signed: bool = False) -> str:
    """Return mean and 95 % interval over seeds; that of a share of 100 ends there.

    >>> cell([40.0, 42.0, 44.0])
    '42.0 (37.0 to 47.0)'
    """
    sign = "+" if signed else ""
    if len(values) < 2:
        return f"{values[0]:{sign}.1f} (one seed)"
    mean = over_seeds(values)
    low, high = (mean.low, mean.high) if signed else (max(0.0, mean.low), min(100.0, mean.high))
    return f"{mean.value:{sign}.1f} ({low:{sign}.1f} to {high:{sign}.1f})"


if __name__ == "__main__":
    sys.stdout.write(tables(Path(sys.argv[1])))
