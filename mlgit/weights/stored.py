"""Tensors to bytes and back, and the weights of a manifest, read when they are asked for."""

from __future__ import annotations

import ctypes
import sys
from abc import ABC, abstractmethod
from collections.abc import Generator, ItemsView, Iterable, Iterator, Mapping, ValuesView
from contextlib import closing, contextmanager
from typing import NamedTuple, cast

import torch

from mlgit.errors import CorruptObjectError, IncompatibleWeightsError, InvalidInputError, NotFoundError
from mlgit.objects import tensor_size_bytes
from mlgit.objects.ids import Buffer, TensorId
from mlgit.objects.manifest import Manifest, TensorEntry, check_name
from mlgit.objects.many import making_many
from mlgit.storage.objects import ObjectDatabase
from mlgit.storage.transaction import Transaction
from mlgit.weights.ahead import BUDGET, ahead
from mlgit.weights.compatibility import check_compatible
from mlgit.weights.forms import TensorForm, TensorLike
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


_WRITABLE = 0x200  # PyBUF_WRITE
_view_of_memory = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int)(
    ("PyMemoryView_FromMemory", ctypes.pythonapi)
)  # a tenth of the time of a view by way of NumPy, and there may be tens of thousands of tensors


def writable_bytes(tensor: torch.Tensor) -> memoryview:
    """Return the memory of a contiguous CPU tensor, to be filled; whoever calls keeps the tensor alive meanwhile."""
    if not tensor.numel():
        return memoryview(bytearray())
    return cast("memoryview", _view_of_memory(tensor.data_ptr(), tensor.nbytes, _WRITABLE))


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


LARGE = BUDGET // 2
"""What takes more memory than this is read in parts, where it can be."""
_GROUP = 2**20


class LazyWeights(Mapping[str, torch.Tensor], ABC):
    """Weights whose tensors are read or computed when they are asked for, and never held.

    A look-up makes a new tensor each time. ``parts`` yields a tensor's bytes without ever having them all in memory.
    """

    @property
    @abstractmethod
    def entries(self) -> Mapping[str, TensorLike]:
        """Name -> dtype and shape, and the id where it is known; no tensor is read."""

    @abstractmethod
    def parts(self, name: str) -> Iterator[Buffer]:
        """Yield a tensor's bytes in order, in parts of whole elements of bounded size.

        Each part may change when the next one is asked for.
        """

    def read_into(self, name: str, target: memoryview) -> None:
        """Fill a buffer with a tensor's bytes.

        Args:
            name: Which tensor.
            target: Writable bytes, exactly as many as it has.
        """
        start = 0
        for part in self.parts(name):
            view = memoryview(part).cast("B")
            target[start : start + len(view)] = view
            start += len(view)

    @property
    def concurrent(self) -> bool:
        """Whether several threads may look up tensors at once."""
        return True

    def cost(self, name: str) -> int:
        """Return how much memory a look-up takes, the tensor included, in bytes."""
        form = self.entries[name]
        return tensor_size_bytes(form.dtype, form.shape)

    def flow(self, names: Iterable[str]) -> Iterator[tuple[str, Iterable[Buffer]]]:
        """Yield each name with its tensor's bytes, small tensors computed ahead, in threads.

        The bytes are to be taken before the next name.
        """
        for name, tensor in self.computed(names):
            yield name, self.parts(name) if tensor is None else iter([tensor_bytes(tensor)])

    def computed(self, names: Iterable[str]) -> Iterator[tuple[str, torch.Tensor | None]]:
        """Yield each name with its tensor, computed ahead, or with None where it is large."""
        if not self.concurrent:
            yield from ((name, None) for name in names)
            return
        for group, tensors in ahead(self._grouped(names), self._look_up, lambda group: group.cost):
            yield from zip(group.names, tensors, strict=True)

    def _grouped(self, names: Iterable[str]) -> Iterator[_Group]:
        """Put small tensors together, so that a thread has something to do; a large one stands alone, at no cost."""
        group: list[str] = []
        total = 0
        for name in names:
            cost = self.cost(name)
            if group and total + cost > _GROUP:
                yield _Group(group, total)
                group, total = [], 0
            if cost > LARGE:
                yield _Group([name], 0)
                continue
            group.append(name)
            total += cost
        if group:
            yield _Group(group, total)

    def _look_up(self, group: _Group) -> list[torch.Tensor | None]:
        return [self[name] for name in group.names] if group.cost or self.cost(group.names[0]) <= LARGE else [None]

    def items(self) -> ItemsView[str, torch.Tensor]:
        """Return names and tensors; while they are walked through, small tensors are computed ahead, in threads."""
        return _Items(self)

    def values(self) -> ValuesView[torch.Tensor]:
        """Return the tensors, computed as those of ``items``."""
        return _Values(self)

    def __getitem__(self, name: str) -> torch.Tensor:
        form = self.entries[name]
        tensor = empty_tensor(form.dtype, tuple(form.shape))
        self.read_into(name, writable_bytes(tensor))
        return tensor

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


class _Group(NamedTuple):
    """Names of tensors that are looked up together, and the memory it takes."""

    names: list[str]
    cost: int


