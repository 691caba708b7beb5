"""Which runs a sweep consists of: start, numbers, seed, branch and job of each, from its number alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Protocol

from mlgit.errors import InvalidInputError
from mlgit.executors.job import Job, Resources
from mlgit.history.lineage import weight_ancestors
from mlgit.objects import CommitId, Stage
from mlgit.porcelain.lineage_rules import is_recycled
from mlgit.porcelain.open_model import DEFAULT_RUNTIME, Runtime
from mlgit.porcelain.train import TrainOptions, check_start
from mlgit.repository import Repository
from mlgit.tasks.split import seed_hash
from mlgit.tasks.task import Task
from mlgit.training.draws import DRAWN, Initialisation, Space, assign_initialisation, draw_from, find_space
from mlgit.training.execution import Execution
from mlgit.training.hyper import HyperParameters
from mlgit.training.method import Method
from mlgit.training.snapshot import DEFAULT_SAVES, SaveEvery
from mlgit.training.space_file import read_space

_NAME = re.compile(r"[^\W_][\w.+-]{0,99}")
_MERGED = "merge"
_ALGORITHMS = {("cross-entropy", "none"): "ERM", ("cross-entropy", "moving"): "MA", ("cross-entropy", "swad"): "SWAD"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepOptions:
    """What a sweep consists of.

    Attributes:
        runs: How many runs, at least 1; they are numbered from 0.
        name: Of the sweep; run 3 on task ``digit`` becomes branch ``digit/NAME-3``.
        hparams: Where hyper-parameters are drawn from: ``mild``, ``domainbed``, ``domainbed-small``, ``default``, or
            the path of a file (``mlgit.training.space_file``).
        training: How each run is made. Learning rate, dropout, weight decay and batch size are drawn, unless ``given``
            has them. ``seed`` takes part in the seeds of all runs; ``trial`` is the data split of all.
    """

    runs: int
    name: str = "sweep"
    hparams: str = "mild"
    training: TrainOptions = field(default_factory=TrainOptions)

    def __post_init__(self) -> None:
        if self.runs < 1:
            raise InvalidInputError(f"{self.runs} runs are no sweep", kind="bad-number", hint="use `--runs 20`")
        if not _NAME.fullmatch(self.name):
            raise InvalidInputError(
                f"{self.name[:100]!a} cannot name a sweep",
                kind="bad-name",
                hint="use letters, digits, `.`, `+` and `-`",
            )

    def space(self) -> Space:
        """Return the space that runs are drawn from.

        Raises:
            NotFoundError: No such space.
            InvalidInputError, FileSystemError: Its file cannot be read.
        """
        is_file = "/" in self.hparams or self.hparams.endswith(".toml")
        return read_space(Path(self.hparams)) if is_file else find_space(self.hparams)


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One run of a sweep.

    Attributes:
        number: From 0.
        branch: Short name of the branch its commit will be on.
        start: The commit it starts from.
        initialisation: What that is: the pretrained featurizer, or that of an auxiliary task.
        hyper: Its hyper-parameters.
        seed: Of data order, dropout and so on.
        job: What is executed.
    """

    number: int
    branch: str
    start: CommitId
    initialisation: Initialisation
    hyper: HyperParameters
    seed: int
    job: Job


class StartRule(Protocol):
    """Says where each run of a sweep starts."""

    def of(self, run: int) -> tuple[Initialisation, CommitId]:
        """Return what a run starts from: what it is, and the commit.

        Args:
            run: Its number, from 0.
        """


