"""The average behind ``mlgit merge``: opened, computed and measured, and what it takes to commit it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from mlgit.evaluation.score import Score
from mlgit.merging.connectivity import GRIDS, broken_path_error, check_pairs
from mlgit.merging.curve import Curve, overall
from mlgit.merging.strategy import Merged, MergeStrategy, make_strategy
from mlgit.objects import Commit, CommitId, JsonValue, Manifest, Parent, Role, Stage, TaskRef
from mlgit.porcelain.actor import ANYONE, Actor
from mlgit.porcelain.merge_plan import MergeOptions, Plan
from mlgit.porcelain.metrics import id_metrics
from mlgit.porcelain.model_layout import place_weights
from mlgit.porcelain.open_model import DEFAULT_RUNTIME, Runtime
from mlgit.porcelain.pool import Pool, open_pool
from mlgit.progress import Progress
from mlgit.repository import Repository
from mlgit.storage.transaction import Transaction
from mlgit.training.record import package_versions
from mlgit.weights.stored import StoredWeights


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Averaged:
    """A merge that is computed but not committed.

    Attributes:
        plan: What was asked for.
        pool: The candidates.
        merged: What the strategy made of them.
        weights: The final weights.
        curves: The paths that were measured.
        verdict: As in ``MergeResult``.
        made: The record of the merge.
        score: On the task's ID validation split, or None without a task.
    """

    plan: Plan
    pool: Pool
    merged: Merged
    weights: Mapping[str, torch.Tensor]
    curves: tuple[Curve, ...]
    verdict: str
    made: Mapping[str, JsonValue]
    score: Score | None

    def commit(
        self,
        repository: Repository,
        transaction: Transaction,
        layout: Manifest,
        base: CommitId | None,
        actor: Actor,
    ) -> tuple[CommitId, Commit]:
        """Store weights and commit.

        Args:
            repository: Where.
            transaction: Takes them.
            layout: The state whose files the weights go into.
            base: The commit that the merge goes on from, if any; it takes no part in the average.
            actor: Who and when.
        """
        manifest = place_weights(repository, transaction, self.weights, layout)
        commit = Commit(
            manifest=transaction.put_record(manifest),
            parents=_parents(base, self.pool, self.merged),
            stage=Stage.MERGE,
            task=None if self.pool.task is None else TaskRef(self.pool.task.name, self.pool.task.digest),
            made=self.made,
            metrics={} if self.score is None else id_metrics(self.score),
            author=actor.who(repository),
            time=actor.when(),
            message=self.plan.message,
        )
        return transaction.put_record(commit), commit

    def result(self, repository: Repository, commit_id: CommitId, commit: Commit) -> MergeResult:
        """Return what became of the merge, and remember what is known of its weights under their stored names."""
        self.pool.also_known_as(self.weights, StoredWeights(repository.objects, repository.manifest(commit.manifest)))
        members = {CommitId(label): coefficient for label, coefficient in self.merged.by_label.items()}
        notes = tuple(_notes(self.merged, self.pool))
        return MergeResult(commit_id, commit, members, self.curves, self.verdict, notes)


def open_candidates(
    repository: Repository,
    wanted: Plan,
    *,
    headers_only: bool = False,
    runtime: Runtime = DEFAULT_RUNTIME,
    actor: Actor = ANYONE,
) -> Pool:
    """Open the candidates of a merge, or only check that they fit together.

    Raises:
        IncompatibleWeightsError, InvalidInputError, NotFoundError: As ``open_pool``.
    """
    statistics = wanted.how.statistics
    return open_pool(
        repository,
        wanted.ids,
        task=wanted.task,
        featurizers_only=wanted.strategy.name == "fusing",
        recompute=None if statistics == "auto" else statistics == "recompute",
        trial=wanted.how.trial,
        runtime=runtime,
        headers_only=headers_only,
        actor=actor,
    )


def average(
    repository: Repository,
    wanted: Plan,
    *,
    runtime: Runtime = DEFAULT_RUNTIME,
    actor: Actor = ANYONE,
    progress: Progress | None = None,
) -> Averaged:
    """Open the candidates, average them and measure the paths between them; nothing is committed.

    Raises:
        CheckFailedError: A path between two members is violated.
        IncompatibleWeightsError, InvalidInputError: As ``open_candidates`` and the strategy.
    """
    how, lmc = wanted.how, wanted.lmc
    pool = open_candidates(repository, wanted, runtime=runtime, actor=actor)
    strategy = _finished(how, wanted.strategy, pool)
    merged = strategy.merge(pool.candidates, pool.evaluate)
    curves = _check_paths(pool, merged, lmc, how, strategy, progress)
    weights = pool.settle(merged.weights)
    score = None if pool.evaluate is None else pool.evaluate(weights)
    verdict = "unchecked" if lmc == "off" else overall(curves).value
    made = _made(merged, curves, lmc, verdict, how, pool)
    return Averaged(
        plan=wanted,
        pool=pool,
        merged=merged,
        weights=weights,
        curves=curves,
        verdict=verdict,
        made=made,
        score=score,
    )


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


def _parents(start: CommitId | None, pool: Pool, merged: Merged) -> tuple[Parent, ...]:
    base = () if start is None else (Parent(start, Role.BASE),)
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
