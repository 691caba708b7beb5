"""Hand-made results of recipes."""

from __future__ import annotations

from collections.abc import Sequence

from mlgit.objects import CommitId
from mlgit.recipes.recipe import Selection
from mlgit.recipes.results import Accuracy, Outcome, Run, Study


def a_run(number: int, correct: int, *, trial: int = 0, examples: int = 100, start: str | None = None) -> Run:
    return Run(
        number=number,
        trial=trial,
        branch=f"recipes/{trial}/{number}",
        commit=CommitId(f"{trial:032x}{number:032x}"),
        start=start,
        id_accuracy=0.5 + number / 100,
        test=Accuracy(correct, examples),
    )


def an_outcome(
    recipe: str,
    selection: Selection,
    correct: int,
    *,
    trial: int | None = 0,
    runs: Sequence[Run] = (),
    examples: int = 100,
    id_accuracy: float | None = 0.875,
    connectivity: str | None = None,
) -> Outcome:
    return Outcome(
        recipe=recipe,
        selection=selection,
        trial=trial,
        candidates=tuple(runs),
        members={run.commit: 1 / len(runs) for run in runs},
        commit=None,
        branch=None,
        id_accuracy=id_accuracy,
        test=Accuracy(correct, examples),
        connectivity=connectivity,
    )


def a_study(*outcomes: Outcome, task: str = "PACS", domain: str = "sketch", name: str = "main") -> Study:
    return Study(task=task, domain=domain, name=name, outcomes=outcomes)
