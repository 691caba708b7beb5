"""The weighted sum of one tensor of several models, in float64 and in the order in which they are added."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Self

import numpy as np
import torch

from mlgit.errors import MlgitError
from mlgit.weights import blocks
from mlgit.weights.forms import TensorLike
from mlgit.weights.parts import in_parts
from mlgit.weights.stored import empty_tensor, in_a_row

_COMPARED = 2**17  # words of eight bytes
_GLANCE = 64  # bytes: most tensors that differ do so at once
TOLERANCE = 1e-9
"""How far from 1 the sum of coefficients may be for equal tensors to be taken over as they are."""

FLOATS = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "C64"})
"""dtypes that have a mean."""
INTEGERS = frozenset({"BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64"})
"""dtypes of which the first is kept where models differ."""
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Last parts of the names of what batch normalization has counted."""


class Rule(Enum):
    """What becomes of one tensor of several models."""

    MEAN = "mean"
    FIRST = "first"
    EQUAL = "equal"


def rule_for(name: str, dtype: str, statistics: str) -> Rule:
    """Return the rule for a tensor.

    Args:
        name: Its name.
        dtype: The dtype, by its name in safetensors.
        statistics: ``require-equal``, ``average`` or ``first``: the rule for ``STATISTICS``.
    """
    if dtype not in FLOATS | INTEGERS:
        return Rule.EQUAL
    if name.rpartition(".")[2] in STATISTICS and statistics != "average":
        return Rule.EQUAL if statistics == "require-equal" else Rule.FIRST
    return Rule.MEAN if dtype in FLOATS else Rule.FIRST


@dataclass
class Accumulator:
    """One tensor of several models.

    While all tensors are equal, bit for bit, only the first one is held; from the first difference on, only the
    float64 sum. So tensors that all models share cost no arithmetic, and come out exactly as they went in.

    Attributes:
        rule: What to do with tensors that differ.
        form: The dtype and shape that all of them have.
        differs: Whether two of the tensors differ.
        coefficients: One per tensor that was added.
        identity: What the first one's ``identity`` was.
        first: The first one, where it is held.
        total: The sum, float64 in a row, where it is held.
    """

    rule: Rule
    form: TensorLike
    differs: bool = False
    coefficients: tuple[float, ...] = ()
    identity: object = None
    first: torch.Tensor | None = None
    total: torch.Tensor | None = None

    def add(self, read: Callable[[], torch.Tensor], coefficient: float, identity: object = None) -> None:
        """Add ``coefficient`` times a tensor.

        Args:
            read: Returns the tensor; not called where ``identity`` says enough.
            coefficient: Finite.
            identity: Something equal only for equal tensors, such as an id; None where nothing is known.
        """
        if self.total is not None:
            _add(self.total, flat(read()), coefficient)
        elif self.first is None:
            self.first, self.identity = read(), identity
        elif identity is None or identity != self.identity:
            self._add_to_equal(self.first, read(), coefficient)
        self.coefficients += (coefficient,)

    def _add_to_equal(self, first: torch.Tensor, tensor: torch.Tensor, coefficient: float) -> None:
        if equal_bits(first, tensor):
            return
        self.differs = True
        if self.rule is Rule.MEAN:
            self.total = self._sum_of(first)
            self.first = None
            _add(self.total, flat(tensor), coefficient)

    def fork(self) -> Self:
        """Return a copy; what is added to it does not change this one."""
        return replace(self, total=None if self.total is None else self.total.clone())

    def value(self, divisor: float) -> torch.Tensor:
        """Return the sum over ``divisor``, or the first tensor where the rules say so; never an alias.

        Args:
            divisor: What the float64 sum is divided by, before the one rounding to the tensors' dtype.
        """
        total = self.total
        if self.first is not None:
            if self.rule is not Rule.MEAN or abs(math.fsum(self.coefficients) / divisor - 1) <= TOLERANCE:
                return self.first.detach().cpu().clone(memory_format=torch.contiguous_format)
            total = self._sum_of(self.first)
        if total is None:
            raise MlgitError("a sum of no tensors has no value")
        return _finished(total, divisor, self.form)

    def value_with(
        self, read: Callable[[], torch.Tensor], coefficient: float, divisor: float, identity: object = None
    ) -> torch.Tensor:
        """Return what ``value`` would return after ``add``, and add nothing."""
        if self.total is None:
            other = self.fork()
            other.add(read, coefficient, identity)
            return other.value(divisor)
        return _finished(self.total, divisor, self.form, flat(read()), coefficient)

    def _sum_of(self, first: torch.Tensor) -> torch.Tensor:
        """Return the sum of as many copies of ``first`` as there are coefficients."""
        row = flat(first)
        total = torch.empty(len(row), dtype=torch.float64)
        in_parts(len(row), lambda part: blocks.start(total[part], row[part], self.coefficients[0]))
        for coefficient in self.coefficients[1:]:
            _add(total, row, coefficient)
        return total


def _add(total: torch.Tensor, row: torch.Tensor, coefficient: float) -> None:
    in_parts(len(row), lambda part: blocks.add(total[part], row[part], coefficient))


def _finished(
    total: torch.Tensor, divisor: float, form: TensorLike, row: torch.Tensor | None = None, coefficient: float = 1.0
) -> torch.Tensor:
    """Return ``(total + coefficient * row) / divisor``, rounded; ``total`` stays as it is."""
    result = empty_tensor(form.dtype, tuple(form.shape))
    target = flat(result)

    def work(part: slice) -> None:
        here = blocks.block("finished", len(target[part]))
        here.copy_(total[part])
        if row is not None:
            blocks.add(here, row[part], coefficient)
        blocks.finish(here, divisor, target[part])

    in_parts(len(total), work)
    return result


def flat(tensor: torch.Tensor) -> torch.Tensor:
    """Return the real numbers of a tensor in a row; complex ones as pairs. Shares memory where it is contiguous."""
    if (
        tensor.is_cpu
        and tensor.is_contiguous()
        and not (tensor.is_complex() or tensor.requires_grad or tensor.is_neg())
    ):
        return tensor.as_strided((tensor.numel(),), (1,))  # nothing to be done, as for most tensors
    dense = tensor.detach().cpu().resolve_conj().resolve_neg()
    return in_a_row(torch.view_as_real(dense) if dense.is_complex() else dense)


def equal_bits(first: torch.Tensor, other: torch.Tensor) -> bool:
    """Compare bit for bit, and stop at the first part that differs."""
    return equal_rows(flat(first), flat(other))


def equal_rows(first: torch.Tensor, other: torch.Tensor) -> bool:
    """Compare what ``flat`` returned bit for bit, and stop at the first part that differs."""
    left, right = first.view(torch.uint8).numpy(), other.view(torch.uint8).numpy()
    if left[:_GLANCE].tobytes() != right[:_GLANCE].tobytes():
        return False
    words = len(left) // 8 * 8
    if not np.array_equal(left[words:], right[words:]):
        return False
    left, right = left[:words].view(np.uint64), right[:words].view(np.uint64)
    parts = (slice(start, start + _COMPARED) for start in range(0, len(left), _COMPARED))
    return all(np.array_equal(left[part], right[part]) for part in parts)
