"""What the last model of a private training shows of one record, by what the training began with.

    python docs/examples/worst_case_start.py runs

Annamalai and De Cristofaro 2024: the bound from the released model alone is far tighter if the first weights have
already fitted records of the same kind, since the others then hardly move them. Each line is one way to begin at one
learning rate: 80 trainings of worst-case-start.yaml, half of them with the canary, the score minus the canary's
loss. The bound uses every threshold at once (`auc-kl`), so none is chosen; trainings are independent, so it is
certified. The promise is epsilon 10.
"""

from __future__ import annotations

import sys
from pathlib import Path

import dpaudit
from dpaudit.calls.own_experiments import export_experiments
from dpaudit.calls.own_scores import Asked, bound_table
from dpaudit.metrics import auc
from dpaudit.references.experiments import read_experiments
from dpaudit.scores import LabelledScores

RECIPE = Path(__file__).with_name("worst-case-start.yaml")
RATES = (0.02, 0.2)
FITTED = (
    "start={pretrain: {data: {name: scenes, size: 4000, seed: 1, public: true}, batch_size: 128, steps: 600, "
    "optimizer: {name: adamw, learning_rate: 3.0e-3, schedule: {name: cosine, warmup: 15}}}}"
)
#: how a training begins -> settings of the recipe
BEGINNINGS = {"drawn anew": (), "fitted to public records": (FITTED,)}


def main(folder: Path) -> None:
    """Write one row per beginning and learning rate, as Markdown."""
    sys.stdout.write("| initial weights | learning rate | AUC | certified epsilon |\n|---|---|---|---|\n")
    for rate in RATES:
        for number, (name, first) in enumerate(BEGINNINGS.items()):
            settings = (*first, f"trainer.peak_learning_rate={rate}")
            rows = scores(folder / f"worst-case-start-{number}-{rate}", settings)
            area, asked = auc(rows), Asked(delta=1e-5, method="auc-kl", hypothesis="gaussian", independent_runs=True)
            (bound,) = bound_table(rows, asked)
            cell = f"{area.value:.3f} [{area.low:.3f}, {area.high:.3f}]"
            sys.stdout.write(f"| {name} | {rate} | {cell} | {bound.epsilon:.2f} |\n")
            sys.stdout.flush()


def scores(run: Path, settings: tuple[str, ...]) -> LabelledScores:
    """Return minus the canary's loss in every training, and whether it held the canary: one row each."""
    dpaudit.train(RECIPE, out=run, overrides=settings)  # makes the first weights, where they are fitted
    dpaudit.train_references(RECIPE, out=run, overrides=settings)
    kept = run.with_name(f"{run.name}-scores")
    export_experiments(run, kept, family="inputs", signal="loss")
    found = read_experiments(kept)
    return LabelledScores(scores=found.scores[:, 0, 0], member=found.keep[:, 0])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
