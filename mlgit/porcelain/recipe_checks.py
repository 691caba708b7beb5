"""What is checked before recipes train anything: each branch that they need is missing, or holds what it should."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mlgit.errors import AlreadyExistsError
from mlgit.history.lineage import weight_ancestors
from mlgit.objects import Commit, CommitId, Stage
from mlgit.porcelain.recipe_plan import RecipeOptions, families_of
from mlgit.porcelain.recipe_select import path_mode, probe_branch, result_branch
from mlgit.porcelain.train_onto import check_free, collected_branch
from mlgit.recipes.recipe import FAMILIES, Family, Recipe, Selection
from mlgit.repository import HEADS, Repository
from mlgit.tasks.task import Task

Fits = Callable[[CommitId], bool]


@dataclass(frozen=True, slots=True)
class Branches:
    """The branches that recipes need.

    Attributes:
        repository: Where.
        target: The target task.
        auxiliaries: Auxiliary tasks.
        options: How.
    """

    repository: Repository
    target: Task
    auxiliaries: Sequence[Task]
    options: RecipeOptions

    def check(self, recipes: Sequence[Recipe]) -> None:
        """Refuse names that are taken.

        Args:
            recipes: What is to be made.

        Raises:
            AlreadyExistsError: A branch is there and holds something else, or leaves no room for one that is needed.
        """
        for branch, what, fits in self._needed(recipes):
            found = self.repository.refs.read(HEADS + branch)
            if found is None:
                check_free(self.repository, branch)
            elif not fits(CommitId(found)):
                raise AlreadyExistsError(
                    f"branch '{branch}' holds something else than {what}",
                    kind="other-result",
                    hint="give this study another `--name`, or delete the branch",
                )

    def _needed(self, recipes: Sequence[Recipe]) -> Iterator[tuple[str, str, Fits]]:
        families = families_of(recipes)
        if any(family.needs_auxiliaries for family in families):
            for task in self.auxiliaries:
                label = self.options.label("aux", split=False)
                for number in range(self.options.auxiliary_runs):
                    yield from self._run(f"{task.definition.branch_name}/{label}-{number}", ("moving",))
        for family in families:
            for number in range(self.options.runs):
                yield from self._target_run(family, number)
        for recipe in recipes:
            yield from self._results(recipe)

    def _target_run(self, family: Family, number: int) -> Iterator[tuple[str, str, Fits]]:
        above = self.target.definition.branch_name
        shared = family.starts in ("auxiliary", "averaged") and number % (len(self.auxiliaries) + 1) == 0
        own = FAMILIES["plain"] if shared else family
        yield from self._run(f"{above}/{self.options.label(own.name)}-{number}", own.collects)
        if family.starts == "fused":
            start = f"{above}/{self.options.label('fused-start')}-{number}"
            yield start, f"the start of run {number}", lambda found: "sources" in self._facts(found)

    def _run(self, branch: str, collects: Sequence[str]) -> Iterator[tuple[str, str, Fits]]:
        yield branch, "a run", self._is_run
        if self.repository.refs.read(HEADS + branch) is None:  # averages are committed before the run itself
            for average in (name for name in collects if name in self.options.collect):
                yield collected_branch(branch, average), "an average", self._is_run

    def _results(self, recipe: Recipe) -> Iterator[tuple[str, str, Fits]]:
        if recipe.family is None:
            yield probe_branch(self.target, self.options, recipe), "this result", self._is_probe
            return
        for selection in recipe.selections:
            if not recipe.ensemble and selection is not Selection.ALL_SPLITS:  # of how many runs is not known yet
                branch = result_branch(self.target, self.options, recipe, selection, self.options.runs)
                yield branch, "this result", self._fits(recipe, selection)

    def _fits(self, recipe: Recipe, selection: Selection) -> Fits:
        if selection is Selection.BEST:
            return self._is_run
        wanted = {"name": recipe.name, "selection": selection.value, "lmc": path_mode(self.options, selection)}
        return lambda found: wanted.items() <= self._facts(found).items()

    def _is_run(self, found: CommitId) -> bool:
        return any("job" in commit.made for _, commit in weight_ancestors(self.repository.commit_of, found))

    def _is_probe(self, found: CommitId) -> bool:
        return self._commit(found).stage is Stage.PROBE

    def _facts(self, found: CommitId) -> Mapping[str, object]:
        facts = self._commit(found).made.get("recipe")
        return facts if isinstance(facts, Mapping) else {}

    def _commit(self, found: CommitId) -> Commit:
        return self.repository.commit_of(found)
