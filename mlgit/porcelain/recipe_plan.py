"""Which runs the recipes of a study need, on which branches, and from which starts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mlgit.errors import InvalidInputError
from mlgit.executors.job import Resources
from mlgit.objects import CommitId, Stage
from mlgit.porcelain.merge_plan import LMC_MODES
from mlgit.porcelain.open_model import Runtime
from mlgit.porcelain.sweep_plan import PlannedRun, StartRule, Starts, SweepOptions, plan, sort_starts
from mlgit.porcelain.train import TrainOptions
from mlgit.recipes.recipe import FAMILIES, Family, Recipe
from mlgit.recipes.results import Auxiliary
from mlgit.repository import Repository
from mlgit.tasks.task import Task
from mlgit.training.draws import Initialisation
from mlgit.training.method import check_collect

_NAME = re.compile(r"[^\W_][\w.+-]{0,79}")
DEFAULT_STUDY = "default"
COLLECTED = ("moving", "swad")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeOptions:
    """How the recipes of a study are made; recipes with the same options share their runs.

    Attributes:
        runs: Runs that each recipe averages or chooses from, at least 1.
        domain: The test domain; None: the task's own.
        auxiliaries: Tasks whose fine-tuned featurizers are recycled.
        auxiliary_runs: Runs on each of them, at least 1.
        start: A revision; the pretrained commit below it is where everything begins.
        name: Of the study: another one has runs of its own.
        hparams: Where hyper-parameters are drawn from, as in a sweep.
        training: How runs are made; recipes set the loss and the averages. ``trial`` is the data split; auxiliary runs
            always have split 0, which all splits share.
        collect: Averages that runs keep beside their weights, so that recipes which need them need no runs of their
            own.
        lmc: Which paths between averaged runs are measured: ``off``, ``chord`` or ``full``.
    """

    runs: int = 20
    domain: str | None = None
    auxiliaries: tuple[str, ...] = ()
    auxiliary_runs: int = 4
    start: str = "HEAD"
    name: str = DEFAULT_STUDY
    hparams: str = "mild"
    training: TrainOptions = field(default_factory=TrainOptions)
    collect: tuple[str, ...] = COLLECTED
    lmc: str = "chord"

    def __post_init__(self) -> None:
        for number in (self.runs, self.auxiliary_runs):
            if number < 1:
                raise InvalidInputError(f"{number} runs are none", kind="bad-number", hint="use `--runs 20`")
        if len(set(self.auxiliaries)) != len(self.auxiliaries):
            raise InvalidInputError("an auxiliary task is named twice", kind="task-twice")
        method = self.training.method
        if (method.loss, method.average) != ("cross-entropy", "none"):
            raise InvalidInputError(
                "recipes choose the loss and the average along runs themselves",
                kind="recipe-chooses",
                hint="use `mlgit sweep` for other combinations",
            )
        check_collect(self.collect, method)
        self._check_words()

    def _check_words(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidInputError(
                f"{self.name[:100]!a} cannot name a study",
                kind="bad-name",
                hint="use letters, digits, `.`, `+` and `-`",
            )
        if self.lmc not in LMC_MODES:
            raise InvalidInputError(
                f"'{self.lmc}' is no way to check paths", kind="bad-lmc-mode", hint="use off, chord or full"
            )

    def label(self, what: str, *, split: bool = True) -> str:
        """Return the part of branch names before the number: ``inter``, ``inter.t1``, ``mine.inter``.

        Args:
            what: A family, or a recipe with its selection.
            split: Whether it belongs to one data split.
        """
        study = "" if self.name == DEFAULT_STUDY else f"{self.name}."
        trial = f".t{self.training.trial}" if split and self.training.trial else ""
        return f"{study}{what}{trial}"


def families_of(recipes: Iterable[Recipe]) -> tuple[Family, ...]:
    """Return the families that recipes need, each once."""
    names = dict.fromkeys(recipe.family for recipe in recipes if recipe.family is not None)
    return tuple(FAMILIES[name] for name in names)


def check_needs(recipe: Recipe, options: RecipeOptions) -> None:
    """Refuse a recipe that lacks what it begins with.

    Raises:
        InvalidInputError: No auxiliary task is named, or runs do not keep the average that it takes.
    """
    family = FAMILIES[recipe.family] if recipe.family is not None else None
    if family is not None and family.needs_auxiliaries and not options.auxiliaries:
        raise InvalidInputError(
            f"recipe '{recipe.name}' recycles runs on auxiliary tasks, and none is named",
            kind="no-auxiliary",
            hint="name them with `--aux TASK`",
        )
    average = "moving" if family is not None and family.starts == "averaged" else recipe.average
    if average is not None and average not in options.collect:
        raise InvalidInputError(
            f"recipe '{recipe.name}' needs the {average} average along runs, which are not to keep it",
            kind="no-average",
            hint="leave `--collect` as it is",
        )


def check_data(target: Task, auxiliary: Task) -> None:
    """Refuse an auxiliary task that has the data of the target.

    Raises:
        InvalidInputError: It has.
    """
    if auxiliary.data_digest == target.data_digest:
        raise InvalidInputError(
            f"task '{auxiliary.name}' has the data of '{target.name}' and is no auxiliary for it",
            kind="auxiliary-is-target",
            hint="name another task with `--aux`",
        )


@dataclass(frozen=True, slots=True)
class FusedStarts:
    """Mixtures of featurizers, one for each run.

    Attributes:
        commits: By number of the run.
    """

    commits: Sequence[CommitId]

    def of(self, run: int) -> tuple[Initialisation, CommitId]:
        """Return where one run starts."""
        return Initialisation("fused", run), self.commits[run]


@dataclass(frozen=True, slots=True)
class RunPlanner:
    """Plans the runs of a study.

    Attributes:
        repository: Where.
        pretrained: Where everything begins.
        options: How.
        runtime: Device and trust.
        resources: What each run needs.
    """

    repository: Repository
    pretrained: CommitId
    options: RecipeOptions
    runtime: Runtime
    resources: Resources

    def auxiliary(self, task: Task) -> tuple[PlannedRun, ...]:
        """Return the runs on an auxiliary task.

        Raises:
            InvalidInputError: The pretrained commit may have seen its test domain.
        """
        collect = tuple(name for name in self.options.collect if name == "moving")
        training = replace(self.options.training, stage=Stage.AUXILIARY, trial=0, collect=collect)
        sweep = SweepOptions(
            runs=self.options.auxiliary_runs,
            name=self.options.label("aux", split=False),
            hparams=self.options.hparams,
            training=training,
        )
        starts = sort_starts(self.repository, task, [self.pretrained], training.on(task))
        return self._plan(task, starts, sweep)

    def target(self, task: Task, family: Family, starts: StartRule) -> tuple[PlannedRun, ...]:
        """Return the runs of a family; those that start from the pretrained featurizer are runs of ``plain``.

        Args:
            task: The target.
            family: Which.
            starts: Where each run starts.
        """
        own = self._plan(task, starts, self._sweep(family))
        if family.starts == "pretrained":
            return own
        plain = self._plan(task, Starts(self.pretrained, {}), self._sweep(FAMILIES["plain"]))
        return tuple(plain[run.number] if run.start == self.pretrained else run for run in own)

    def starts(self, task: Task, family: Family, auxiliaries: Sequence[Auxiliary]) -> Starts:
        """Return where the runs of a family start, unless that is fused.

        Args:
            task: The target.
            family: Which.
            auxiliaries: The runs on auxiliary tasks.

        Raises:
            InvalidInputError: An auxiliary run was trained on the target itself, or has no average to start from.
        """
        commits = [self.pretrained]
        if family.starts == "auxiliary":
            commits += [each.commit for each in auxiliaries]
        if family.starts == "averaged":
            commits += [_average(each) for each in auxiliaries]
        return sort_starts(self.repository, task, commits, self._sweep(family).training.on(task))

    def sources_of_mixture(self, auxiliaries: Sequence[Auxiliary], run: int) -> tuple[CommitId, ...]:
        """Return the commits that run ``run`` begins with a mixture of: the pretrained and one of each task."""
        by_task: dict[str, list[CommitId]] = {}
        for each in auxiliaries:
            by_task.setdefault(each.task, []).append(each.commit)
        return (self.pretrained, *(found[run % len(found)] for _, found in sorted(by_task.items())))

    def _sweep(self, family: Family) -> SweepOptions:
        training = self.options.training
        method = replace(training.method, loss=family.loss)
        collect = tuple(name for name in family.collects if name in self.options.collect)
        return SweepOptions(
            runs=self.options.runs,
            name=self.options.label(family.name),
            hparams=self.options.hparams,
            training=replace(training, method=method, collect=collect, stage=Stage.TARGET),
        )

    def _plan(self, task: Task, starts: StartRule, sweep: SweepOptions) -> tuple[PlannedRun, ...]:
        return plan(task, starts, sweep, runtime=self.runtime, resources=self.resources)


def _average(auxiliary: Auxiliary) -> CommitId:
    if auxiliary.average is None:
        raise InvalidInputError(
            f"run {auxiliary.number} on task '{auxiliary.task}' kept no moving average to begin with",
            kind="no-average",
            hint="leave `--collect` as it is, and give this study another `--name`",
        )
    return auxiliary.average


def by_branch(plans: Iterable[Sequence[PlannedRun]]) -> Mapping[str, PlannedRun]:
    """Return all runs of several plans, each once, in their order."""
    return {run.branch: run for runs in plans for run in runs}
