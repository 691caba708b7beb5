"""How far the tensors of two models lie apart, read in parts, so that memory does not grow with them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from mlgit.objects.dtypes import BITS
from mlgit.objects.ids import TensorId
from mlgit.objects.manifest import Manifest, TensorEntry
from mlgit.weights.decoding import Bytes, Numbers, Reals, differing, native

CHUNK = 3 * 2**18
"""Elements compared at a time; a multiple of what fills whole bytes in every dtype."""

Status = Literal["added", "removed", "changed", "shape", "dtype"]


@dataclass(frozen=True, slots=True)
class TensorDifference:
    """One name whose tensors differ between two models ``a`` and ``b``.

    The numbers are None unless the status is ``changed``, and where they are not defined: a norm of 0, a value that
    is NaN or infinite, a dtype whose packing no specification fixes (F6).

    Attributes:
        name: The tensor.
        status: ``added``: only in ``b``. ``removed``: only in ``a``. ``shape``, ``dtype``: not comparable. ``changed``.
        relative_l2: Norm of b - a over the norm of a; 0 or more.
        cosine: Of the angle between a and b; -1 to 1.
        share_changed: Elements whose bits differ over all elements; above 0, up to 1.
        largest_change: Largest absolute value of b - a (complex: of its parts). Defined where all elements that
            changed are finite, whatever the others are.
    """

    name: str
    status: Status
    relative_l2: float | None = None
    cosine: float | None = None
    share_changed: float | None = None
    largest_change: float | None = None


class TensorSource(Protocol):
    """Where tensors are read from; an object database is one."""

    def stream(self, object_id: TensorId, /) -> Iterator[bytes | memoryview]:
        """Yield a tensor's bytes in parts of any size."""


def compare(objects: TensorSource, a: Manifest, b: Manifest) -> Iterator[TensorDifference]:
    """Compare two models name by name.

    Tensors with equal ids are not read. Elements with equal bits count as unchanged, NaN too.

    Args:
        objects: Where the tensors are.
        a: The model to start from.
        b: The model to compare with it.

    Yields:
        One difference per name that differs, in sorted order of names.

    Raises:
        NotFoundError: A tensor is not in this repository.
        CorruptObjectError: Stored bytes are damaged.
    """
    for name in sorted({*a.tensors, *b.tensors}):
        first, second = a.tensors.get(name), b.tensors.get(name)
        if first is None or second is None:
            yield TensorDifference(name, "added" if first is None else "removed")
        elif first.shape != second.shape:
            yield TensorDifference(name, "shape")
        elif first.dtype != second.dtype:
            yield TensorDifference(name, "dtype")
        elif first.id != second.id:
            yield _changed(objects, name, first, second)


def _changed(objects: TensorSource, name: str, a: TensorEntry, b: TensorEntry) -> TensorDifference:
    size = CHUNK * BITS[a.dtype] // 8
    sums = _Sums()
    for left, right in zip(_blocks(objects.stream(a.id), size), _blocks(objects.stream(b.id), size), strict=True):
        sums.add(left, right, a.dtype)
    return sums.difference(name)


@dataclass
class _Sums:
    """What was seen of two tensors so far."""

    elements: int = 0
    changed: int = 0
    square_a: float = 0.0
    square_b: float = 0.0
    square_change: float = 0.0
    product: float = 0.0
    largest: float = 0.0

    def add(self, left: Bytes, right: Bytes, dtype: str) -> None:
        differs = differing(left, right, BITS[dtype])
        self.elements += len(differs)
        self.changed += int(np.count_nonzero(differs))
        a, b = native(left, dtype), native(right, dtype)
        if a is None or b is None:
            self.square_a = self.largest = math.nan
            return
        with np.errstate(invalid="ignore", over="ignore", under="ignore"):
            change = np.where(np.repeat(differs, len(a) // len(differs)), _distance(a, b), 0.0)
            x, y = a.astype(np.float64), b.astype(np.float64)
            self.square_a += float(np.sum(x * x))
            self.square_b += float(np.sum(y * y))
            self.square_change += float(np.sum(change * change))
            self.product += float(np.sum(x * y))
            self.largest = float(np.maximum(self.largest, change.max()))

    def difference(self, name: str) -> TensorDifference:
        norm_a, norm_b = math.sqrt(self.square_a), math.sqrt(self.square_b)
        cosine = _ratio(self.product, norm_a * norm_b)
        return TensorDifference(
            name=name,
            status="changed",
            relative_l2=_ratio(math.sqrt(self.square_change), norm_a),
            cosine=None if cosine is None else max(-1.0, min(1.0, cosine)),
            share_changed=self.changed / self.elements,
            largest_change=self.largest if math.isfinite(self.largest) else None,
        )


def _distance(a: Numbers, b: Numbers) -> Reals:
    """Return |b - a|; of integers exactly, whatever their width."""
    if a.dtype.kind == "f":
        return np.abs(b.astype(np.float64) - a.astype(np.float64))
    low, high = np.minimum(a, b).astype(np.uint64), np.maximum(a, b).astype(np.uint64)
    return (high - low).astype(np.float64)  # modulo 2^64, which is right for negative ones too


def _ratio(part: float, whole: float) -> float | None:
    value = part / whole if 0 < whole < math.inf else math.nan
    return value if math.isfinite(value) else None


def _blocks(parts: Iterable[bytes | memoryview], size: int) -> Iterator[Bytes]:
    """Yield the same bytes in blocks of ``size``, the last one shorter."""
    block = bytearray()
    for part in parts:
        rest = memoryview(part).cast("B")
        while len(rest):
            taken = rest[: size - len(block)]
            block += taken
            rest = rest[len(taken) :]
            if len(block) == size:
                yield np.frombuffer(block, dtype=np.uint8)
                block = bytearray()
    if block:
        yield np.frombuffer(block, dtype=np.uint8)
