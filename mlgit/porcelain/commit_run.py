"""Commit weights that lie nowhere yet and put them into the working directory: both or neither."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from mlgit.errors import ConflictError
from mlgit.objects import Commit, Manifest, TensorFile
from mlgit.objects.many import making_many
from mlgit.porcelain.actor import ANYONE, Actor
from mlgit.porcelain.commit import CommitResult, parents_on
from mlgit.porcelain.model_layout import check_weights_committed, head_layout, place_weights
from mlgit.porcelain.pending_run import PendingRun, drop_run
from mlgit.porcelain.switch import replace_working_files
from mlgit.progress import Progress
from mlgit.repository import Repository
from mlgit.storage.effort import Effort
from mlgit.storage.refs import Head
from mlgit.storage.transaction import Transaction
from mlgit.worktree.snapshot import Snapshot, snapshot
from mlgit.worktree.status import committed_contents, file_changes


def commit_run(
    repository: Repository,
    weights: Mapping[str, torch.Tensor],
    run: PendingRun,
    message: str,
    *,
    expected: Head | None = None,
    effort: Effort | None = None,
    actor: Actor = ANYONE,
    progress: Progress | None = None,
) -> CommitResult:
    """Commit the weights of a run with the working files beside them, on the current branch.

    The commit is stored first; then the weights take the place of HEAD's in the working directory and the branch moves,
    in one step that is taken back when the process is killed in it.

    Args:
        repository: Where.
        weights: Name -> tensor on any device.
        run: What the commit records of them; its ``weights`` are not looked at.
        message: Why; checked by the caller.
        expected: Where HEAD must be; None: anywhere.
        effort: Favour speed or size; None: as the settings say.
        actor: Who and when.
        progress: Is told of bytes.

    Raises:
        ConflictError: HEAD moved, or weights in the working directory are not committed.
        InvalidInputError: A name or dtype that cannot be stored, or a working file that cannot be read.
        FileSystemError: The operating system refused; everything is as it was.
    """
    with repository.lock(), making_many():
        head = repository.refs.head()
        if expected not in (None, head):
            raise ConflictError("HEAD moved meanwhile", kind="head-moved", hint="go back there")
        check_weights_committed(repository)
        before = head_layout(repository, Manifest({}))
        with repository.transaction(effort) as transaction:
            current = snapshot(repository, transaction, base=before, progress=progress)
            manifest = _manifest(repository, transaction, weights, before, current)
            record = Commit(
                manifest=transaction.put_record(manifest),
                parents=parents_on(head.commit, run.parents),
                stage=run.stage,
                task=run.task,
                made=run.made,
                metrics=run.metrics,
                author=actor.who(repository),
                time=actor.when(),
                message=message,
            )
            new = transaction.put_record(record)

        def advance() -> None:
            reason = f"commit: {record.subject}"
            repository.advance(new, expected=head.commit, who=record.author, when=record.time, reason=reason)
            drop_run(repository)

        replace_working_files(repository, new, overwrite=_gone(manifest, current), then=advance, progress=progress)
    changes = file_changes(committed_contents(repository, before), committed_contents(repository, manifest))
    return CommitResult(new, record, head.branch, tuple(changes), current.skipped)


def _manifest(
    repository: Repository,
    transaction: Transaction,
    weights: Mapping[str, torch.Tensor],
    before: Manifest,
    current: Snapshot,
) -> Manifest:
    """Return the state to commit: the weights in HEAD's files of weights, and the working files that are none."""
    tensor_files = (file for file in before.files if isinstance(file, TensorFile))
    others = (file for file in current.manifest.files if not isinstance(file, TensorFile))
    layout = replace(current.manifest, tensors=before.tensors, files=(*tensor_files, *others))
    return place_weights(repository, transaction, weights, layout)


def _gone(manifest: Manifest, current: Snapshot) -> list[str]:
    """Return the files of weights that were removed from the working directory, and are to come back."""
    return [file.path for file in manifest.files if isinstance(file, TensorFile) and file.path not in current.files]
