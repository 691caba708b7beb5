"""The figures on averages: how many runs, how many auxiliary tasks, which share of recycled runs, how diverse."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from mlgit.merging.diversity import PairDiversity, diversity
from mlgit.objects import CommitId, JsonValue
from mlgit.porcelain.figure_curves import place_name
from mlgit.porcelain.figure_laboratory import PLACES, Laboratory, Measured, Where
from mlgit.recipes.figure import Figure, Panel, Series, rank_correlation
from mlgit.recipes.figure_inputs import growing
from mlgit.recipes.results import Run

Steps = Sequence[tuple[float, tuple[Run, ...]]]
"""Places on the x axis, each with the runs that are averaged there."""
KINDS: Mapping[str, str] = {"same_start": "same start", "different_start": "different start"}
"""Kinds of pairs, and what figures call them."""
_Means = Mapping[str, Mapping[str, float | None]]


def runs_figure(laboratory: Laboratory, families: Mapping[str, Sequence[Run]]) -> Figure:
    """Return the accuracy of averages, and of ensembles, of the first 1, 2, … runs.

    Args:
        laboratory: Measures.
        families: What averages of them are called -> runs; at least one.
    """
    rows: dict[str, list[tuple[float, Measured]]] = {}
    for name, runs in families.items():
        rows[name] = _measured(laboratory, "runs", growing(runs), laboratory.measure_mean)
        members = [laboratory.predict(laboratory.model(run.commit)) for run in runs]
        rows[f"{name}, ensemble of the same runs"] = [
            (float(count), laboratory.measure_ensemble(members[:count])) for count in range(1, len(runs) + 1)
        ]
    return _figure(laboratory, "runs", "Averages of the first runs", "number of runs M", rows)


def steps_figure(laboratory: Laboratory, name: str, title: str, x_label: str, steps: Steps) -> Figure:
    """Return the accuracy of the average of the runs of each step.

    Args:
        laboratory: Measures.
        name: Of the figure.
        title: Above it.
        x_label: Below its axes.
        steps: At least one.
    """
    rows = {"uniform average": _measured(laboratory, name, steps, laboratory.measure_mean)}
    members: list[JsonValue] = [{"x": x, "commits": [run.commit for run in runs]} for x, runs in steps]
    return _figure(laboratory, name, title, x_label, rows, {"runs": len(steps[0][1]), "members": members})


def _measured(
    laboratory: Laboratory, name: str, steps: Steps, measure: Callable[[Sequence[CommitId]], Measured]
) -> list[tuple[float, Measured]]:
    found = []
    with laboratory.progress.task(f"measuring {name}", len(steps)) as bar:
        for x, runs in steps:
            found.append((x, measure([run.commit for run in runs])))
            bar.advance(1)
    return found


def _figure(
    laboratory: Laboratory,
    name: str,
    title: str,
    x_label: str,
    rows: Mapping[str, Sequence[tuple[float, Measured]]],
    facts: Mapping[str, JsonValue] | None = None,
) -> Figure:
    panels = tuple(
        Panel(
            title=place_name(laboratory, where),
            x_label=x_label,
            y_label="accuracy" if where == "test" else "accuracy, mean over the training domains",
            series=tuple(
                Series(
                    label=label,
                    x=tuple(x for x, _ in row),
                    y=tuple(found.accuracy(where) for _, found in row),
                    colour=colour,
                )
                for colour, (label, row) in enumerate(rows.items())
            ),
        )
        for where in PLACES
    )
    return Figure(name=name, title=title, panels=panels, facts=facts or {})


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two runs, what differs between them, and what their average gains."""

    runs: tuple[Run, Run]
    diversity: Mapping[Where, PairDiversity]
    single: tuple[Measured, Measured]
    average: Measured

    @property
    def kind(self) -> str:
        return "same_start" if self.runs[0].start == self.runs[1].start else "different_start"

    def gain(self, where: Where) -> float:
        first, second = (each.accuracy(where) for each in self.single)
        return self.average.accuracy(where) - (first + second) / 2

    def to_json(self) -> dict[str, JsonValue]:
        first, second = self.runs
        return {
            "commits": [first.commit, second.commit],
            "starts": [first.start, second.start],
            "same_start": self.kind == "same_start",
            **{
                where: {
                    "q_diversity": self.diversity[where].q,
                    "q_saturated": self.diversity[where].q_saturated,
                    "r_diversity": self.diversity[where].r,
                    "accuracies": [each.accuracy(where) for each in self.single],
                    "accuracy_of_average": self.average.accuracy(where),
                    "gain": self.gain(where),
                }
                for where in PLACES
            },
        }


