"""What a model must not have seen: rules on recorded ancestry, never on names (Ramé et al. 2023, arXiv:2212.10445)."""

from __future__ import annotations

from collections.abc import Iterator

from mlgit.errors import InvalidInputError
from mlgit.history.lineage import weight_ancestors
from mlgit.objects import Commit, CommitId, Stage
from mlgit.repository import Repository
from mlgit.tasks.task import Task


def check_test_domain_unseen(repository: Repository, task: Task, commit_id: CommitId, *, own_head: bool = True) -> None:
    """Refuse a model that trained on the same data as another task: it may know the test domain.

    Args:
        repository: Where.
        task: The task with the test domain; without one, everything is allowed.
        commit_id: The model.
        own_head: Whether its classifier is used; a linear probe gives nothing else.

    Raises:
        InvalidInputError: One of the commits its weights come from trained there.
    """
    if task.test_domain is None:
        return
    for ancestor, commit in _trained(repository, commit_id, probes=own_head):
        if commit.task is not None and commit.task.digest != task.digest and _data(commit) == task.data_digest:
            raise InvalidInputError(
                f"{commit_id.short} descends from {ancestor.short}, which trained on the data of task '{task.name}' "
                f"as task '{commit.task.name}' and may have seen its test domain '{task.test_domain}'",
                kind="trained-on-test-domain",
                hint="use a commit that did not, such as the pretrained one",
            )


def check_split(repository: Repository, task: Task, commit_id: CommitId, trial: int) -> None:
    """Refuse a model that another data split of the task trained: it has seen validation examples of this one.

    Raises:
        InvalidInputError: One of the commits its weights come from did.
    """
    for ancestor, commit in _trained(repository, commit_id, probes=True):
        recorded = commit.made.get("trial", 0)
        if commit.task is not None and commit.task.digest == task.digest and recorded != trial:
            raise InvalidInputError(
                f"{commit_id.short}{_through(commit_id, ancestor)} was trained on data split {recorded}: "
                f"it has seen validation examples of split {trial}",
                kind="other-split",
                hint=f"use `--trial {recorded}`, or merge uniformly without `--task`",
            )


def check_auxiliary(repository: Repository, task: Task, commit_id: CommitId) -> None:
    """Refuse a model as auxiliary for a task it was trained on.

    Raises:
        InvalidInputError: One of the commits its weights come from was.
    """
    for ancestor, commit in _trained(repository, commit_id, probes=False):
        if commit.task is not None and commit.task.digest == task.digest:
            raise InvalidInputError(
                f"{commit_id.short}{_through(commit_id, ancestor)} was trained on task '{task.name}' itself "
                "and is no auxiliary for it",
                kind="auxiliary-is-target",
                hint="leave it out, or average such models with `--strategy uniform` or `greedy`",
            )


def is_recycled(repository: Repository, start: CommitId) -> bool:
    """Say whether the featurizer of ``start`` comes from more than pretraining."""
    stages = {commit.stage for _, commit in weight_ancestors(repository.commit_of, start)}
    return bool(stages & {Stage.AUXILIARY, Stage.TARGET, Stage.MERGE})


def _trained(repository: Repository, commit_id: CommitId, *, probes: bool) -> Iterator[tuple[CommitId, Commit]]:
    """Yield the weight ancestors that were trained; a merge is as innocent as its members."""
    passed_over = {Stage.MERGE} if probes else {Stage.MERGE, Stage.PROBE}
    for ancestor, commit in weight_ancestors(repository.commit_of, commit_id):
        if commit.task is not None and commit.stage not in passed_over:
            yield ancestor, commit


def _data(commit: Commit) -> object:
    return commit.made.get("data_digest")


def _through(commit_id: CommitId, ancestor: CommitId) -> str:
    return "" if ancestor == commit_id else f" descends from {ancestor.short}, which"
