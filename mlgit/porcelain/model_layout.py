"""Give weights the files they belong into: those of an existing layout where it fits, one new file otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from mlgit.errors import ConflictError
from mlgit.objects import BlobFile, Manifest, TensorEntry, TensorFile
from mlgit.porcelain.status import status
from mlgit.repository import Repository
from mlgit.storage.transaction import Transaction
from mlgit.weights.header import build_header
from mlgit.weights.stored import store
from mlgit.worktree.checkout import checkout, remember
from mlgit.worktree.model_file import MODEL_FILE, read_model_file
from mlgit.worktree.scan import TENSOR_SUFFIX
from mlgit.worktree.snapshot import stored_header
from mlgit.worktree.status import Change

DEFAULT_FILE = "model.safetensors"


def place_weights(
    repository: Repository, transaction: Transaction, weights: Mapping[str, torch.Tensor], layout: Manifest
) -> Manifest:
    """Store weights and describe them as a state of the model directory.

    Args:
        repository: Where.
        transaction: Takes tensors and headers.
        weights: Name -> tensor on any device.
        layout: The state whose files, factory and head are kept. When its files hold just these names they keep their
            tensors and metadata; otherwise one ``model.safetensors`` takes the place of its safetensors files.

    Returns:
        The new state.

    Raises:
        InvalidInputError: A name or dtype that cannot be stored.
    """
    entries = store(transaction, weights, layout)
    tensor_files = [file for file in layout.files if isinstance(file, TensorFile)]
    others = tuple(file for file in layout.files if isinstance(file, BlobFile))
    if set(layout.tensors) == set(entries) and tensor_files:
        files = tuple(_same_file(repository, transaction, layout, file, entries) for file in tensor_files)
    else:
        header = build_header({name: (entry.dtype, entry.shape) for name, entry in entries.items()})
        files = (TensorFile(DEFAULT_FILE, transaction.put_blob([header.raw])),)
    return replace(layout, tensors=entries, files=(*files, *others))


def _same_file(
    repository: Repository,
    transaction: Transaction,
    layout: Manifest,
    file: TensorFile,
    entries: Mapping[str, TensorEntry],
) -> TensorFile:
    """Return ``file`` with a header that fits the tensors' new dtypes and shapes."""
    header = stored_header(repository, layout, file)
    if all((entries[old.name].dtype, entries[old.name].shape) == (old.dtype, old.shape) for old in header.entries):
        return file
    forms = {old.name: (entries[old.name].dtype, entries[old.name].shape) for old in header.entries}
    return TensorFile(file.path, transaction.put_blob([build_header(forms, header.metadata).raw]))


def replace_weights(repository: Repository, manifest: Manifest, *, then: Callable[[], None]) -> None:
    """Write the safetensors files of ``manifest`` into the working directory, in the place of HEAD's.

    Args:
        repository: Where; the caller holds the worktree lock.
        manifest: A stored state; its other files are left alone.
        then: Called when the files are in place; when it raises, they are put back.
    """
    new = {file.path for file in manifest.files if isinstance(file, TensorFile)}
    old = {file.path for file in head_layout(repository, manifest).files if isinstance(file, TensorFile)}
    checkout(repository, manifest, paths=new, remove=old - new, then=then)
    remember(repository, manifest, new)


def head_layout(repository: Repository, otherwise: Manifest) -> Manifest:
    """Return the state that HEAD names, whose files the working directory has, or another before the first commit."""
    head = repository.head
    return otherwise if head is None else repository.manifest_of(head)


def with_definitions(repository: Repository, transaction: Transaction, base: Manifest) -> Manifest:
    """Return a state with the working directory's ``mlgit.toml``, which defines the tasks, if it is of this model.

    Args:
        repository: Where.
        transaction: Takes the file.
        base: The state.
    """
    path = repository.root / MODEL_FILE
    model = read_model_file(path)
    if (model.factory, model.head) != (base.factory, base.head) or not path.is_file():
        return base
    data = path.read_bytes()
    blob = BlobFile(MODEL_FILE, transaction.put_blob([data]), len(data))
    return replace(base, files=(*(file for file in base.files if file.path != MODEL_FILE), blob))


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
