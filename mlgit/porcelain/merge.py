"""``mlgit merge``: average models after checking that the paths between them hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch

from mlgit.errors import ConflictError, InvalidInputError
from mlgit.evaluation.score import Score
from mlgit.merging.connectivity import GRIDS, broken_path_error, check_pairs
from mlgit.merging.criterion import Criterion, Definition
from mlgit.merging.curve import Curve, overall
from mlgit.merging.strategy import Merged, MergeStrategy, make_strategy
from mlgit.objects import Commit, CommitId, JsonValue, Manifest, Parent, Role, Stage, TaskRef
from mlgit.porcelain.actor import ANYONE, Actor, check_text
from mlgit.porcelain.metrics import id_metrics
from mlgit.porcelain.model_layout import head_layout, place_weights
from mlgit.porcelain.open_model import DEFAULT_RUNTIME, Runtime, find_definition
from mlgit.porcelain.pool import Pool, open_pool
from mlgit.porcelain.status import status
from mlgit.porcelain.switch import replace_working_files
from mlgit.porcelain.train import check_weights_committed
from mlgit.progress import Progress
from mlgit.repository import Repository
from mlgit.training.record import package_versions
from mlgit.weights.stored import StoredWeights

LMC_MODES = ("off", *GRIDS)
STATISTICS = ("auto", "require-equal", "average", "first", "recompute")


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeOptions:
    """How models are merged.

    Attributes:
        strategy: A row of ``MERGE_STRATEGIES``.
        parameters: The strategy's fields -> values.
        statistics: What becomes of batch-norm statistics that differ: ``require-equal`` refuses, ``average`` and
            ``first`` do what they say, ``recompute`` measures them anew on the task's training data. ``auto`` does that
            when a task is given, and refuses otherwise.
        lmc: ``off``, ``chord`` (the midpoint of every pair) or ``full`` (eleven points); None: ``chord`` where a task
            is given and the strategy yields a model that predicts, ``off`` otherwise.
        criterion: When a path counts as connected.
        force: Merge although a path is violated; the record says so.
        trial: Number of the data split whose ID validation part selects and judges.
    """

    strategy: str = "uniform"
    parameters: Mapping[str, JsonValue] | None = None
    statistics: str = "auto"
    lmc: str | None = None
    criterion: Criterion = field(default_factory=Criterion)
    force: bool = False
    trial: int = 0


def criterion(tolerance: float | None = None, definition: str = "ratatouille") -> Criterion:
    """Return when a path counts as connected.

    Args:
        tolerance: Accepted drop, 0 to 1; None: a paired test decides (``ratatouille``), or 0.02 (the others).
        definition: ``ratatouille``, ``frankle-mean`` or ``frankle-worst``.

    Raises:
        InvalidInputError: Values out of range.
    """
    return Criterion(definition=cast("Definition", definition), tolerance=tolerance)  # checked by Criterion itself


@dataclass(frozen=True, slots=True)
class MergeResult:
    """A merge.

    Attributes:
        id: The new commit, or None after a dry run.
        commit: It, or None.
        members: Coefficient of each candidate, by commit; 0.0 means left out. Empty after a dry run.
        curves: The paths that were measured.
        verdict: ``holds``, ``undecided``, ``violated`` (forced) or ``unchecked``.
        notes: What else the user should know.
    """

    id: CommitId | None
    commit: Commit | None
    members: Mapping[CommitId, float]
    curves: tuple[Curve, ...]
    verdict: str
    notes: tuple[str, ...]


def merge(
    repository: Repository,
    revisions: Sequence[str],
    message: str,
    *,
    task: str | None = None,
    options: MergeOptions | None = None,
    dry_run: bool = False,
    runtime: Runtime = DEFAULT_RUNTIME,
    actor: Actor = ANYONE,
    progress: Progress | None = None,
) -> MergeResult:
    """Average the named commits and advance the current branch to the result.

    Everything that can be checked without reading a tensor is checked first. HEAD becomes the first parent with role
    ``base`` and takes no part in the average unless it is named.

    Args:
        repository: Where.
        revisions: Revisions and globs of branches; at least one commit, each counts once.
        message: Why.
        task: The task whose ID validation split selects and judges; None: no data are looked at.
        options: How.
        dry_run: Check names, shapes and options only; nothing is read or written.
        runtime: Device and trust.
        actor: Who and when.
        progress: Is told of pairs.

    Raises:
        CheckFailedError: A path between two members is violated; nothing was written.
        InvalidInputError: Unknown parameters, or a strategy that needs a task.
        IncompatibleWeightsError: Models that do not fit together.
        NotFoundError: No such revision, strategy or task.
        ConflictError: Uncommitted changes are in the way, or the branch moved.
    """
    how = options or MergeOptions()
    if not message.strip():
        raise InvalidInputError("a merge needs a message", kind="no-message", hint='give one with `-m "…"`')
    check_text(message, "the message")
    strategy = _strategy(how)
    lmc = _lmc_mode(how, strategy, task)
    ids = tuple(sorted(repository.resolve_many(revisions)))
    if task is not None:
        find_definition(repository, task)
    if not dry_run:
        _check_clean(repository, repository.manifest_of(ids[0]))
    pool = open_pool(
        repository,
        ids,
        task=task,
        featurizers_only=strategy.name == "fusing",
        recompute=None if how.statistics == "auto" else how.statistics == "recompute",
        trial=how.trial,
        runtime=runtime,
        headers_only=dry_run,
        actor=actor,
    )
    if dry_run:
        return MergeResult(None, None, {}, (), "unchecked", ())
    strategy = _finished(how, strategy, pool)
    merged = strategy.merge(pool.candidates, pool.evaluate)
    curves = _check_paths(pool, merged, lmc, how, strategy, progress)
    weights = pool.settle(merged.weights)
    score = None if pool.evaluate is None else pool.evaluate(weights)
    verdict = "unchecked" if lmc == "off" else overall(curves).value
    made = _made(merged, curves, lmc, verdict, how, pool)
    commit_id, commit = _write(repository, pool, merged, weights, made, score, message, actor, progress)
    pool.also_known_as(weights, StoredWeights(repository.objects, repository.manifest(commit.manifest)))
    members = {CommitId(label): coefficient for label, coefficient in merged.by_label.items()}
    return MergeResult(commit_id, commit, members, curves, verdict, tuple(_notes(merged, pool)))


def _strategy(how: MergeOptions) -> MergeStrategy:
    if how.statistics not in STATISTICS:
        raise InvalidInputError(
            f"'{how.statistics}' is no way to treat batch-norm statistics",
            kind="bad-statistics",
            hint="use " + ", ".join(STATISTICS),
        )
    return make_strategy(how.strategy, how.parameters)


def _lmc_mode(how: MergeOptions, strategy: MergeStrategy, task: str | None) -> str:
    """Return which paths are to be measured; refuse what cannot be done without data."""
    lmc = how.lmc or ("off" if task is None or strategy.name == "fusing" else "chord")
    if lmc not in LMC_MODES:
        raise InvalidInputError(f"'{lmc}' is no way to check paths", kind="bad-lmc-mode", hint="use off, chord or full")
    wants = [
        name
        for name, asked in (
            (f"`--lmc {lmc}`", lmc != "off"),
            (f"`--strategy {strategy.name}`", strategy.needs_evaluation),
            ("`--statistics recompute`", how.statistics == "recompute"),
        )
        if asked
    ]
    if wants and task is None:
        raise InvalidInputError(
            f"{wants[0]} needs data to measure on", kind="needs-evaluation", hint="name the task with `--task`"
        )
    return lmc


def _finished(how: MergeOptions, strategy: MergeStrategy, pool: Pool) -> MergeStrategy:
    """Return the strategy with what the pool decides: how to treat statistics, and where a fused model's head is."""
    known: dict[str, JsonValue] = {"statistics": _rule(how, pool)}
    if strategy.name == "fusing":
        known |= {"head": pool.head, "head_from": pool.candidates[0].label}
    return make_strategy(strategy.name, {**strategy.parameters(), **known, **(how.parameters or {})})


