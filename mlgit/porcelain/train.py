"""``mlgit train``: fine-tune on a task and leave the weights in the working directory for ``mlgit commit``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch

from mlgit.errors import InvalidInputError, JobFailedError
from mlgit.models.device import resolve_device
from mlgit.models.extras import library_versions
from mlgit.models.network import Network
from mlgit.objects import CommitId, JsonValue, Manifest, Parent, Role, Stage, TaskRef
from mlgit.porcelain.actor import ANYONE, Actor
from mlgit.porcelain.lineage_rules import check_auxiliary, check_split, check_test_domain_unseen, is_recycled
from mlgit.porcelain.model_layout import check_weights_committed, head_layout, place_weights, replace_weights
from mlgit.porcelain.open_model import DEFAULT_RUNTIME, Runtime, open_named_task, open_network
from mlgit.porcelain.pending_run import PendingRun, save_run
from mlgit.porcelain.probe import ProbeResult, check_stage, pretrained_commit, shared_probe
from mlgit.porcelain.run_saves import StoredSaves, run_key
from mlgit.porcelain.saved_runs import working_on
from mlgit.porcelain.train_options import Keep, TrainOptions, fitted_hyper
from mlgit.progress import Progress
from mlgit.repository import Repository
from mlgit.tasks.task import Task
from mlgit.training.execution import Execution
from mlgit.training.method import Method
from mlgit.training.record import package_versions
from mlgit.training.result import Collected, RunResult
from mlgit.training.run import train as run_training
from mlgit.training.snapshot import SaveEvery
from mlgit.weights.stored import load

__all__ = [
    "Execution",
    "Keep",
    "Kept",
    "Method",
    "SaveEvery",
    "TrainOptions",
    "TrainResult",
    "Trained",
    "check_start",
    "fitted_hyper",
    "start_here",
    "train",
    "trained",
]


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A finished run whose weights wait for their commit.

    Attributes:
        run: What the commit will record.
        start: Where training started.
        probe: The linear probe whose head was used; None when pretraining.
        steps: Updates made.
        step: Number of the one, from 0, after which the kept weights were measured.
        resumed_from: Updates that a killed process had made and saved; 0 without one.
    """

    run: PendingRun
    start: CommitId
    probe: ProbeResult | None
    steps: int
    step: int
    resumed_from: int


def train(
    repository: Repository,
    task: str,
    *,
    start: str = "HEAD",
    options: TrainOptions | None = None,
    runtime: Runtime = DEFAULT_RUNTIME,
    actor: Actor = ANYONE,
    progress: Progress | None = None,
) -> TrainResult:
    """Fine-tune the weights of ``start`` on a task.

    The classifier starts from the task's linear probe. When the featurizer comes from an auxiliary task, only the
    classifier learns in the first steps. The test domain is never read. A run that was killed goes on from where it was
    saved last when it is started again with the same inputs, to the same bits on a CPU.

    Args:
        repository: Where; its working weights are replaced at the end.
        task: Name of the task.
        start: Revision to start from.
        options: How.
        runtime: Device and trust.
        actor: For a new linear probe's commit.
        progress: Is told of steps.

    Raises:
        ConflictError: Weights in the working directory are not committed.
        InvalidInputError: Model, data or options cannot be used, or ``start`` has seen the test domain.
        NotFoundError: No such revision or task.
        JobFailedError: Training failed; the working files and all branches are as they were. A linear probe that was
            finished before stays: the next run needs it.
    """
    start_id = start_here(repository, start, options)
    with trained(
        repository, task, start=start_id, options=options, runtime=runtime, actor=actor, progress=progress
    ) as done:
        run = _leave(repository, done.base, done.kept)
    return TrainResult(run, start_id, done.probe, done.steps, done.step, done.resumed_from)


