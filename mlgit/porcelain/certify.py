"""``mlgit certify``: judge a commit by a certificate and keep the result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlgit.certification.definition import Certificate, check_data, read_certificate
from mlgit.certification.judge import judge
from mlgit.certification.result import build_result, result_ref
from mlgit.objects import CertificateId, CertificateResult, TaskRef
from mlgit.porcelain.actor import ANYONE, Actor
from mlgit.porcelain.evaluate import predict_commits
from mlgit.porcelain.open_model import DEFAULT_RUNTIME, Runtime, open_named_task
from mlgit.progress import Progress
from mlgit.repository import Repository
from mlgit.tasks.split import TestSplit, ValidationSplit
from mlgit.tasks.task import Task
from mlgit.version import __version__


@dataclass(frozen=True, slots=True)
class CertifyResult:
    """What a certificate said, stored with the repository.

    Attributes:
        id: The stored result.
        result: It; ``result.passed`` is the verdict.
    """

    id: CertificateId
    result: CertificateResult


def certify(
    repository: Repository,
    revision: str,
    certificate: Path,
    *,
    runtime: Runtime = DEFAULT_RUNTIME,
    actor: Actor = ANYONE,
    progress: Progress | None = None,
) -> CertifyResult:
    """Evaluate a commit on a certificate's data and compare it with the thresholds.

    Args:
        repository: Where; keeps the result, passed or failed.
        revision: The commit to examine.
        certificate: The certificate file.
        runtime: Device and trust.
        actor: Who examines, and when.
        progress: Is told of models.

    Raises:
        InvalidInputError: Not a certificate, or its data are not those of the task here.
        NotFoundError: No such revision, file, task, domain or metric.
        CheckFailedError: The model's output is not finite; nothing is stored.
    """
    commit_id = repository.resolve(revision)
    definition = read_certificate(certificate)
    task = open_named_task(repository, definition.task, runtime, progress)
    reference = TaskRef(task.name, task.digest)
    check_data(definition, TaskRef(definition.task, task.digest))  # opened by the certificate's own name for it
    trial = repository.commit_of(commit_id).made.get("trial")
    split = _split(task, definition, trial if isinstance(trial, int) else 0)
    predictions = predict_commits(repository, [commit_id], split, task, runtime=runtime, progress=progress)[commit_id]
    result = build_result(
        definition,
        judge(definition, predictions),
        commit=commit_id,
        manifest=repository.commit_of(commit_id).manifest,
        task=reference,
        code_version=__version__,
        examiner=actor.who(repository),
        time=actor.when(),
    )
    return CertifyResult(_keep(repository, definition, result), result)


def _split(task: Task, definition: Certificate, trial: int) -> ValidationSplit | TestSplit:
    return task.test() if definition.split == "test" else task.validation(trial)


def _keep(repository: Repository, definition: Certificate, result: CertificateResult) -> CertificateId:
    """Store result and certificate, and give the result its name in the place of an older one."""
    with repository.keeping():
        with repository.objects.transaction() as transaction:
            transaction.put_blob([definition.source])
            result_id = transaction.put_record(result)
        name = result_ref(result.commit, result.certificate, result.definition)
        repository.refs.update(
            name,
            result_id,
            expected=repository.refs.read(name),
            who=result.examiner,
            when=result.time,
            reason=f"certify: {'passed' if result.passed else 'failed'}",
        )
    return result_id
