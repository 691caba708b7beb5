"""``mlgit probe``: the linear probe of a task, the classifier that all its runs share."""

from __future__ import annotations

from dataclasses import dataclass

from mlgit.errors import InvalidInputError
from mlgit.history.lineage import nearest, weight_ancestors
from mlgit.models.device import resolve_device
from mlgit.objects import Commit, CommitId, Parent, Role, Stage, TaskRef
from mlgit.porcelain.actor import ANYONE, Actor
from mlgit.porcelain.model_layout import place_weights
from mlgit.porcelain.open_model import DEFAULT_RUNTIME, Runtime, open_named_task, open_network
from mlgit.progress import Progress
from mlgit.repository import PROBES, Repository
from mlgit.tasks.task import Task
from mlgit.training.hyper import HyperParameters
from mlgit.training.probe import linear_probe
from mlgit.weights.stored import load


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """A linear probe.

    Attributes:
        id: Its commit, on no branch: a ref below ``refs/probes/`` keeps it.
        commit: The commit; its manifest holds the pretrained featurizer and the probe as head.
        created: Whether it was trained now; False when it was there.
    """

    id: CommitId
    commit: Commit
    created: bool


PROBE_HYPER = HyperParameters(lr=1e-3, steps=300, eval_every=50)
"""Defaults of the linear probe: a higher rate than fine-tuning, because only one linear layer learns."""


def probe(
    repository: Repository,
    task: str,
    *,
    start: str = "HEAD",
    hyper: HyperParameters = PROBE_HYPER,
    seed: int = 0,
    trial: int = 0,
    runtime: Runtime = DEFAULT_RUNTIME,
    actor: Actor = ANYONE,
    progress: Progress | None = None,
) -> ProbeResult:
    """Return the linear probe of a task on the pretrained features below ``start``; train it when there is none.

    There is one probe per task, data split and pretrained commit, so that all runs share their classifier: without
    that, averages of their weights would mix unrelated classifiers (Ramé et al. 2023, section 2.2, arXiv:2212.10445).

    Args:
        repository: Where.
        task: Name of the task.
        start: Revision whose pretrained ancestor gives the features.
        hyper: For training the probe; ignored when it exists.
        seed: Likewise.
        trial: Number of the data split.
        runtime: Device and trust.
        actor: Who and when.
        progress: Is told of steps.

    Raises:
        NotFoundError: No such revision or task.
        InvalidInputError: The model or the data cannot be used.
        JobFailedError: Training failed.
    """
    opened = open_named_task(repository, task, runtime, progress)
    pretrained = pretrained_commit(repository, repository.resolve(start))
    return shared_probe(
        repository,
        opened,
        pretrained,
        hyper=hyper,
        seed=seed,
        trial=trial,
        runtime=runtime,
        actor=actor,
        progress=progress,
    )


def pretrained_commit(repository: Repository, commit_id: CommitId) -> CommitId:
    """Return the nearest pretrained commit that a commit's weights come from, or the oldest of them.

    Raises:
        NotFoundError: A commit is missing.
    """
    found = nearest(repository.commit_of, commit_id, Stage.PRETRAIN)
    if found is not None:
        return found
    return [ancestor for ancestor, _ in weight_ancestors(repository.commit_of, commit_id)][-1]


def probe_ref(task: Task, pretrained: CommitId, trial: int) -> str:
    """Return the name of the ref that keeps a probe."""
    return f"{PROBES}{task.digest[:16]}/{pretrained[:16]}-{trial}"


def shared_probe(
    repository: Repository,
    task: Task,
    pretrained: CommitId,
    *,
    hyper: HyperParameters = PROBE_HYPER,
    seed: int = 0,
    trial: int = 0,
    runtime: Runtime = DEFAULT_RUNTIME,
    actor: Actor = ANYONE,
    progress: Progress | None = None,
) -> ProbeResult:
    """Return the probe of an opened task on one pretrained commit; see ``probe``."""
    name = probe_ref(task, pretrained, trial)
    known = repository.refs.read(name)
    if known is not None:
        commit_id = CommitId(known)
        return ProbeResult(commit_id, repository.commit_of(commit_id), created=False)
    base = repository.manifest_of(pretrained)
    device = resolve_device(runtime.device)
    network = open_network(repository, base, runtime=runtime)
    network.load(load(repository.objects, base))
    result = linear_probe(
        network,
        task.training(trial),
        task.validation(trial),
        hyper,
        num_classes=task.num_classes,
        seed=seed,
        device=device,
        progress=progress,
    )
    made = {**result.record, "command": "probe", "trial": trial, "data_digest": task.data_digest}
    when, who = actor.when(), actor.who(repository)
    with repository.keeping():
        with repository.transaction() as transaction:
            manifest = place_weights(repository, transaction, result.weights, base)
            commit = Commit(
                manifest=transaction.put_record(manifest),
                parents=(Parent(pretrained, Role.INIT),),
                stage=Stage.PROBE,
                task=TaskRef(task.name, task.digest),
                made=made,
                metrics=result.metrics,
                author=who,
                time=when,
                message=f"linear probe on {task.name}",
            )
            commit_id = transaction.put_record(commit)
        repository.refs.update(name, commit_id, expected=None, who=who, when=when, reason="probe: trained")
    return ProbeResult(commit_id, commit, created=True)


def check_stage(stage: Stage) -> None:
    """Refuse stages that training cannot produce.

    Raises:
        InvalidInputError: ``stage`` is one of those.
    """
    if stage not in (Stage.PRETRAIN, Stage.AUXILIARY, Stage.TARGET):
        raise InvalidInputError(
            f"training does not make a commit of stage '{stage}'", hint="use pretrain, auxiliary or target"
        )