class _Items(ItemsView[str, torch.Tensor]):
    def __init__(self, weights: LazyWeights) -> None:
        super().__init__(weights)
        self._weights = weights

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        for name, tensor in self._weights.computed(self._weights):
            yield name, self._weights[name] if tensor is None else tensor


class _Values(ValuesView[torch.Tensor]):
    def __init__(self, weights: LazyWeights) -> None:
        super().__init__(weights)
        self._items = _Items(weights)

    def __iter__(self) -> Iterator[torch.Tensor]:
        yield from (tensor for _, tensor in self._items)


class StoredWeights(LazyWeights):
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

    def read_into(self, name: str, target: memoryview) -> None:
        """Decode a tensor straight into a buffer."""
        with _naming(name):
            self._objects.read_into(self._manifest.tensors[name].id, target)

    def parts(self, name: str) -> Iterator[Buffer]:
        """Yield a tensor's bytes as they are decoded."""
        with _naming(name):
            yield from self._objects.stream(self._manifest.tensors[name].id)


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
    weights = {name: empty_tensor(entry.dtype, entry.shape) for name, entry in manifest.tensors.items()}
    _fill(objects, manifest, weights)
    return weights


def load_into(objects: ObjectDatabase, manifest: Manifest, tensors: Weights) -> None:
    """Read all tensors of a manifest into tensors that exist, as those of a module.

    Args:
        objects: Where they are.
        manifest: Which ones.
        tensors: Name -> tensor of the same dtype and shape, for exactly the names of the manifest. What
            lies contiguous in memory is decoded straight into it, all else is copied into it.

    Raises:
        NotFoundError: A tensor is not in this repository; some of ``tensors`` hold rubbish.
        CorruptObjectError: Stored bytes are damaged; likewise.
        IncompatibleWeightsError: Names, dtypes or shapes differ, or tensors that share memory are to hold different
            contents; nothing was written.
    """
    check_compatible({"the commit": manifest.tensors, "the given tensors": forms(tensors)})
    _check_shared(manifest, tensors)
    staged = {name: tensor.detach() for name, tensor in tensors.items()}
    copied = {
        name: empty_tensor(manifest.tensors[name].dtype, manifest.tensors[name].shape)
        for name, tensor in staged.items()
        if tensor.device.type != "cpu" or not tensor.is_contiguous()
    }
    _fill(objects, manifest, staged | copied)
    for name, tensor in copied.items():
        staged[name].copy_(tensor)


def _check_shared(manifest: Manifest, tensors: Weights) -> None:
    first: dict[int, str] = {}
    for name, tensor in tensors.items():
        other = first.setdefault(tensor.data_ptr(), name) if tensor.numel() else name
        if manifest.tensors[other].id != manifest.tensors[name].id:
            raise IncompatibleWeightsError(
                f"tensors '{other}' and '{name}' share memory, but in the commit their contents differ",
                hint="load the weights without tying these tensors",
            )


def _fill(objects: ObjectDatabase, manifest: Manifest, tensors: Weights) -> None:
    """Decode into contiguous CPU tensors; names with equal content are read once."""
    first: dict[TensorId, str] = {}
    for name, entry in manifest.tensors.items():
        first.setdefault(entry.id, name)
    try:
        with making_many():
            objects.read_all_into((tensor_id, writable_bytes(tensors[name])) for tensor_id, name in first.items())
    except (CorruptObjectError, NotFoundError):
        for tensor_id, name in first.items():  # once more, one by one, to name the tensor
            with _naming(name):
                objects.read_into(tensor_id, writable_bytes(tensors[name]))
    for name, entry in manifest.tensors.items():
        if first[entry.id] != name:
            tensors[name].copy_(tensors[first[entry.id]])


def store(transaction: Transaction, weights: Weights, bases: Manifest | None = None) -> dict[str, TensorEntry]:
    """Write weights, one tensor at a time; what is known to be stored by its id is not read.

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
    for name, form in known_forms.items():
        tensor_id: TensorId | None = getattr(form, "id", None)
        if tensor_id is not None and tensor_id in transaction:
            entries[name] = TensorEntry(id=tensor_id, dtype=form.dtype, shape=tuple(form.shape))
    with closing(_flow(weights, sorted(known_forms.keys() - entries.keys()))) as flow:  # it may have threads at work
        for name, parts in flow:
            form, base = known_forms[name], known.get(name)
            same_form = base is not None and (base.dtype, base.shape) == (form.dtype, form.shape)
            tensor_id = transaction.put_tensor(
                form.dtype,
                form.shape,
                parts,
                base=base.id if base and same_form else None,
                expected=getattr(form, "id", None),
            )
            entries[name] = TensorEntry(id=tensor_id, dtype=form.dtype, shape=form.shape)
    return dict(sorted(entries.items()))


def _flow(weights: Weights, names: Iterable[str]) -> Generator[tuple[str, Iterable[Buffer]], None, None]:
    if isinstance(weights, LazyWeights):
        yield from weights.flow(names)
        return
    for name in names:
        yield name, [tensor_bytes(weights[name])]


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Let errors of the object database name the tensor."""
    try:
        yield
    except (CorruptObjectError, NotFoundError) as error:
        raise type(error)(f"tensor '{name}': {error.message}", kind=error.kind, hint=error.hint) from error