def diversity_figure(laboratory: Laboratory, runs: Sequence[Run]) -> Figure:
    """Return diversity against the gain of averaging, for every pair of runs.

    Args:
        laboratory: Measures.
        runs: At least two, each commit once.
    """
    pairs = _pairs(laboratory, runs)
    drawn = [pair for pair in pairs if pair.diversity["test"].q is not None]
    means = {where: _means(pairs, where) for where in PLACES}
    spearman = {
        "all": _correlation(drawn),
        **{kind: _correlation([pair for pair in drawn if pair.kind == kind]) for kind in KINDS},
    }
    found = spearman["all"]
    panel = Panel(
        title=place_name(laboratory, "test") + ("" if found is None else f", rank correlation {found:.2f}"),
        x_label="q-diversity of the two",
        y_label="accuracy of their average - their mean accuracy",
        series=tuple(_points(drawn, kind, colour, means) for colour, kind in enumerate(KINDS)),
    )
    facts: dict[str, JsonValue] = {
        "pairs": [pair.to_json() for pair in pairs],
        "mean_diversity": {where: {kind: dict(means[where][kind]) for kind in KINDS} for where in PLACES},
        "spearman": dict(spearman),
    }
    title = "Pairs of runs: diversity and what their average gains"
    return Figure(name="diversity-gain", title=title, panels=(panel,), facts=facts)


def _pairs(laboratory: Laboratory, runs: Sequence[Run]) -> list[_Pair]:
    found = []
    single = {run.commit: laboratory.measure(laboratory.model(run.commit)) for run in runs}
    chosen = list(combinations(runs, 2))
    with laboratory.progress.task("measuring diversity-gain", len(chosen)) as bar:
        for a, b in chosen:
            both = (single[a.commit], single[b.commit])
            average = laboratory.measure_mean([a.commit, b.commit])
            found.append(_Pair((a, b), {where: _diversity(both, where) for where in PLACES}, both, average))
            bar.advance(1)
    return found


def _diversity(both: tuple[Measured, Measured], where: Where) -> PairDiversity:
    first, second = both
    return diversity({"0": first.on(where).correct, "1": second.on(where).correct}).pairs[0]


def _points(pairs: Sequence[_Pair], kind: str, colour: int, means: Mapping[Where, _Means]) -> Series:
    chosen = [pair for pair in pairs if pair.kind == kind]
    on_test, on_id = (means[where][kind]["q"] for where in PLACES)
    shown = ", ".join(
        f"{'-' if value is None else format(value, '.3f')} on {where}"
        for where, value in (("test", on_test), ("ID", on_id))
    )
    return Series(
        label=f"{KINDS[kind]} ({len(chosen)} pairs, mean q {shown})",
        x=tuple(float(pair.diversity["test"].q or 0) for pair in chosen),
        y=tuple(pair.gain("test") for pair in chosen),
        style="points",
        colour=colour,
    )


def _means(pairs: Sequence[_Pair], where: Where) -> _Means:
    """Return the mean diversity of pairs of each kind, over those where it is defined."""
    return {
        kind: {
            "q": _mean([pair.diversity[where].q for pair in pairs if pair.kind == kind]),
            "r": _mean([pair.diversity[where].r for pair in pairs if pair.kind == kind]),
        }
        for kind in KINDS
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _correlation(pairs: Sequence[_Pair]) -> float | None:
    return rank_correlation(
        [float(pair.diversity["test"].q or 0) for pair in pairs], [pair.gain("test") for pair in pairs]
    )
