"""Make the designs that come with the package.

    python docs/designs.py

Their questions are those of `dpaudit plan --epsilon E --delta 1e-5` for common epsilons, and those of the built-in
recipes. About a quarter of an hour on one core; `--missing` makes only those
that the file does not hold. To be run again whenever the planner, a bound that it uses or a recipe changes.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpaudit.errors import InputError
from dpaudit.pipeline.aim import Aim
from dpaudit.pipeline.designs import certified_tests, made_plan
from dpaudit.pipeline.order import open_audit
from dpaudit.pipeline.promises import Stated, stated_promise
from dpaudit.pipeline.shipped import FILE, question
from dpaudit.pipeline.stages.plan import deciding_aims, promised

if TYPE_CHECKING:
    from collections.abc import Iterator

EPSILONS, DELTA, CANARIES, RUNS = (1, 2, 3, 4, 8, 10), 1e-5, (1_000, 10_000, 100_000), (1, 2, 4, 8)


def questions() -> Iterator[tuple[Aim, int, int]]:
    """Yield every question: aim, canaries, runs."""
    for epsilon in EPSILONS:
        promise = stated_promise(Stated(epsilon=epsilon, delta=DELTA))
        aim = Aim(promise=promise, attack="", methods=certified_tests(promise))
        yield from ((aim, canaries, runs) for canaries in CANARIES for runs in RUNS)
    for recipe in sorted(path.name for path in files("dpaudit.recipes").iterdir() if path.name.endswith(".yaml")):
        yield from of_recipe(recipe.removesuffix(".yaml"))


def of_recipe(name: str) -> Iterator[tuple[Aim, int, int]]:
    """Yield the questions of a built-in recipe: its own design, with other numbers of runs."""
    audit = open_audit(name).before_data()
    try:
        aims = deciding_aims(audit, promised(audit))
    except InputError as error:
        sys.stderr.write(f"{name}: left out, {error}\n")
        return
    own = audit.recipe.runs.count
    for aim, canaries in aims:
        yield from ((aim, canaries, runs) for runs in sorted({*RUNS, own, 2 * own}))


def main() -> None:
    """Write the file, design by design."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--missing", action="store_true", help="keep what the file holds")
    path = Path(str(files("dpaudit.pipeline") / FILE))
    known: dict[str, Any] = json.loads(path.read_text()) if parser.parse_args().missing and path.exists() else {}
    made: dict[str, Any] = {}
    for aim, canaries, runs in questions():
        key = question(aim, canaries, runs)
        if key in made:
            continue
        sys.stderr.write(f"{key}\n")
        if key not in known:
            plan = made_plan(aim, canaries, runs)
            known[key] = plan.model_dump(mode="json", exclude={"attack"}, exclude_defaults=True)
        made[key] = known[key]
    lines = (f"{json.dumps(key)}: {json.dumps(plan)}" for key, plan in made.items())
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