def _rule(how: MergeOptions, pool: Pool) -> str:
    if pool.recomputes:
        return "first"  # of no consequence: they are measured anew
    return "require-equal" if how.statistics == "auto" else how.statistics


def _check_paths(
    pool: Pool, merged: Merged, lmc: str, how: MergeOptions, strategy: MergeStrategy, progress: Progress | None
) -> tuple[Curve, ...]:
    """Measure the paths between the members that were taken; raise when one is violated."""
    if lmc == "off" or pool.evaluate is None:
        return ()
    members = [candidate for candidate in pool.candidates if merged.by_label[candidate.label] != 0]
    curves = check_pairs(
        members,
        pool.evaluate,
        grid=GRIDS[lmc],
        criterion=how.criterion,
        statistics=strategy.statistics,
        progress=progress,
    )
    broken = broken_path_error(curves)
    if broken is not None and not how.force:
        raise broken
    return curves


def _made(
    merged: Merged, curves: Sequence[Curve], lmc: str, verdict: str, how: MergeOptions, pool: Pool
) -> dict[str, JsonValue]:
    """Return the record of the merge; the same for every order of arguments."""
    return {
        **merged.record,
        "command": "merge",
        "statistics": "recompute" if pool.recomputes else _rule(how, pool),
        "trial": how.trial if pool.task is not None else None,
        "lmc": {
            "mode": lmc,
            "verdict": verdict,
            "forced": how.force and verdict == "violated",
            "curves": [curve.to_json() for curve in curves],
        },
        "packages": package_versions(),
    }


