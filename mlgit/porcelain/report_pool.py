"""Commits to be measured for reports, on any split: nothing that selects takes what is opened here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from mlgit.evaluation.evaluator import Evaluator
from mlgit.evaluation.score import Evaluate
from mlgit.merging.candidate import Candidate
from mlgit.objects import CommitId
from mlgit.porcelain.actor import ANYONE, Actor
from mlgit.porcelain.evaluate import choose_split
from mlgit.porcelain.judges import judges_of
from mlgit.porcelain.open_model import DEFAULT_RUNTIME, Runtime, open_named_task
from mlgit.porcelain.pool import fitting, open_members, statistics_differ
from mlgit.repository import Repository


@dataclass(frozen=True, slots=True, eq=False)
class ReportPool:
    """Models to be measured, on a split that selection may not see; nothing that selects takes one.

    Attributes:
        candidates: As in ``Pool``.
        evaluate: Scores weights on the split that was asked for.
        recomputes: As in ``Pool``.
    """

    candidates: tuple[Candidate, ...]
    evaluate: Evaluate
    recomputes: bool


def open_report(
    repository: Repository,
    ids: Sequence[CommitId],
    *,
    task: str,
    split: str,
    featurizers_only: bool = False,
    trial: int = 0,
    runtime: Runtime = DEFAULT_RUNTIME,
    actor: Actor = ANYONE,
) -> ReportPool:
    """Get commits ready to be measured, whatever they have seen: for reports, never for selection.

    Args:
        repository: Where.
        ids: The commits, sorted, each once; at least one.
        task: The task.
        split: Where to measure; see ``choose_split``.
        featurizers_only: As in ``open_pool``.
        trial: Number of the data split.
        runtime: Device and trust.
        actor: For a new linear probe's commit.

    Raises:
        IncompatibleWeightsError: Names, shapes or dtypes differ.
        InvalidInputError: The model cannot be run on the task, no such split, or the task has no test domain.
        NotFoundError: No such task.
    """
    manifests = fitting(repository, ids, featurizers_only)
    opened = open_named_task(repository, task, runtime)
    chosen = choose_split(opened, split, trial)
    members = open_members(repository, ids, manifests, opened, featurizers_only, trial, runtime, actor)
    anew = statistics_differ(manifests)
    classes = opened.num_classes if featurizers_only else None
    evaluator = partial(Evaluator, split=chosen)
    judges = judges_of(repository, opened, manifests[0], classes, anew, trial, runtime, evaluator)
    return ReportPool(members.candidates, judges.evaluate, anew)
