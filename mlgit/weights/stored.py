"""Tensors to bytes and back, and the weights of a manifest, read when they are asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

import torch

from mlgit.errors import CorruptObjectError, InvalidInputError, NotFoundError
from mlgit.objects.ids import Buffer, TensorId
from mlgit.objects.manifest import Manifest, TensorEntry, check_name
from mlgit.storage.objects import ObjectDatabase
from mlgit.storage.transaction import Transaction
from mlgit.weights.forms import TensorForm
from mlgit.weights.types import Weights, forms, torch_dtype, torch_shape

if sys.byteorder != "little":  # pragma: no cover
    raise ImportError("mlgit reads and writes tensors on little-endian machines only")


def tensor_bytes(tensor: torch.Tensor) -> memoryview:
    """Return a tensor's elements as they are stored: contiguous, little-endian.

    Args:
        tensor: Any dense tensor: any shape and strides, any device, with or without gradient.

    Returns:
        Read-only bytes. They share the tensor's memory where it is contiguous; otherwise they are a copy.
    """
    dense = tensor.detach().cpu().resolve_conj().resolve_neg()
    return in_a_row(dense).view(torch.uint8).numpy().data.toreadonly()


def in_a_row(tensor: torch.Tensor) -> torch.Tensor:
    """Return the elements of a CPU tensor in one dimension with stride 1, without a copy where it is contiguous.

    ``reshape(-1)`` may keep other strides where there is at most one element, and such cannot be viewed as bytes.
    """
    dense = tensor.contiguous()
    return dense.as_strided((dense.numel(),), (1,))


def writable_bytes(tensor: torch.Tensor) -> memoryview:
    """Return the memory of a contiguous CPU tensor, to be filled."""
    return tensor.view(-1).view(torch.uint8).numpy().data


def empty_tensor(dtype: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Return a contiguous tensor with arbitrary content.

    Args:
        dtype: safetensors dtype name.
        shape: Extents, in elements.

    Raises:
        InvalidInputError: ``kind="unsupported-dtype"``: the installed torch does not have the dtype.
    """
    return torch.empty(torch_shape(TensorForm(dtype, shape)), dtype=torch_dtype(dtype))


def tensor_from_buffer(dtype: str, shape: tuple[int, ...], buffer: Buffer) -> torch.Tensor:
    """Return a new tensor with these bytes.

    Args:
        dtype: safetensors dtype name.
        shape: Extents, in elements.
        buffer: Contiguous, little-endian elements; copied.

    Raises:
        InvalidInputError: No such dtype in the installed torch, or the wrong number of bytes.
    """
    tensor = empty_tensor(dtype, shape)
    target, given = writable_bytes(tensor), memoryview(buffer).cast("B")
    if target.nbytes != given.nbytes:
        raise InvalidInputError(
            f"a tensor {dtype}{list(shape)} has {target.nbytes} bytes, not {given.nbytes}", kind="bad-tensor"
        )
    target[:] = given
    return tensor


class StoredWeights(Mapping[str, torch.Tensor]):
    """The weights of a manifest; each look-up reads the tensor anew, so that nothing is held in memory.

    Args:
        objects: Where the tensors are.
        manifest: Which ones.
    """

    def __init__(self, objects: ObjectDatabase, manifest: Manifest) -> None:
        self._objects = objects
        self._manifest = manifest

    @property
    def entries(self) -> Mapping[str, TensorEntry]:
        """Name -> id, dtype and shape; nothing is read."""
        return self._manifest.tensors

    def __getitem__(self, name: str) -> torch.Tensor:
        return _read(self._objects, self._manifest.tensors[name], name)

    def __contains__(self, name: object) -> bool:
        return name in self._manifest.tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._manifest.tensors)

    def __len__(self) -> int:
        return len(self._manifest.tensors)


def load(objects: ObjectDatabase, manifest: Manifest) -> dict[str, torch.Tensor]:
    """Read all tensors of a manifest.

    Args:
        objects: Where they are.
        manifest: Which ones.

    Returns:
        Name -> tensor, no two of which share memory; names with equal content are read once.

    Raises:
        NotFoundError: A tensor is not in this repository.
        CorruptObjectError: Stored bytes are damaged.
        InvalidInputError: ``kind="unsupported-dtype"``: the installed torch cannot hold a tensor.
    """
    for entry in manifest.tensors.values():
        torch_dtype(entry.dtype)
    read: dict[TensorId, torch.Tensor] = {}
    weights: dict[str, torch.Tensor] = {}
    for name, entry in manifest.tensors.items():
        known = read.get(entry.id)
        weights[name] = _read(objects, entry, name) if known is None else known.clone()
        read.setdefault(entry.id, weights[name])
    return weights


def store(transaction: Transaction, weights: Weights, bases: Manifest | None = None) -> dict[str, TensorEntry]:
    """Write weights, one tensor at a time.

    Args:
        transaction: Where to; its end publishes them.
        weights: What; all names, dtypes and layouts are checked before the first byte is written.
        bases: The weights that these came from: equal names of equal form may be stored as a difference.

    Returns:
        Name -> entry for a manifest, sorted by name.

    Raises:
        InvalidInputError: A name or tensor that cannot be stored.
    """
    entries: dict[str, TensorEntry] = {}
    known = bases.tensors if bases else {}
    known_forms = forms(weights)
    for name in known_forms:
        check_name(name, "tensor")
    for name, form in sorted(known_forms.items()):
        base = known.get(name)
        same_form = base is not None and (base.dtype, base.shape) == (form.dtype, form.shape)
        tensor_id = transaction.put_tensor(
            form.dtype, form.shape, [tensor_bytes(weights[name])], base=base.id if base and same_form else None
        )
        entries[name] = TensorEntry(id=tensor_id, dtype=form.dtype, shape=form.shape)
    return entries


def _read(objects: ObjectDatabase, entry: TensorEntry, name: str) -> torch.Tensor:
    tensor = empty_tensor(entry.dtype, entry.shape)
    try:
        objects.read_into(entry.id, writable_bytes(tensor))
    except (CorruptObjectError, NotFoundError) as error:
        raise type(error)(f"tensor '{name}': {error.message}", kind=error.kind, hint=error.hint) from error
    return tensor