def _write(
    repository: Repository,
    pool: Pool,
    merged: Merged,
    weights: Mapping[str, torch.Tensor],
    made: Mapping[str, JsonValue],
    score: Score | None,
    message: str,
    actor: Actor,
    progress: Progress | None,
) -> tuple[CommitId, Commit]:
    """Store the merge, bring it into the working directory and advance the branch, in this order."""
    with repository.lock():
        head = repository.head
        layout = _layout(repository, pool, weights)
        with repository.objects.sharing_bases(), repository.transaction() as transaction:
            manifest = place_weights(repository, transaction, weights, layout)
            commit = Commit(
                manifest=transaction.put_record(manifest),
                parents=_parents(head, pool, merged),
                stage=Stage.MERGE,
                task=None if pool.task is None else TaskRef(pool.task.name, pool.task.digest),
                made=made,
                metrics={} if score is None else id_metrics(score),
                author=actor.who(repository),
                time=actor.when(),
                message=message,
            )
            commit_id = transaction.put_record(commit)

        def advance() -> None:
            repository.advance(
                commit_id, expected=head, who=commit.author, when=commit.time, reason=f"merge: {commit.subject}"
            )

        replace_working_files(repository, commit_id, then=advance, progress=progress)
    return commit_id, commit


def _layout(repository: Repository, pool: Pool, weights: Mapping[str, torch.Tensor]) -> Manifest:
    """Return the files to put the merged weights into: HEAD's, unless it holds another model."""
    first = pool.manifests[0]
    current = head_layout(repository, first)
    return current if _same_model(current, first) and set(current.tensors) == set(weights) else first


def _same_model(a: Manifest, b: Manifest) -> bool:
    return (a.factory, a.head) == (b.factory, b.head) and a.tensors.keys() == b.tensors.keys()


def _check_clean(repository: Repository, first: Manifest) -> None:
    """Refuse before anything is measured what could not be checked out at the end."""
    check_weights_committed(repository)
    changes = status(repository).changes
    if changes and not _same_model(head_layout(repository, first), first):
        raise ConflictError(
            f"the merge is of another model than HEAD and would replace '{changes[0].path}', which is not committed",
            kind="uncommitted-changes",
            hint="commit with `mlgit commit`, or give the changes up with `mlgit restore .`",
        )


def _parents(head: CommitId | None, pool: Pool, merged: Merged) -> tuple[Parent, ...]:
    base = () if head is None else (Parent(head, Role.BASE),)
    members = tuple(
        Parent(CommitId(candidate.label), Role.MERGE, merged.by_label[candidate.label])
        for candidate in pool.candidates
        if merged.by_label[candidate.label] != 0
    )
    return (*base, *members, *(() if pool.head_source is None else (Parent(pool.head_source, Role.HEAD),)))


def _notes(merged: Merged, pool: Pool) -> list[str]:
    notes = merged.record.get("notes", ())
    found = [str(note) for note in notes] if isinstance(notes, Sequence) and not isinstance(notes, str) else []
    if pool.recomputes:
        return [
            "batch-norm statistics were measured anew on the task's training data, because those of the models differ"
        ]
    return found
