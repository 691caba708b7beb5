"""The figures on linear mode connectivity: hypotheses 1 and 2 of Ramé et al. 2023, arXiv:2212.10445."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlgit.merging.candidate import Candidate
from mlgit.merging.connectivity import lmc
from mlgit.merging.curve import Curve
from mlgit.objects import CommitId, JsonValue
from mlgit.porcelain.figure_laboratory import PLACES, Laboratory, Where
from mlgit.recipes.figure import Figure, Panel, Series
from mlgit.recipes.figure_inputs import PRETRAINED, first_of_each_start, first_of_each_task, pairs
from mlgit.recipes.results import Auxiliary, Run


@dataclass(frozen=True, slots=True)
class _End:
    """One end of a path: what people call it, its commit, and the commit whose classifier it gets, if not its own."""

    name: str
    commit: CommitId
    head: CommitId | None = None


@dataclass(frozen=True, slots=True)
class _Path:
    names: tuple[str, str]
    curves: dict[Where, Curve]


def auxiliary_curves(laboratory: Laboratory, auxiliaries: Sequence[Auxiliary], probe: CommitId, most: int) -> Figure:
    """Return the paths between featurizers of different auxiliary tasks, with the target's linear probe as classifier.

    Args:
        laboratory: Measures.
        auxiliaries: Runs on auxiliary tasks; of each task the first counts.
        probe: The linear probe: the pretrained featurizer with the classifier that all get.
        most: How many paths at most.
    """
    ends = [_End(each.task, each.commit, probe) for each in first_of_each_task(auxiliaries)]
    return _figure(
        laboratory,
        "lmc-auxiliary",
        "Hypothesis 1: featurizers of different auxiliary tasks, one linear probe, no training on the target",
        pairs([*ends, _End(PRETRAINED, probe)], most),
    )


def target_curves(laboratory: Laboratory, runs: Sequence[Run], most: int) -> Figure:
    """Return the paths between runs on the target that began at different auxiliary tasks.

    Args:
        laboratory: Measures.
        runs: Runs on the target; of each start the first counts.
        most: How many paths at most.
    """
    ends = [_End(run.start or PRETRAINED, run.commit) for run in first_of_each_start(runs)]
    return _figure(
        laboratory,
        "lmc-target",
        "Hypothesis 2: fine-tunings on the target that began at different auxiliary tasks",
        pairs(ends, most),
    )


def _figure(laboratory: Laboratory, name: str, title: str, ends: Sequence[tuple[_End, _End]]) -> Figure:
    paths = []
    with laboratory.progress.task(f"measuring {name}", len(ends)) as bar:
        for first, second in ends:
            paths.append(_path(laboratory, first, second))
            bar.advance(1, f"{first.name} to {second.name}")
    facts: list[JsonValue] = [
        {**path.curves[where].to_json(), "names": list(path.names), "split": where}
        for path in paths
        for where in PLACES
    ]
    panels = tuple(_panel(laboratory, paths, where) for where in PLACES)
    return Figure(name=name, title=title, panels=panels, facts={"curves": facts})


def _path(laboratory: Laboratory, first: _End, second: _End) -> _Path:
    anew = laboratory.statistics_differ([first.commit, second.commit])
    a, b = (
        Candidate(
            end.commit,
            laboratory.model(end.commit) if end.head is None else laboratory.with_head(end.commit, end.head),
        )
        for end in (first, second)
    )
    curves = {
        where: lmc(a, b, laboratory.evaluate(where, anew=anew), statistics="first" if anew else "require-equal")
        for where in PLACES
    }
    return _Path((first.name, second.name), curves)


def _panel(laboratory: Laboratory, paths: Sequence[_Path], where: Where) -> Panel:
    series = []
    for colour, path in enumerate(paths):
        curve = path.curves[where]
        places = tuple(point.lam for point in curve.points)
        first, second = path.names
        series += [
            Series(
                label=f"{first} to {second}: {curve.verdict.value}",
                x=places,
                y=tuple(point.accuracy for point in curve.points),
                colour=colour,
            ),
            Series(
                label="", x=places, y=tuple(point.chord for point in curve.points), style="reference", colour=colour
            ),
        ]
    examples = paths[0].curves[where].examples
    return Panel(
        title=f"{place_name(laboratory, where)} ({examples} examples)",
        x_label="λ (share of the second model)",
        y_label="accuracy of all examples",
        series=tuple(series),
    )


def place_name(laboratory: Laboratory, where: Where) -> str:
    """Return what figures call one of the two places."""
    return f"test domain {laboratory.task.test_domain}" if where == "test" else "ID validation"
