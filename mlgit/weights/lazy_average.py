"""Averages that are computed when they are asked for, so that neither they nor their members need fit into memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum

import torch

from mlgit.objects import tensor_size_bytes
from mlgit.objects.ids import Buffer
from mlgit.weights import blocks
from mlgit.weights.accumulate import TOLERANCE, Accumulator, Rule, equal_rows, flat, rule_for
from mlgit.weights.compatibility import check_compatible
from mlgit.weights.content import average_content, tensor_content
from mlgit.weights.forms import TensorForm, TensorLike
from mlgit.weights.parts import PART, in_parts
from mlgit.weights.stored import LARGE, LazyWeights, empty_tensor, tensor_bytes, writable_bytes
from mlgit.weights.sums import Statistics, add_to, check_equal, check_statistics, identity, kept_notes
from mlgit.weights.types import Weights, forms, torch_dtype

_KEPT = 2**22
"""Bytes of scratch memory that is kept for the next tensor."""


class _Way(Enum):
    """How a tensor is computed."""

    TAKEN = "the first member's, as it is"
    STORED = "a sum of stored tensors that are known to differ"
    GIVEN = "a sum of tensors that may be equal"


class LazyAverage(LazyWeights):
    """An average whose tensors are computed when they are asked for.

    Members whose tensors have ids (``StoredWeights``) are read into memory that is used again and again: one after the
    other where a tensor is small; side by side, in parts, where it is large. Dicts hold their tensors, so that all of
    one name are added up side by side; other members are asked for one after the other, and two tensors are held.
    ``items``, ``values`` and ``flow`` compute several small tensors at a time, in threads.

    Args:
        members: Models. Not to be changed as long as this is used.
        factors: One per member; members with factor 0 are not read.
        divisor: What the sum of ``factor * member`` is divided by.
        statistics: As in ``average``.
        labels: As in ``average``.

    Attributes:
        notes: What the average could not do: which integers differed. Empty mostly.

    Raises:
        IncompatibleWeightsError: Names, shapes or dtypes differ, or tensors that must be equal.
    """

    def __init__(
        self,
        members: Sequence[Weights],
        factors: Sequence[float],
        divisor: float,
        statistics: Statistics,
        labels: Sequence[str] | None,
    ) -> None:
        check_statistics(statistics)
        known = [forms(member) for member in members]
        names = labels or [f"model {number}" for number in range(1, len(members) + 1)]
        check_compatible(dict(zip(names, known, strict=True)))
        counting = [(member, factor) for member, factor in zip(members, factors, strict=True) if factor != 0]
        self._members = [member for member, _ in counting]
        self._factors = [factor for _, factor in counting]
        self._divisor = divisor
        self._scratch = _Scratch()
        self._concurrent = all(isinstance(member, dict) or _concurrent(member) for member in self._members)
        self._convex = abs(math.fsum(self._factors) / divisor - 1) <= TOLERANCE
        self._forms = dict(sorted(known[0].items()))
        self._rules = {name: rule_for(name, form.dtype, statistics) for name, form in self._forms.items()}
        self._ways = {name: self._way(name, rule) for name, rule in self._rules.items()}
        self._entries = {name: self._entry(name, form) for name, form in self._forms.items()}
        check_equal(name for name, rule in self._rules.items() if rule is Rule.EQUAL and self._differs(name))
        self.notes = kept_notes(
            [name for name, rule in self._rules.items() if rule is Rule.FIRST and self._differs(name)]
        )

    @property
    def entries(self) -> Mapping[str, TensorLike]:
        """Name -> dtype and shape, sorted; of a stored tensor that is taken over as it is, its entry there."""
        return self._entries

    def content(self, name: str) -> str | None:
        """Return what names a tensor's content; see ``tensor_content``."""
        contents = [tensor_content(member, name) for member in self._members]
        if self._rules[name] is not Rule.MEAN or (self._convex and len(set(contents)) == 1):
            return contents[0]
        return average_content(contents, self._factors, self._divisor, dtype=self._forms[name].dtype)

    def parts(self, name: str) -> Iterator[Buffer]:
        """Yield a tensor's bytes in order; a large one is never in memory as a whole."""
        if not self._is_large(name):
            yield tensor_bytes(self._whole(name))
        elif self._ways[name] is _Way.TAKEN:
            yield from parts_of(self._members[0], name)
        else:
            rows = [parts_of(member, name) for member in self._members]
            yield from blocks.combine_parts(rows, self._real_dtype(name), self._factors, self._divisor)

    @property
    def concurrent(self) -> bool:
        """Whether several threads may look up tensors at once: where nothing but stored weights and dicts is read."""
        return self._concurrent

    def cost(self, name: str) -> int:
        """Return how much memory a look-up takes: for the tensor, one member's, and their sum."""
        size = self._size(name)
        return 2 * size + 8 * (size // self._real_dtype(name).itemsize)

    def __getitem__(self, name: str) -> torch.Tensor:
        return super().__getitem__(name) if self._is_large(name) else self._whole(name)

    def _way(self, name: str, rule: Rule) -> _Way:
        ids = [identity(member, name) for member in self._members]
        equal = ids[0] is not None and len(set(ids)) == 1
        if rule is not Rule.MEAN or (equal and self._convex):
            return _Way.TAKEN
        lazy = all(isinstance(member, LazyWeights) for member in self._members)
        return _Way.STORED if lazy and not equal and None not in ids else _Way.GIVEN

    def _entry(self, name: str, form: TensorLike) -> TensorLike:
        if self._ways[name] is _Way.TAKEN and identity(self._members[0], name) is not None:
            return forms(self._members[0])[name]
        return TensorForm(form.dtype, tuple(form.shape))

    def _differs(self, name: str) -> bool:
        """Say whether the members' tensors differ; they are read unless all have ids."""
        ids = [identity(member, name) for member in self._members]
        return self._accumulated(name).differs if None in ids else len(set(ids)) > 1

    def _is_large(self, name: str) -> bool:
        if self._ways[name] is _Way.GIVEN or not isinstance(self._members[0], LazyWeights):
            return False
        return self.cost(name) > LARGE

    def _size(self, name: str) -> int:
        return tensor_size_bytes(self._forms[name].dtype, self._forms[name].shape)

    def _real_dtype(self, name: str) -> torch.dtype:
        return torch_dtype(self._forms[name].dtype).to_real()

    def _whole(self, name: str) -> torch.Tensor:
        """Compute a tensor, in the calling thread as far as no tensor is long."""
        form, way = self._forms[name], self._ways[name]
        if way is _Way.GIVEN and not all(isinstance(member, dict) for member in self._members):
            return self._accumulated(name).value(self._divisor)
        tensor = empty_tensor(form.dtype, tuple(form.shape))
        if way is _Way.TAKEN:
            fill(self._members[0], name, writable_bytes(tensor))
        elif way is _Way.STORED:
            self._add_up_stored(name, flat(tensor))
        else:
            self._add_up_given([member[name] for member in self._members], tensor)
        return tensor

    def _add_up_stored(self, name: str, target: torch.Tensor) -> None:
        """Read one member after the other and add it to the sum."""
        sums, size = 8 * len(target), self._size(name)
        with self._scratch.take(sums + size) as memory:
            total, raw = memory[:sums].view(torch.float64), memory[sums : sums + size]
            row = raw.view(target.dtype)
            held: object = None
            step = blocks.start
            for member, factor in zip(self._members, self._factors, strict=True):
                if identity(member, name) != held:
                    fill(member, name, writable_bytes(raw))
                    held = identity(member, name)
                for part in _slices(len(target)):
                    step(total[part], row[part], factor)
                step = blocks.add
            for part in _slices(len(target)):
                blocks.finish(total[part], self._divisor, target[part])

    def _add_up_given(self, tensors: Sequence[torch.Tensor], target: torch.Tensor) -> None:
        """Add up tensors that are in memory, unless all are equal."""
        rows, result = [flat(tensor) for tensor in tensors], flat(target)
        if self._convex and all(equal_rows(rows[0], other) for other in rows[1:]):
            result.copy_(rows[0])
            return

        def work(part: slice) -> None:
            blocks.combine([row[part] for row in rows], self._factors, self._divisor, result[part])

        if len(result) <= PART:
            blocks.combine(rows, self._factors, self._divisor, result)
        else:
            in_parts(len(result), work)

    def _accumulated(self, name: str) -> Accumulator:
        total = Accumulator(self._rules[name], self._forms[name])
        for member, factor in zip(self._members, self._factors, strict=True):
            add_to(total, member, name, factor)
        return total


def parts_of(weights: Weights, name: str) -> Iterator[Buffer]:
    """Yield a tensor's bytes, in parts where the weights can read them so."""
    if isinstance(weights, LazyWeights):
        yield from weights.parts(name)
    else:
        yield tensor_bytes(weights[name])


def fill(weights: Weights, name: str, target: memoryview) -> None:
    """Fill a buffer with a tensor's bytes, without another tensor in between where the weights can do so."""
    if isinstance(weights, LazyWeights):
        weights.read_into(name, target)
    else:
        target[:] = tensor_bytes(weights[name])


def _concurrent(weights: Weights) -> bool:
    return isinstance(weights, LazyWeights) and weights.concurrent


def _slices(count: int) -> Iterator[slice]:
    for start in range(0, count, PART):
        yield slice(start, start + PART)


class _Scratch:
    """Memory that is used again, since fresh memory costs a page fault per 4 KiB; for several threads."""

    def __init__(self) -> None:
        self._spare: list[torch.Tensor] = []

    @contextmanager
    def take(self, size: int) -> Iterator[torch.Tensor]:
        """Lend a row of at least ``size`` bytes; long ones are not kept, so that they cannot add up over threads."""
        try:
            memory = self._spare.pop()
        except IndexError:
            memory = torch.empty(0, dtype=torch.uint8)
        if len(memory) < size:
            memory = torch.empty(max(size, _KEPT), dtype=torch.uint8)
        yield memory
        if len(memory) <= _KEPT:
            self._spare.append(memory)