@dataclass(frozen=True, slots=True)
class Starts:
    """What the runs of a sweep start from.

    Attributes:
        pretrained: The commit whose featurizer is only pretrained, or None.
        auxiliaries: Auxiliary task -> commits trained on it, in the order given.
    """

    pretrained: CommitId | None
    auxiliaries: Mapping[str, tuple[CommitId, ...]]

    def of(self, run: int) -> tuple[Initialisation, CommitId]:
        """Return where one run starts; without a pretrained commit the runs are spread over the auxiliary tasks."""
        counts = {name: len(commits) for name, commits in self.auxiliaries.items()}
        if self.pretrained is None:
            names = sorted(counts)
            name = names[run % len(names)]
            where = Initialisation(name, run // len(names) % counts[name])
        else:
            where = assign_initialisation(run, counts)
        if where.auxiliary is None or where.sub_run is None:
            return where, CommitId(self.pretrained or "")
        return where, self.auxiliaries[where.auxiliary][where.sub_run]


def sort_starts(repository: Repository, task: Task, commits: Sequence[CommitId], how: TrainOptions) -> Starts:
    """Tell the pretrained commit from the auxiliary ones, and these by their tasks, all by recorded ancestry.

    Args:
        repository: Where.
        task: The task of the sweep.
        commits: Where runs may start, at least one.
        how: How runs are made.

    Raises:
        InvalidInputError: One was trained on the task itself, or may have seen its test domain, or two are pretrained.
    """
    pretrained: list[CommitId] = []
    auxiliaries: dict[str, list[CommitId]] = {}
    for commit_id in commits:
        check_start(repository, task, commit_id, how)
        if is_recycled(repository, commit_id):
            auxiliaries.setdefault(_auxiliary_task(repository, commit_id), []).append(commit_id)
        else:
            pretrained.append(commit_id)
    if len(pretrained) > 1:
        raise InvalidInputError(
            f"{pretrained[0].short} and {pretrained[1].short} are both pretrained: a sweep starts from one such commit",
            kind="several-pretrained",
            hint="make a sweep for each",
        )
    return Starts(pretrained[0] if pretrained else None, {name: tuple(found) for name, found in auxiliaries.items()})


def _auxiliary_task(repository: Repository, commit_id: CommitId) -> str:
    """Return the task that a featurizer was trained on last; averages are one group of their own."""
    for _, commit in weight_ancestors(repository.commit_of, commit_id):
        if commit.stage is Stage.MERGE:
            return _MERGED
        if commit.stage in (Stage.AUXILIARY, Stage.TARGET) and commit.task is not None:
            return commit.task.name
    return _MERGED


def plan(
    task: Task,
    starts: StartRule,
    options: SweepOptions,
    *,
    runtime: Runtime = DEFAULT_RUNTIME,
    resources: Resources | None = None,
) -> tuple[PlannedRun, ...]:
    """Return the runs of a sweep. More runs leave the others as they are.

    Args:
        task: What is trained on.
        starts: Where from.
        options: How many, and how.
        runtime: Device and trust.
        resources: What each needs.

    Raises:
        NotFoundError: No such space of hyper-parameters.
        InvalidInputError: A number out of range.
    """
    how, space = options.training.on(task), options.space()
    runs = []
    for number in range(options.runs):
        where, start = starts.of(number)
        drawn = draw_from(space, number, trial=how.trial)
        hyper = how.hyper.with_overrides({name: getattr(drawn, name) for name in DRAWN}).with_overrides(how.given)
        seed, branch = run_seed(task, how, number), f"{task.definition.branch_name}/{options.name}-{number}"
        message = f"fine-tune on {task.name}: run {number} of {options.name}"
        place = ("train", "--task", task.name, "--from", start, "--onto", branch, "-m", message)
        how_made = training_arguments(replace(how, hyper=hyper, seed=seed), runtime)
        job = Job((*place, *how_made), start, resources or Resources())
        runs.append(PlannedRun(number, branch, start, where, hyper, seed, job))
    return tuple(runs)


def run_seed(task: Task, how: TrainOptions, number: int) -> int:
    """Return the seed of one run, as DomainBed derives it: of dataset, algorithm, test domain, run and data split.

    The dataset's name is that of the published one which the task is, or else the task's own. A seed of the sweep other
    than 0 takes part at the end.

    Args:
        task: What is trained on.
        how: How; its seed is the sweep's.
        number: Of the run.

    Reference:
        Gulrajani and Lopez-Paz, "In Search of Lost Domain Generalization", ICLR 2021, arXiv:2007.01434.
    """
    loss, average = how.method.loss, how.method.average
    algorithm = _ALGORITHMS.get((loss, average), loss.upper() if average == "none" else f"{loss}-{average}".upper())
    test = task.domains.index(task.test_domain) if task.test_domain is not None else -1
    dataset = task.definition.preset or task.definition.base_name
    return seed_hash(dataset, algorithm, [test], number, how.trial, *([how.seed] if how.seed else []))


def training_arguments(how: TrainOptions, runtime: Runtime = DEFAULT_RUNTIME) -> tuple[str, ...]:
    """Return the options of ``mlgit train`` that stand for how a run is made; what is as usual is left out."""
    numbers = {"batch_per_domain": "batch-size"}
    words = [
        word
        for each in fields(HyperParameters)
        for word in (f"--{numbers.get(each.name, each.name).replace('_', '-')}", repr(getattr(how.hyper, each.name)))
    ]
    words += ["--seed", str(how.seed), "--trial", str(how.trial)]
    plain = {"stage": how.stage and how.stage.value, "preset": how.preset, "keep": how.keep}
    words += [word for name, value in plain.items() if value is not None for word in (f"--{name}", value)]
    words += _changed(how.method, Method()) + _changed(how.execution, Execution())
    words += [word for name in how.collect for word in ("--collect", name)]
    if how.save_every != DEFAULT_SAVES:
        words += ["--save-every", _schedule(how.save_every)]
    words += [] if runtime.device == DEFAULT_RUNTIME.device else ["--device", runtime.device]
    return (*words, *(["--again"] * how.again), *(["--trust-code"] * runtime.trust_code))


def _changed(given: Method | Execution, usual: Method | Execution) -> list[str]:
    """Return the options of what is not as usual; their names are those of the fields."""
    words: list[str] = []
    before = usual.to_json()
    for name, value in given.to_json().items():
        option = f"--{name.replace('_', '-')}"
        if value is True and before[name] is False:
            words.append(option)
        elif value != before[name]:
            words += [option, str(value)]
    return words


def _schedule(every: SaveEvery) -> str:
    if every.steps is not None:
        return str(every.steps)
    return "off" if every.seconds is None else f"{every.seconds!r}s"
