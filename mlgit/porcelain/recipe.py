"""``mlgit recipe``: the paper's strategies by name, from pretrained weights to a result on the test domain.

First all runs are made, then results are selected, and only then the test domain is read, once for everything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from mlgit.errors import InvalidInputError
from mlgit.evaluation.score import Predictions, ensemble, score
from mlgit.objects import CommitId
from mlgit.porcelain.actor import ANYONE, Actor
from mlgit.porcelain.evaluate import predict_commits
from mlgit.porcelain.open_model import DEFAULT_RUNTIME, Runtime, open_named_task
from mlgit.porcelain.probe import pretrained_commit, shared_probe
from mlgit.porcelain.recipe_checks import Branches
from mlgit.porcelain.recipe_plan import COLLECTED, RecipeOptions, check_data, check_needs, families_of
from mlgit.porcelain.recipe_results import read_study, study_folder, studying, write_study
from mlgit.porcelain.recipe_runs import RecipeRuns
from mlgit.porcelain.recipe_select import Candidate, Chosen, Selector
from mlgit.porcelain.run_board import Place, RunState, raise_failed
from mlgit.porcelain.sweep_state import sweep_folder, sweeping
from mlgit.porcelain.task_names import base_name
from mlgit.porcelain.train import TrainOptions
from mlgit.progress import Progress
from mlgit.recipes.recipe import Recipe, Selection
from mlgit.recipes.registry import RECIPES, find_recipes
from mlgit.recipes.results import Accuracy, Outcome, Run, Study
from mlgit.repository import Repository
from mlgit.tasks.task import Task

__all__ = ["COLLECTED", "RECIPES", "Place", "RecipeOptions", "RecipeResult", "RunState", "TrainOptions", "recipe"]


@dataclass(frozen=True, slots=True)
class RecipeResult:
    """What recipes came to.

    Attributes:
        study: All results so far; empty after a dry run.
        outcomes: Those of the recipes that were asked for.
        runs: The runs that they need, in the order in which they are made; in a dry run only those whose starts exist.
        skipped: Recipe and selection -> why it has no result.
    """

    study: Study
    outcomes: tuple[Outcome, ...]
    runs: tuple[RunState, ...]
    skipped: Mapping[tuple[str, Selection], str]


def recipe(
    repository: Repository,
    names: Sequence[str],
    task: str,
    options: RecipeOptions,
    *,
    place: Place | None = None,
    dry_run: bool = False,
    runtime: Runtime = DEFAULT_RUNTIME,
    actor: Actor = ANYONE,
    progress: Progress | None = None,
    tell: Callable[[RunState], None] | None = None,
) -> RecipeResult:
    """Make the results of recipes, and the runs they need that are not made yet.

    Every run and every average is a commit on a branch of its own, by which it is found again: whenever this ends, the
    same call goes on. Recipes share runs, also those of earlier calls.

    Args:
        repository: Where; working files and HEAD are not touched.
        names: Names of recipes, or ``all``: those that need no auxiliary task where none is given.
        task: The target task.
        options: How.
        place: Where runs are computed.
        dry_run: Only plan.
        runtime: Device and trust.
        actor: Who and when.
        progress: Is told of probes, paths and evaluations.
        tell: Is told of each run that changes its state.

    Returns:
        The results.

    Raises:
        InvalidInputError: Options that cannot be used, a task without a test domain, or an auxiliary task that is the
            target itself.
        NotFoundError: No such recipe, revision, task, domain or executor.
        AlreadyExistsError: The name of a branch is taken.
        ConflictError: A branch holds the run of other options, or the study is in progress.
        JobFailedError: Runs failed at every attempt; nothing was evaluated on the test domain.
    """
    recipes = _fitting(find_recipes(names), options, everything="all" in names)
    target = _open_target(repository, task, options, runtime, progress)
    pretrained = pretrained_commit(repository, repository.resolve(options.start))
    auxiliaries = [open_named_task(repository, name, runtime, progress) for name in sorted(options.auxiliaries)]
    for each in auxiliaries:
        check_data(target, each)
    where = place or Place()
    domain = target.test_domain or ""
    folder = study_folder(repository, base_name(target.name), domain, options.name)
    empty = Study(task=base_name(target.name), domain=domain, name=options.name)
    runs = RecipeRuns(repository, target, pretrained, options, where, folder, runtime, actor, progress, tell)
    families = families_of(recipes)
    recycled = auxiliaries if any(family.needs_auxiliaries for family in families) else []
    where.open(repository, folder)  # an executor that cannot be is refused now
    outlook = runs.outlook(recycled, families)
    Branches(repository, target, recycled, options).check(recipes)
    study = read_study(folder) or empty
    if dry_run:
        return RecipeResult(study, (), outlook, {})
    with ExitStack() as held:
        held.enter_context(studying(folder))
        study = read_study(folder) or empty  # another process may have added to it until now
        for each in recycled:
            held.enter_context(sweeping(sweep_folder(repository, each.name, options.label("aux", split=False))))
        probe = shared_probe(
            repository,
            target,
            pretrained,
            hyper=options.training.on(target).probe_hyper,
            trial=options.training.trial,
            runtime=runtime,
            actor=actor,
            progress=progress,
        )
        made = runs.make(recycled, families)
        raise_failed(made.states)
        selector = Selector(repository, target, probe, options, runtime, actor, progress)
        chosen, skipped = _select(selector, recipes, made.candidates, study)
        outcomes = _final_evaluation(repository, target, chosen, runtime, progress)
        study = study.with_results(outcomes, made.auxiliaries)
        write_study(folder, study)
    return RecipeResult(study, outcomes, made.states, skipped)


def _fitting(recipes: Sequence[Recipe], options: RecipeOptions, *, everything: bool) -> tuple[Recipe, ...]:
    """Return the recipes that can be made; refuse those that were named and lack something."""
    fitting = []
    for each in recipes:
        try:
            check_needs(each, options)
        except InvalidInputError:
            if not everything:
                raise
            continue
        fitting.append(each)
    return tuple(fitting)


def _open_target(
    repository: Repository, task: str, options: RecipeOptions, runtime: Runtime, progress: Progress | None
) -> Task:
    name = task if options.domain is None else f"{base_name(task)}@{options.domain}"
    target = open_named_task(repository, name, runtime, progress)
    if target.test_domain is None:
        raise InvalidInputError(
            f"task '{task}' has no test domain, which recipes are judged by",
            kind="no-test-domain",
            hint=f"name one with `--test-domain`: {', '.join(target.domains)}",
        )
    return target


def _select(
    selector: Selector, recipes: Sequence[Recipe], candidates: Callable[[Recipe], tuple[Candidate, ...]], study: Study
) -> tuple[list[Chosen], dict[tuple[str, Selection], str]]:
    """Make all results; nothing of the test domain is read."""
    chosen: list[Chosen] = []
    skipped: dict[tuple[str, Selection], str] = {}
    for each in recipes:
        own = candidates(each)
        for selection in each.selections:
            pool = own
            if selection is Selection.ALL_SPLITS:
                pool = (*_of_other_splits(study, each, selector.options), *own)
                pool = tuple(sorted(pool, key=lambda run: (run.trial, run.number)))
                if pool == own:
                    skipped[each.name, selection] = "it needs runs of several data splits: use `--trial 1` as well"
                    continue
            chosen.append(selector.choose(each, selection, pool))
    return chosen, skipped


def _of_other_splits(study: Study, recipe: Recipe, options: RecipeOptions) -> list[Candidate]:
    """Return the runs of the same recipe, as many as in this split, of all other splits that are in the study."""
    found = {
        (run.trial, run.number): run
        for outcome in study.outcomes
        if outcome.recipe == recipe.name and outcome.trial not in (None, options.training.trial)
        for run in outcome.candidates
        if outcome.runs == options.runs
    }
    return [
        Candidate(
            number=run.number,
            trial=run.trial,
            branch=run.branch,
            commit=run.commit,
            start=run.start,
            id_accuracy=run.id_accuracy,
        )
        for run in found.values()
    ]


def _final_evaluation(
    repository: Repository, task: Task, chosen: Sequence[Chosen], runtime: Runtime, progress: Progress | None
) -> tuple[Outcome, ...]:
    """Evaluate everything on the test domain. Nothing is selected after this."""
    ids = dict.fromkeys(
        commit_id
        for each in chosen
        for commit_id in (*(run.commit for run in each.candidates), *([each.commit] if each.commit else []))
    )
    found = predict_commits(repository, list(ids), task.test(), task, runtime=runtime, progress=progress)
    return tuple(_outcome(each, found) for each in chosen)


def _outcome(chosen: Chosen, found: Mapping[CommitId, tuple[Predictions, ...]]) -> Outcome:
    predictions = found[chosen.commit] if chosen.commit else ensemble([found[each] for each in chosen.members])
    return Outcome(
        recipe=chosen.recipe.name,
        selection=chosen.selection,
        trial=chosen.trial,
        candidates=tuple(_run(each, found[each.commit]) for each in chosen.candidates),
        members=chosen.members,
        commit=chosen.commit,
        branch=chosen.branch,
        id_accuracy=chosen.id_accuracy,
        test=_accuracy(predictions),
        connectivity=chosen.connectivity,
    )


def _run(candidate: Candidate, predictions: Sequence[Predictions]) -> Run:
    return Run(
        number=candidate.number,
        trial=candidate.trial,
        branch=candidate.branch,
        commit=candidate.commit,
        start=candidate.start,
        id_accuracy=candidate.id_accuracy,
        test=_accuracy(predictions),
    )


def _accuracy(predictions: Sequence[Predictions]) -> Accuracy:
    correct = score(predictions).correct
    return Accuracy(int(correct.sum()), len(correct))
