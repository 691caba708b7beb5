"""What recipes make of finished runs. Nothing here reads the test domain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlgit.errors import AlreadyExistsError, InvalidInputError
from mlgit.evaluation.score import ensemble, score
from mlgit.objects import CommitId, JsonValue
from mlgit.porcelain.actor import Actor
from mlgit.porcelain.branch import create_branch
from mlgit.porcelain.evaluate import predict_commits
from mlgit.porcelain.merge_onto import merge_onto
from mlgit.porcelain.merge_plan import MergeOptions
from mlgit.porcelain.open_model import Runtime
from mlgit.porcelain.probe import ProbeResult
from mlgit.porcelain.recipe_plan import RecipeOptions
from mlgit.progress import Progress
from mlgit.recipes.recipe import Recipe, Selection
from mlgit.repository import HEADS, Repository
from mlgit.tasks.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A run, or an average along it, that a recipe may use; as ``mlgit.recipes.results.Run`` without its test."""

    number: int
    trial: int
    branch: str
    commit: CommitId
    start: str | None
    id_accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A result before its final evaluation; as ``mlgit.recipes.results.Outcome`` without its test."""

    recipe: Recipe
    selection: Selection
    trial: int | None
    candidates: tuple[Candidate, ...]
    members: Mapping[CommitId, float]
    commit: CommitId | None = None
    branch: str | None = None
    id_accuracy: float | None = None
    connectivity: str | None = None


@dataclass(frozen=True, slots=True)
class Selector:
    """Makes the results of recipes.

    Attributes:
        repository: Where.
        task: The target.
        probe: Its linear probe.
        options: How.
        runtime: Device and trust.
        actor: Who and when.
        progress: Is told of pairs and models.
    """

    repository: Repository
    task: Task
    probe: ProbeResult
    options: RecipeOptions
    runtime: Runtime
    actor: Actor
    progress: Progress | None = field(default=None)

    def choose(self, recipe: Recipe, selection: Selection, candidates: Sequence[Candidate]) -> Chosen:
        """Make one result.

        Args:
            recipe: The recipe.
            selection: One of its selections.
            candidates: Its runs by number; for ``ALL_SPLITS`` those of all data splits; empty for a linear probe.

        Raises:
            InvalidInputError: No run has an accuracy that is a number.
            AlreadyExistsError: The branch of the result holds something else.
        """
        if recipe.family is None:
            return self._probe(recipe, selection)
        if recipe.ensemble:
            return self._ensemble(recipe, selection, candidates)
        if selection is Selection.BEST:
            return self._best(recipe, candidates)
        if selection is Selection.INTERPOLATED:
            return self._interpolated(recipe, candidates)
        return self._averaged(recipe, selection, candidates)

    def _probe(self, recipe: Recipe, selection: Selection) -> Chosen:
        branch = self._keep(self.probe.id, probe_branch(self.task, self.options, recipe))
        return Chosen(
            recipe=recipe,
            selection=selection,
            trial=self._trial,
            candidates=(),
            members={self.probe.id: 1.0},
            commit=self.probe.id,
            branch=branch,
            id_accuracy=self.probe.commit.metrics["id_accuracy"],
        )

    def _best(self, recipe: Recipe, candidates: Sequence[Candidate]) -> Chosen:
        winner = best_of(candidates)
        return Chosen(
            recipe=recipe,
            selection=Selection.BEST,
            trial=self._trial,
            candidates=tuple(candidates),
            members={winner.commit: 1.0},
            commit=winner.commit,
            branch=self._keep(winner.commit, self._branch(recipe, Selection.BEST, len(candidates))),
            id_accuracy=winner.id_accuracy,
        )

    def _ensemble(self, recipe: Recipe, selection: Selection, candidates: Sequence[Candidate]) -> Chosen:
        ids = [each.commit for each in candidates]
        split = self.task.validation(self._trial)
        found = predict_commits(self.repository, ids, split, self.task, runtime=self.runtime, progress=self.progress)
        return Chosen(
            recipe=recipe,
            selection=selection,
            trial=self._trial,
            candidates=tuple(candidates),
            members=dict.fromkeys(ids, 1 / len(ids)),
            id_accuracy=score(ensemble([found[each] for each in ids])).macro,
        )

    def _interpolated(self, recipe: Recipe, candidates: Sequence[Candidate]) -> Chosen:
        ends = [best_of(candidates).commit, self.probe.id]
        how = MergeOptions(
            strategy="wise",
            parameters={"pretrained": self.probe.id},
            lmc=path_mode(self.options, Selection.INTERPOLATED),
            trial=self._trial,
        )
        return self._merged(recipe, Selection.INTERPOLATED, candidates, ends, how, self.task.name)

    def _averaged(self, recipe: Recipe, selection: Selection, candidates: Sequence[Candidate]) -> Chosen:
        everywhere = selection is Selection.ALL_SPLITS  # then no image is unseen by all members: nothing is measured
        how = MergeOptions(
            strategy="greedy" if selection is Selection.GREEDY else "uniform",
            lmc=path_mode(self.options, selection),
            force=True,  # a broken path is a finding of the recipe, and its result says so
            trial=self._trial,
        )
        ids = [each.commit for each in candidates]
        return self._merged(recipe, selection, candidates, ids, how, None if everywhere else self.task.name)

    def _merged(
        self,
        recipe: Recipe,
        selection: Selection,
        candidates: Sequence[Candidate],
        ids: Sequence[CommitId],
        how: MergeOptions,
        task: str | None,
    ) -> Chosen:
        branch = self._branch(recipe, selection, len(candidates))
        facts: dict[str, JsonValue] = {
            "name": recipe.name,
            "selection": selection.value,
            "candidates": sorted(ids),
            "lmc": how.lmc,
        }
        commit_id = self._made_before(branch, facts)
        if commit_id is None:
            made = merge_onto(
                self.repository,
                ids,
                branch,
                f"{recipe.title.lower()}, {selection.value} of {len(candidates)} runs on {self.task.name}",
                task=task,
                options=how,
                made={"recipe": facts},
                runtime=self.runtime,
                actor=self.actor,
                progress=self.progress,
            )
            commit_id = CommitId(made.id or "")
        commit = self.repository.commit_of(commit_id)
        return Chosen(
            recipe=recipe,
            selection=selection,
            trial=None if selection is Selection.ALL_SPLITS else self._trial,
            candidates=tuple(candidates),
            members={each.id: each.coefficient for each in commit.parents if each.coefficient is not None},
            commit=commit_id,
            branch=branch,
            id_accuracy=commit.metrics.get("id_accuracy"),
            connectivity=None if selection is Selection.INTERPOLATED else _verdict(commit.made),
        )

    def _made_before(self, branch: str, facts: Mapping[str, JsonValue]) -> CommitId | None:
        found = self.repository.refs.read(HEADS + branch)
        if found is None:
            return None
        commit_id = CommitId(found)
        if self.repository.commit_of(commit_id).made.get("recipe") != facts:
            raise _taken(branch)
        return commit_id

    def _keep(self, commit_id: CommitId, branch: str) -> str:
        """Let a branch lead to a result that is a run."""
        found = self.repository.refs.read(HEADS + branch)
        if found is None:
            create_branch(self.repository, branch, commit_id, actor=self.actor)
        elif found != commit_id:
            raise _taken(branch)
        return branch

    def _branch(self, recipe: Recipe, selection: Selection, runs: int) -> str:
        return result_branch(self.task, self.options, recipe, selection, runs)

    @property
    def _trial(self) -> int:
        return self.options.training.trial


def probe_branch(task: Task, options: RecipeOptions, recipe: Recipe) -> str:
    """Return the branch of a linear probe as a result."""
    return f"{task.definition.branch_name}/{options.label(recipe.name)}"


def result_branch(task: Task, options: RecipeOptions, recipe: Recipe, selection: Selection, runs: int) -> str:
    """Return the branch of a result that is made of ``runs`` candidates."""
    what = options.label(f"{recipe.name}-{selection.value}", split=selection is not Selection.ALL_SPLITS)
    return f"{task.definition.branch_name}/{what}-{runs}"


def path_mode(options: RecipeOptions, selection: Selection) -> str:
    """Return which paths between members are measured; without data that all have left unseen, or for WiSE, none."""
    return options.lmc if selection in (Selection.UNIFORM, Selection.GREEDY) else "off"


def best_of(candidates: Sequence[Candidate]) -> Candidate:
    """Return the candidate with the highest ID validation accuracy, the first of equals.

    Raises:
        InvalidInputError: None has one that is a number.
    """
    usable = [each for each in candidates if not math.isnan(each.id_accuracy)]
    if not usable:
        raise InvalidInputError(
            f"none of {len(candidates)} runs has an accuracy that is a number",
            kind="no-usable-candidate",
            hint="look at the runs: their weights or their scores are NaN",
        )
    return max(usable, key=lambda each: each.id_accuracy)


def _verdict(made: Mapping[str, JsonValue]) -> str:
    lmc = made.get("lmc")
    return str(lmc.get("verdict", "unchecked")) if isinstance(lmc, Mapping) else "unchecked"


def _taken(branch: str) -> AlreadyExistsError:
    return AlreadyExistsError(
        f"branch '{branch}' holds something else than this result",
        kind="other-result",
        hint="give this study another `--name`, or delete the branch",
    )