def start_here(repository: Repository, start: str, options: TrainOptions | None) -> CommitId:
    """Return the commit to start from, when the weights can take the place of those in the working directory.

    Args:
        repository: Where.
        start: Revision to start from.
        options: How.

    Raises:
        ConflictError: Weights in the working directory are not committed.
        InvalidInputError: It holds another model, or the run is to collect averages.
        NotFoundError: No such revision.
    """
    if options is not None and options.collect:
        raise InvalidInputError(
            "`--collect` needs branches for what it collects", kind="usage", hint="add `--onto BRANCH`, or leave it out"
        )
    check_weights_committed(repository)
    start_id = repository.resolve(start)
    _check_same_model(repository, repository.manifest_of(start_id), start_id)
    return start_id


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """Weights that a run left, and how.

    Attributes:
        weights: By name.
        run: What a commit of them records.
        step: Number of the update, from 0, after which they were measured.
    """

    weights: Mapping[str, torch.Tensor]
    run: PendingRun
    step: int


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A finished run whose weights are nowhere yet.

    Attributes:
        key: Identity of the run, under which its saves were kept.
        base: The state it started from.
        kept: What it left.
        probe: The linear probe whose head was used; None when pretraining.
        steps: Updates made.
        resumed_from: Updates that a killed process had made and saved.
        collected: What else it left, by the average's name.
    """

    key: str
    base: Manifest
    kept: Kept
    probe: ProbeResult | None
    steps: int
    resumed_from: int
    collected: Mapping[str, Kept] = field(default_factory=dict)

    @property
    def step(self) -> int:
        """Number of the update, from 0, after which the kept weights were measured."""
        return self.kept.step


@contextmanager
def trained(
    repository: Repository,
    task: str,
    *,
    start: CommitId,
    options: TrainOptions | None = None,
    runtime: Runtime = DEFAULT_RUNTIME,
    actor: Actor = ANYONE,
    progress: Progress | None = None,
    wait_s: float = 0.0,
    ready: Callable[[str], None] | None = None,
) -> Iterator[Trained]:
    """Make a run and yield it; when the block succeeds, what was saved of it on its way is let go.

    Args:
        repository: Where; working files and branches are not touched.
        task: Name of the task.
        start: The commit to start from.
        options: How.
        runtime: Device and trust.
        actor: For a new linear probe's commit.
        progress: Is told of steps.
        wait_s: How long to wait for another process that makes the same run.
        ready: Is told the identity of the run before it begins; may raise.

    Raises:
        ConflictError, InvalidInputError, NotFoundError, JobFailedError: As ``train``.
    """
    opened = open_named_task(repository, task, runtime, progress)
    how = (options or TrainOptions()).on(opened)
    stage = how.stage_on(opened)
    check_start(repository, opened, start, how)
    base = repository.manifest_of(start)
    found, network = _initial(repository, opened, start, base, stage, how, runtime, actor, progress)
    parents = [Parent(start, Role.INIT)] + ([Parent(found.id, Role.HEAD)] if found else [])
    packages = {**package_versions(), **library_versions(base.factory)}
    inputs = _inputs(opened, parents, stage, how, resolve_device(runtime.device), packages)
    key = run_key(inputs)
    saves = StoredSaves(repository, key, task=opened.name, start=start, steps=how.hyper.steps, every=how.save_every)
    with working_on(repository, key, wait_s=wait_s):
        if ready is not None:
            ready(key)
        result = _run(network, opened, stage, how, runtime, saves, progress, recycled=is_recycled(repository, start))
        kept = _kept(result, opened, parents, stage, how, packages)
        collected = {n: _kept(each, opened, parents, stage, how, packages) for n, each in result.collected.items()}
        yield Trained(key, base, kept, found, result.steps, result.resumed_from, collected)
        saves.drop()


def _kept(
    result: RunResult | Collected,
    task: Task,
    parents: Sequence[Parent],
    stage: Stage,
    how: TrainOptions,
    packages: Mapping[str, JsonValue],
) -> Kept:
    """Return the weights to keep, and what a commit of them records."""
    keep = how.keep_at(stage)
    weights, measured = (result.last_weights, result.last) if keep == "last" else (result.weights, result.best)
    made = {**result.record, "command": "train", "trial": how.trial, "data_digest": task.data_digest}
    made |= {"keep": keep, "preset": how.preset, "packages": dict(packages)}
    reference = TaskRef(task.name, task.digest)
    run = PendingRun(stage=stage, task=reference, parents=tuple(parents), made=made, metrics=measured.metrics)
    return Kept(weights, run, measured.step)


def _run(
    network: Network,
    task: Task,
    stage: Stage,
    how: TrainOptions,
    runtime: Runtime,
    saves: StoredSaves,
    progress: Progress | None,
    *,
    recycled: bool,
) -> RunResult:
    """Train; a run that fails of itself would fail again, and what was saved of it is dropped."""
    try:
        return run_training(
            network,
            task.training(how.trial),
            task.validation(how.trial),
            how.hyper,
            seed=how.seed,
            device=resolve_device(runtime.device),
            freeze_featurizer_first=stage is Stage.TARGET and recycled,
            freeze_statistics=stage is not Stage.PRETRAIN,
            method=how.method,
            collect=how.collect,
            execution=how.execution,
            saves=saves,
            progress=progress,
        )
    except JobFailedError:
        saves.drop()
        raise


def _inputs(
    task: Task,
    parents: Sequence[Parent],
    stage: Stage,
    how: TrainOptions,
    device: torch.device,
    packages: Mapping[str, JsonValue],
) -> dict[str, JsonValue]:
    """Return all that the weights along a run depend on, and what is to be collected of them."""
    collect: dict[str, JsonValue] = {"collect": sorted(how.collect)} if how.collect else {}
    return collect | {
        "task": task.digest,
        "parents": [[parent.role.value, parent.id] for parent in parents],
        "stage": stage.value,
        "hyper": how.hyper.to_json(),
        "method": how.method.to_json(),
        "execution": how.execution.to_json(),
        "seed": how.seed,
        "trial": how.trial,
        "device": device.type,
        "packages": dict(packages),
    }


def check_start(repository: Repository, task: Task, start: CommitId, how: TrainOptions) -> None:
    """Refuse a start that a run on a task must not have.

    It must not have seen the test domain; a target run must not recycle weights that were trained on its own task
    already, by any path and under any name.

    Args:
        repository: Where.
        task: The task.
        start: The commit to start from.
        how: Options on this task.

    Raises:
        InvalidInputError: It has; or training makes no commits of the stage that is asked for.
    """
    stage = how.stage_on(task)
    check_stage(stage)
    check_test_domain_unseen(repository, task, start, own_head=stage is Stage.PRETRAIN)
    if stage is not Stage.TARGET:
        return
    if how.again:
        check_split(repository, task, start, how.trial)
        return
    try:
        check_auxiliary(repository, task, start)
    except InvalidInputError as error:
        raise InvalidInputError(
            error.message,
            kind=error.kind,
            hint="start from another commit, such as the pretrained one, or add `--again` to train on from it",
        ) from error


def _check_same_model(repository: Repository, base: Manifest, start: CommitId) -> None:
    """Refuse to put the weights of one model into the files of another."""
    here = head_layout(repository, base)
    if (here.factory, here.head) != (base.factory, base.head):
        raise InvalidInputError(
            f"{start.short} is a '{base.factory}', the working directory holds a '{here.factory}'",
            kind="other-model",
            hint=f"go to that model first: `mlgit switch -c NAME {start.short}`",
        )


def _initial(
    repository: Repository,
    task: Task,
    start: CommitId,
    base: Manifest,
    stage: Stage,
    how: TrainOptions,
    runtime: Runtime,
    actor: Actor,
    progress: Progress | None,
) -> tuple[ProbeResult | None, Network]:
    """Return the probe and the network to start from: featurizer of ``start``, head of the probe."""
    weights = load(repository.objects, base)
    network = open_network(repository, base, runtime=runtime)
    if stage is Stage.PRETRAIN:
        network.load(weights)
        if network.num_classes != task.num_classes:
            network.replace_head(task.num_classes, seed=how.seed)
        return None, network
    found = shared_probe(
        repository,
        task,
        pretrained_commit(repository, start),
        hyper=how.probe_hyper,
        trial=how.trial,
        runtime=runtime,
        actor=actor,
        progress=progress,
    )
    probe_weights = load(repository.objects, repository.manifest(found.commit.manifest))
    network = open_network(repository, base, runtime=runtime, num_classes=task.num_classes)
    featurizer = {name: weights[name] for name in network.featurizer_names if name in weights}
    head = {name: probe_weights[name] for name in network.head_names if name in probe_weights}
    network.load(featurizer | head)
    return found, network


def _leave(repository: Repository, base: Manifest, kept: Kept) -> PendingRun:
    """Put the weights into the working directory and remember the run."""
    with repository.lock():
        check_weights_committed(repository)
        with repository.transaction() as transaction:
            manifest = place_weights(repository, transaction, kept.weights, head_layout(repository, base))
            transaction.put_record(manifest)
        done = replace(kept.run, weights={name: entry.id for name, entry in manifest.tensors.items()})
        replace_weights(repository, manifest, then=lambda: save_run(repository, done))
    return done
