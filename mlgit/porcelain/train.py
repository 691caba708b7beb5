"""``mlgit train``: fine-tune on a task and leave the weights in the working directory for ``mlgit commit``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mlgit.errors import ConflictError, InvalidInputError
from mlgit.history.lineage import weight_ancestors
from mlgit.models.device import resolve_device
from mlgit.models.network import Network
from mlgit.objects import CommitId, Manifest, Parent, Role, Stage, TaskRef
from mlgit.porcelain.actor import ANYONE, Actor
from mlgit.porcelain.lineage_rules import check_test_domain_unseen
from mlgit.porcelain.model_layout import head_layout, place_weights, replace_weights
from mlgit.porcelain.open_model import DEFAULT_RUNTIME, Runtime, open_named_task, open_network
from mlgit.porcelain.pending_run import PendingRun, save_run
from mlgit.porcelain.probe import PROBE_HYPER, ProbeResult, check_stage, pretrained_commit, shared_probe
from mlgit.porcelain.status import status
from mlgit.progress import Progress
from mlgit.repository import Repository
from mlgit.tasks.task import Task
from mlgit.training.hyper import HyperParameters
from mlgit.training.result import RunResult
from mlgit.training.run import train as run_training
from mlgit.weights.stored import load
from mlgit.worktree.scan import TENSOR_SUFFIX
from mlgit.worktree.status import Change


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """How a run is made.

    Attributes:
        hyper: Hyper-parameters of the fine-tuning.
        probe_hyper: Those of the linear probe, when it has to be trained first.
        seed: Of the order of data, dropout and new classifiers.
        trial: Number of the data split.
        stage: ``pretrain``, ``auxiliary`` or ``target``; by default ``target`` for a task with a test domain and
            ``auxiliary`` for one without.
    """

    hyper: HyperParameters = field(default_factory=HyperParameters)
    probe_hyper: HyperParameters = PROBE_HYPER
    seed: int = 0
    trial: int = 0
    stage: Stage | None = None


def fitted_hyper(given: Mapping[str, float]) -> HyperParameters:
    """Return hyper-parameters with the paper's defaults for what was not given.

    In a run shorter than the paper's, at most a fifth of the steps are head-only and there are ten evaluations.

    Args:
        given: Field of ``HyperParameters`` -> value.

    Raises:
        InvalidInputError: A value out of range.
    """
    usual = HyperParameters()
    steps = max(int(given.get("steps", usual.steps)), 1)
    fitted = {
        "freeze_steps": min(usual.freeze_steps, steps // 5),
        "eval_every": min(usual.eval_every, max(1, steps // 10)),
    }
    return usual.with_overrides({**fitted, **given})


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A finished run whose weights wait for their commit.

    Attributes:
        run: What the commit will record.
        start: Where training started.
        probe: The linear probe whose head was used; None when pretraining.
        steps: Updates made.
        best_step: After how many of them the kept weights were taken.
    """

    run: PendingRun
    start: CommitId
    probe: ProbeResult | None
    steps: int
    best_step: int


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
    classifier learns in the first steps. The weights with the best ID validation accuracy are kept; the test domain is
    never read.

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
    how = options or TrainOptions()
    opened = open_named_task(repository, task, runtime, progress)
    start_id = repository.resolve(start)
    stage = how.stage or (Stage.TARGET if opened.test_domain else Stage.AUXILIARY)
    check_stage(stage)
    check_weights_committed(repository)
    check_test_domain_unseen(repository, opened, start_id, own_head=stage is Stage.PRETRAIN)
    base = repository.manifest_of(start_id)
    _check_same_model(repository, base, start_id)
    found, network = _initial(repository, opened, start_id, base, stage, how, runtime, actor, progress)
    result = run_training(
        network,
        opened.training(how.trial),
        opened.validation(how.trial),
        how.hyper,
        seed=how.seed,
        device=resolve_device(runtime.device),
        freeze_featurizer_first=stage is Stage.TARGET and _is_recycled(repository, start_id),
        freeze_statistics=stage is not Stage.PRETRAIN,
        progress=progress,
    )
    made = {**result.record, "command": "train", "trial": how.trial, "data_digest": opened.data_digest}
    parents = [Parent(start_id, Role.INIT)] + ([Parent(found.id, Role.HEAD)] if found else [])
    run = _leave(
        repository,
        base,
        result,
        PendingRun(
            stage=stage,
            task=TaskRef(opened.name, opened.digest),
            parents=tuple(parents),
            made=made,
            metrics=result.metrics,
        ),
    )
    return TrainResult(run, start_id, found, how.hyper.steps, result.best.step)


def check_weights_committed(repository: Repository) -> None:
    """Refuse to overwrite weights that no commit holds.

    Raises:
        ConflictError: The working directory has such.
    """
    changed = [
        change.path
        for change in status(repository).changes
        if change.path.endswith(TENSOR_SUFFIX) and change.change is not Change.DELETED
    ]
    if changed:
        raise ConflictError(
            f"'{changed[0]}' holds weights that are not committed and would be replaced",
            kind="uncommitted-changes",
            hint="commit them with `mlgit commit`, or give them up with `mlgit restore .`",
        )


def _check_same_model(repository: Repository, base: Manifest, start: CommitId) -> None:
    """Refuse to put the weights of one model into the files of another."""
    here = head_layout(repository, base)
    if (here.factory, here.head) != (base.factory, base.head):
        raise InvalidInputError(
            f"{start.short} is a '{base.factory}', the working directory holds a '{here.factory}'",
            kind="other-model",
            hint=f"go to that model first: `mlgit switch -c NAME {start.short}`",
        )


def _is_recycled(repository: Repository, start: CommitId) -> bool:
    """Say whether the featurizer of ``start`` comes from more than pretraining."""
    stages = {commit.stage for _, commit in weight_ancestors(repository.commit_of, start)}
    return bool(stages & {Stage.AUXILIARY, Stage.TARGET, Stage.MERGE})


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


def _leave(repository: Repository, base: Manifest, result: RunResult, run: PendingRun) -> PendingRun:
    """Put the weights into the working directory and remember the run."""
    with repository.lock():
        check_weights_committed(repository)
        with repository.transaction() as transaction:
            manifest = place_weights(repository, transaction, result.weights, head_layout(repository, base))
            transaction.put_record(manifest)
        weights = {name: entry.id for name, entry in manifest.tensors.items()}
        done = PendingRun(
            stage=run.stage, task=run.task, parents=run.parents, made=run.made, metrics=run.metrics, weights=weights
        )
        replace_weights(repository, manifest, then=lambda: save_run(repository, done))
    return done
