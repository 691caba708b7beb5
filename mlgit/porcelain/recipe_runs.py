"""Making the runs that recipes need: auxiliary ones first, then all on the target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mlgit.errors import AlreadyExistsError, InvalidInputError
from mlgit.objects import CommitId, JsonValue
from mlgit.porcelain.actor import Actor
from mlgit.porcelain.merge_onto import merge_onto
from mlgit.porcelain.merge_plan import MergeOptions
from mlgit.porcelain.open_model import Runtime
from mlgit.porcelain.recipe_plan import FusedStarts, RecipeOptions, RunPlanner, by_branch
from mlgit.porcelain.recipe_select import Candidate
from mlgit.porcelain.run_board import Board, Place, RunState, make_probes, raise_failed
from mlgit.porcelain.sweep_plan import PlannedRun, StartRule, run_seed
from mlgit.porcelain.train import TrainOptions
from mlgit.porcelain.train_onto import collected_branch
from mlgit.progress import Progress
from mlgit.recipes.recipe import Family, Recipe
from mlgit.recipes.results import Auxiliary
from mlgit.repository import HEADS, Repository
from mlgit.tasks.task import Task


@dataclass(frozen=True, slots=True)
class MadeRuns:
    """Finished runs.

    Attributes:
        repository: Where.
        trial: Number of the data split.
        states: All of them, in the order in which they were made.
        auxiliaries: Those on auxiliary tasks.
        families: Name of a family -> branches of its runs, by number.
    """

    repository: Repository
    trial: int
    states: tuple[RunState, ...]
    auxiliaries: tuple[Auxiliary, ...]
    families: Mapping[str, Sequence[str]]

    def candidates(self, recipe: Recipe) -> tuple[Candidate, ...]:
        """Return what a recipe averages or chooses from, by number of the run.

        Raises:
            InvalidInputError: A run did not keep the average that the recipe takes.
        """
        if recipe.family is None:
            return ()
        by_name = {state.run.branch: state for state in self.states}
        states = [by_name[branch] for branch in self.families[recipe.family]]
        return tuple(self._candidate(state, recipe.average) for state in states)

    def _candidate(self, state: RunState, average: str | None) -> Candidate:
        branch, commit_id, metrics = state.run.branch, state.commit, state.metrics
        if average is not None:
            branch = collected_branch(branch, average)
            commit_id = kept_average(self.repository, state, average)
            if commit_id is None:
                raise InvalidInputError(
                    f"branch '{branch}' does not hold the {average} average of '{state.run.branch}'",
                    kind="no-average",
                    hint="leave `--collect` as it is, and give this study another `--name`",
                )
            metrics = self.repository.commit_of(commit_id).metrics
        return Candidate(
            number=state.run.number,
            trial=self.trial,
            branch=branch,
            commit=CommitId(commit_id or ""),
            start=state.run.initialisation.auxiliary,
            id_accuracy=metrics["id_accuracy"],
        )


def kept_average(repository: Repository, state: RunState, average: str) -> CommitId | None:
    """Return the commit of an average that a finished run kept, or None."""
    found = repository.refs.read(HEADS + collected_branch(state.run.branch, average))
    if found is None or state.commit is None:
        return None
    commit_id = CommitId(found)
    same_run = repository.commit_of(commit_id).made.get("run") == repository.commit_of(state.commit).made.get("run")
    return commit_id if same_run else None


def _is_on(task: Task, run: PlannedRun) -> bool:
    return run.branch.startswith(f"{task.definition.branch_name}/")


@dataclass(frozen=True, slots=True)
class RecipeRuns:
    """Makes runs.

    Attributes:
        repository: Where.
        target: The target task.
        pretrained: Where everything begins.
        options: How.
        place: Where runs are computed.
        folder: For the logs.
        runtime: Device and trust.
        actor: Who and when.
        progress: Is told of probes.
        tell: Is told of each run that changes its state.
    """

    repository: Repository
    target: Task
    pretrained: CommitId
    options: RecipeOptions
    place: Place
    folder: Path
    runtime: Runtime
    actor: Actor
    progress: Progress | None = None
    tell: Callable[[RunState], None] | None = field(default=None)

    def make(self, tasks: Sequence[Task], families: Sequence[Family]) -> MadeRuns:
        """Make what is not made yet.

        Args:
            tasks: Auxiliary tasks.
            families: Families of runs on the target.

        Raises:
            JobFailedError: Runs failed at every attempt.
            AlreadyExistsError, ConflictError, InvalidInputError: As ``recipe``.
        """
        planned = [run for task in tasks for run in self._planner.auxiliary(task)]
        first = self._execute(planned, tasks, replace(self.options.training, trial=0))
        auxiliaries = self._auxiliaries(tasks, first)
        plans = {family.name: self._target(family, auxiliaries) for family in families}
        second = self._execute(list(by_branch(plans.values()).values()), [self.target], self.options.training)
        branches = {name: [run.branch for run in runs] for name, runs in plans.items()}
        return MadeRuns(self.repository, self.options.training.trial, (*first, *second), auxiliaries, branches)

    def outlook(self, tasks: Sequence[Task], families: Sequence[Family]) -> tuple[RunState, ...]:
        """Return where the runs stand; those whose starts are not made yet cannot be told and are left out."""
        planned = [run for task in tasks for run in self._planner.auxiliary(task)]
        first = Board(self.repository, planned, None).states()
        plans = []
        known = self._auxiliaries(tasks, first) if all(each.commit for each in first) else None
        for family in families:
            if family.starts == "pretrained" or (known is not None and family.starts != "fused"):
                starts = self._planner.starts(self.target, family, known or ())
                plans.append(self._planner.target(self.target, family, starts))
        return (*first, *Board(self.repository, list(by_branch(plans).values()), None).states())

    @property
    def _planner(self) -> RunPlanner:
        return RunPlanner(self.repository, self.pretrained, self.options, self.runtime, self.place.resources())

    def _execute(
        self, runs: Sequence[PlannedRun], tasks: Sequence[Task], training: TrainOptions
    ) -> tuple[RunState, ...]:
        executor = self.place.open(self.repository, self.folder / "logs")
        board = Board(self.repository, runs, self.tell)
        board.check_branches()
        for task in tasks:
            waiting = [run for run in board.waiting() if _is_on(task, run)]
            make_probes(self.repository, task, waiting, training, self.runtime, self.actor, self.progress)
        board.execute(executor, retries=self.place.retries)
        raise_failed(board.states())
        return board.states()

    def _auxiliaries(self, tasks: Sequence[Task], states: Sequence[RunState]) -> tuple[Auxiliary, ...]:
        return tuple(
            Auxiliary(
                task=task.name,
                number=state.run.number,
                commit=CommitId(state.commit or ""),
                average=kept_average(self.repository, state, "moving"),
            )
            for task in tasks
            for state in states
            if _is_on(task, state.run)
        )

    def _target(self, family: Family, auxiliaries: Sequence[Auxiliary]) -> tuple[PlannedRun, ...]:
        starts: StartRule
        if family.starts == "fused":
            starts = FusedStarts([self._mixture(auxiliaries, run) for run in range(self.options.runs)])
        else:
            starts = self._planner.starts(self.target, family, auxiliaries)
        return self._planner.target(self.target, family, starts)

    def _mixture(self, auxiliaries: Sequence[Auxiliary], run: int) -> CommitId:
        """Return the mixture that a run begins with; make it if it is not made yet."""
        sources = self._planner.sources_of_mixture(auxiliaries, run)
        seed = run_seed(self.target, self.options.training.on(self.target), run)
        branch = f"{self.target.definition.branch_name}/{self.options.label('fused-start')}-{run}"
        facts: dict[str, JsonValue] = {"name": "fusing", "sources": list(sources), "seed": seed}
        found = self.repository.refs.read(HEADS + branch)
        if found is not None and self.repository.commit_of(CommitId(found)).made.get("recipe") == facts:
            return CommitId(found)
        if found is not None:
            raise AlreadyExistsError(
                f"branch '{branch}' holds something else than the start of run {run}",
                kind="other-result",
                hint="give this study another `--name`, or delete the branch",
            )
        made = merge_onto(
            self.repository,
            sources,
            branch,
            f"mixture of featurizers for run {run} on {self.target.name}",
            options=MergeOptions(strategy="fusing", parameters={"seed": seed}, lmc="off"),
            made={"recipe": facts},
            runtime=self.runtime,
            actor=self.actor,
        )
        return CommitId(made.id or "")
