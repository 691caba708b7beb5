"""Whether models fit together: the same names, shapes and dtypes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mlgit.errors import IncompatibleWeightsError
from mlgit.weights.forms import TensorLike, form_text

MAX_SHOWN = 10
"""Most differences that an error lists."""


@dataclass(frozen=True, slots=True)
class Incompatibility:
    """One tensor in which a model differs from the first one.

    Attributes:
        label: The model that differs.
        reference: The first model.
        name: The tensor.
        kind: ``missing`` from the model, ``extra`` in it, or its ``shape`` or ``dtype`` differs.
        expected: Dtype and shape in the first model: ``F32[512, 10]``; empty where it is extra.
        found: Dtype and shape in the model; empty where it is missing.
    """

    label: str
    reference: str
    name: str
    kind: Literal["missing", "extra", "shape", "dtype"]
    expected: str
    found: str

    def __str__(self) -> str:
        if self.kind == "missing":
            return f"'{self.name}' is missing from {self.label}"
        if self.kind == "extra":
            return f"'{self.name}' of {self.label} is not in {self.reference}"
        return f"'{self.name}' is {self.found} in {self.label}, {self.expected} in {self.reference}"


def incompatibilities(
    named: Mapping[str, Mapping[str, TensorLike]], ignore: Sequence[str] = ()
) -> Iterator[Incompatibility]:
    """Compare models with the first one.

    Args:
        named: Label (a commit id, a path) -> name of a tensor -> dtype and shape.
        ignore: Modules whose tensors are not compared: ``fc`` stands for ``fc`` and
            ``fc.weight``, not for ``fcs.weight``.

    Yields:
        Differences, model by model and by name. A tensor whose shape differs is not reported for its dtype too.
    """
    labels = list(named)
    for label in labels[1:]:
        first, other = named[labels[0]], named[label]
        for name in sorted({*first, *other}):
            kind = _kind(first.get(name), other.get(name))
            if kind is not None and not _ignored(name, ignore):
                yield Incompatibility(label, labels[0], name, kind, _form(first.get(name)), _form(other.get(name)))


def check_compatible(named: Mapping[str, Mapping[str, TensorLike]], ignore: Sequence[str] = ()) -> None:
    """Refuse models that do not fit together.

    Args:
        named: Label (a commit id, a path) -> name of a tensor -> dtype and shape.
        ignore: Modules whose tensors are not compared, such as the head.

    Raises:
        IncompatibleWeightsError: With the number of differences and the first ``MAX_SHOWN`` of them.
    """
    found = list(incompatibilities(named, ignore))
    if not found:
        return
    shown = "".join(f"\n  {difference}" for difference in found[:MAX_SHOWN])
    more = f"\n  and {len(found) - MAX_SHOWN} more" if len(found) > MAX_SHOWN else ""
    count = "1 tensor" if len(found) == 1 else f"{len(found)} tensors"
    raise IncompatibleWeightsError(
        f"the models do not fit together: {count} differ in name, shape or dtype:{shown}{more}",
        hint="only fine-tunings of one architecture, with equal names, shapes and dtypes, can be combined",
    )


def _kind(first: TensorLike | None, other: TensorLike | None) -> Literal["missing", "extra", "shape", "dtype"] | None:
    if other is None:
        return "missing"
    if first is None:
        return "extra"
    if tuple(first.shape) != tuple(other.shape):
        return "shape"
    return "dtype" if first.dtype != other.dtype else None


def _ignored(name: str, ignore: Sequence[str]) -> bool:
    return any(f"{name}.".startswith(prefix.rstrip(".") + ".") for prefix in ignore)


def _form(tensor: TensorLike | None) -> str:
    return "" if tensor is None else form_text(tensor)
