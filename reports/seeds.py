"""The same recipe trained several times: means over seeds, with intervals that cover what a seed draws anew."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dpaudit.metrics import over_seeds
from dpaudit.reports import numbers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dpaudit.results import AuditResult, Interval, ProbeResult

__all__ = ["Repeated", "repeated"]

#: what a recipe may differ in and still be the same one; besides, the file of its first weights
_OWN = ("name", "title", "seed")
_TRAINED = "trained"
_SAME = "raw pixels"  #: does not depend on the training: nothing to repeat within one audit


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """One score of several trainings of one recipe, or the difference of two scores on the same test records.

    features: "trained", "raw pixels", ..., or "trained - raw pixels". over: what was repeated, seeds or the targets of
    one audit; names: which. values: by them, in their order.
    """

    recipe: str
    probe: str
    metric: str
    features: str
    over: str
    names: tuple[str, ...]
    values: tuple[float, ...]

    @property
    def mean(self) -> Interval:
        """Return the mean with its 95 % interval over what was repeated."""
        return over_seeds(self.values)

    @property
    def mean_text(self) -> str:
        """Return the mean as a reader wants it; of a difference with its sign."""
        mean = self.mean.value
        return numbers.difference(mean, self.metric) if self.is_difference else numbers.score(mean, self.metric)

    @property
    def interval_text(self) -> str:
        """Return the limits of the mean as a reader wants them."""
        found = self.mean
        if not self.is_difference:
            return numbers.score_interval(found, self.metric)
        low, high = (numbers.difference(limit, self.metric) for limit in (found.low, found.high))
        return f"{low} to {high}"

    @property
    def is_difference(self) -> bool:
        """Return whether it is a difference, taken within each training."""
        return self.features.startswith(f"{_TRAINED} - ")

    @property
    def above_zero(self) -> int:
        """Return in how many trainings it is above 0."""
        return sum(value > 0 for value in self.values)

    def row(self) -> dict[str, object]:
        """Return it as a row of a table, unrounded."""
        found = self.mean
        facts: dict[str, object] = {name: getattr(self, name) for name in ("recipe", "probe", "metric", "features")}
        facts |= {"mean": found.value, "low": found.low, "high": found.high, "confidence": found.confidence}
        return facts | {"trainings": len(self.values), "over": self.over, "names": " ".join(self.names)}


def repeated(runs: Mapping[str, AuditResult]) -> list[Repeated]:
    """Return what several seeds of one recipe scored, by recipe and probe, and how far `trained` is above the rest.

    Recipes are the same if they differ in name, title, seed and file of first weights alone. Audits of one seed, and
    the targets of one audit, are averaged before: they share records. Of a recipe with a single seed the targets are
    what was repeated. Nothing is returned of what was trained once.
    """
    return [each for names in _same_recipe(runs) for each in _of_recipe({name: runs[name] for name in names})]


def _same_recipe(runs: Mapping[str, AuditResult]) -> list[list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for name, result in runs.items():
        groups[_without_own(result.recipe)].append(name)
    return list(groups.values())


def _without_own(recipe: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in recipe.items() if key not in _OWN}
    if isinstance(rest.get("start"), dict) and rest["start"].get("weights"):
        rest["start"] = rest["start"] | {"weights": "a file"}
    return json.dumps(rest, sort_keys=True, default=str)


def _of_recipe(runs: Mapping[str, AuditResult]) -> Iterator[Repeated]:
    seeds = {str(result.recipe["seed"]) for result in runs.values() if "seed" in result.recipe}
    over = "seeds" if len(seeds) > 1 else "targets"
    scores: dict[tuple[str, str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for result in runs.values() if over == "seeds" or len(runs) == 1 else ():
        for probe in result.probes:
            unit = str(result.recipe.get("seed")) if over == "seeds" else probe.run
            for features, value in _scores(probe):
                scores[probe.probe, probe.metric, features][unit].append(value)
    for (probe_name, metric, features), by_unit in scores.items():
        if len(by_unit) > 1 and not (over == "targets" and features == _SAME):
            yield Repeated(
                recipe=_common(list(runs)),
                probe=probe_name,
                metric=metric,
                features=features,
                over=over,
                names=tuple(by_unit),
                values=tuple(sum(values) / len(values) for values in by_unit.values()),
            )


def _scores(probe: ProbeResult) -> Iterator[tuple[str, float]]:
    """Yield every score of a probe, then how far the trained model is above each of the others."""
    found = {each.features: each.score.value for each in probe.measurements}
    yield from found.items()
    for features, value in found.items():
        if _TRAINED in found and features != _TRAINED:
            yield f"{_TRAINED} - {features}", found[_TRAINED] - value


def _common(names: Sequence[str]) -> str:
    """Return what names begin with alike, or the first of them.

    >>> _common(["vip-8-0", "vip-8-1"]), _common(["a", "b"])
    ('vip-8', 'a')
    """
    alike = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in alike).rstrip("-_/ =.") or names[0]
