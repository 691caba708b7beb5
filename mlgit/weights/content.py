"""What weights hold, told without reading them: by the ids of stored tensors, and by how an average is computed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from blake3 import blake3

from mlgit.objects.encoding import JsonValue, canonical_json
from mlgit.weights.forms import TensorLike
from mlgit.weights.types import Weights, forms

AVERAGE = "mlgit average 1\n"
"""Names the arithmetic of averages; another one wherever their bits would be others."""
_POWER_OF_TWO = 0.5  # the mantissa that ``frexp`` gives it


class HeldWeights(dict[str, torch.Tensor]):
    """Tensors in memory of which it is known what they are. Not to be changed.

    Args:
        tensors: Name -> tensor.
        contents: Name -> what ``tensor_content`` is to return.
    """

    def __init__(self, tensors: Iterable[tuple[str, torch.Tensor]], contents: Mapping[str, str | None]) -> None:
        super().__init__(tensors)
        self._contents = contents

    def content(self, name: str) -> str | None:
        """Return what names a tensor's content, or None."""
        return self._contents.get(name)


def tensor_content(weights: Weights, name: str) -> str | None:
    """Return text that is the same for two tensors only if dtype, shape and all bits are.

    Returns:
        The tensor's id where it is stored, a digest of how it is computed where it is computed from such, or None where
        only the bits could tell. Equal tensors may have different texts.
    """
    entries: Mapping[str, TensorLike] = getattr(weights, "entries", {})
    tensor_id: str | None = getattr(entries.get(name), "id", None)
    if tensor_id is not None:
        return str(tensor_id)
    content = getattr(weights, "content", None)
    return None if content is None else content(name)


def weights_content(weights: Weights, contents: Mapping[str, str | None] | None = None) -> str | None:
    """Return a digest that is the same for two sets of weights only if they are the same, or None if nobody can tell.

    No tensor is read or computed. Names and forms count, and so do contents as ``tensor_content`` tells them: not where
    the weights are stored, nor what else is stored with them.

    Args:
        weights: Which.
        contents: Name -> content, for weights that are to be made of these and have the same names and forms.
    """
    known = contents_of(weights) if contents is None else contents
    if any(known.get(name) is None for name in weights):
        return None
    rows: list[JsonValue] = [
        [name, form.dtype, list(form.shape), known[name]] for name, form in sorted(forms(weights).items())
    ]
    return blake3(b"mlgit weights 1\n" + canonical_json(rows)).hexdigest()


def average_content(
    contents: Sequence[str | None], factors: Sequence[float], divisor: float, *, dtype: str
) -> str | None:
    """Return what names ``(f_1 * x_1 + f_2 * x_2 + ...) / divisor``, in float64, the members taken in this order.

    Args:
        contents: What names each ``x``; None where nobody can tell.
        factors: One per member.
        divisor: Above 0. Where it is a power of two it may as well divide the factors: so the middle of a path has the
            name of the average of its ends.
        dtype: Of all members. Sums of F64 may overflow before they are divided, so there both stay apart.
    """
    if None in contents:
        return None
    if dtype != "F64" and math.frexp(divisor)[0] == _POWER_OF_TWO:
        factors, divisor = [factor / divisor for factor in factors], 1.0
    terms: list[JsonValue] = [[content, float(factor).hex()] for content, factor in zip(contents, factors, strict=True)]
    if len(terms) == 2:  # a sum of two is the same in both orders
        terms.sort(key=str)
    how: JsonValue = [terms, float(divisor).hex()]
    return blake3(AVERAGE.encode() + canonical_json(how)).hexdigest()


def derived_content(content: str, *how: str) -> str:
    """Return what names the result of a computation.

    Args:
        content: Of what it starts from.
        how: All that it depends on besides.
    """
    return blake3(b"mlgit derived 1\n" + canonical_json([content, *how])).hexdigest()


def contents_of(weights: Weights) -> dict[str, str | None]:
    """Return the content of every tensor."""
    return {name: tensor_content(weights, name) for name in weights}


def held(weights: Weights) -> Weights:
    """Return weights with every tensor in memory, each read once; what is known of them stays known."""
    return HeldWeights(weights.items(), contents_of(weights))
