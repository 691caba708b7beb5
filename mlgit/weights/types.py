"""Weights, and the dtypes that torch and safetensors share."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch

from mlgit.errors import InvalidInputError
from mlgit.weights.forms import TensorForm, TensorLike

Weights = Mapping[str, torch.Tensor]
"""Name of a parameter or buffer -> CPU tensor; read-only by convention."""

_TORCH_NAMES = {
    "BOOL": "bool",
    "F4": "float4_e2m1fn_x2",
    "U8": "uint8",
    "I8": "int8",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "I16": "int16",
    "U16": "uint16",
    "F16": "float16",
    "BF16": "bfloat16",
    "I32": "int32",
    "U32": "uint32",
    "F32": "float32",
    "C64": "complex64",
    "F64": "float64",
    "I64": "int64",
    "U64": "uint64",
}

DTYPES: Mapping[str, torch.dtype] = MappingProxyType(
    {name: getattr(torch, text) for name, text in _TORCH_NAMES.items() if hasattr(torch, text)}
)
"""safetensors name -> torch dtype, as far as the installed torch has it."""

DTYPE_NAMES: Mapping[torch.dtype, str] = MappingProxyType({dtype: name for name, dtype in DTYPES.items()})
"""torch dtype -> safetensors name."""

PACKED = "F4"
"""Two elements of this dtype share a byte; torch counts the bytes, safetensors the elements."""


def torch_dtype(name: str) -> torch.dtype:
    """Return torch's dtype for a safetensors name.

    Raises:
        InvalidInputError: ``kind="unsupported-dtype"``: the installed torch has none, as for ``F6_E2M3``.
    """
    if name not in DTYPES:
        raise InvalidInputError(
            f"the installed torch {torch.__version__} has no dtype {name}",
            kind="unsupported-dtype",
            hint="such tensors can be committed and checked out, but not loaded",
        )
    return DTYPES[name]


def tensor_form(tensor: torch.Tensor, name: str = "") -> TensorForm:
    """Return dtype and shape in the words of safetensors.

    Args:
        tensor: A dense tensor.
        name: Its name, for the error.

    Raises:
        InvalidInputError: ``kind="unsupported-tensor"``: sparse, quantized, nested, without data, or of a dtype that
            safetensors cannot hold, such as complex128.
    """
    dtype = DTYPE_NAMES.get(tensor.dtype)
    reason = _unsupported(tensor) or (None if dtype else f"of dtype {_plain(tensor.dtype)}")
    if dtype == PACKED and not tensor.ndim:
        reason = "a scalar of a dtype that packs two elements into a byte"
    if reason or dtype is None:
        raise InvalidInputError(
            f"tensor '{name}' is {reason}; it cannot be stored",
            kind="unsupported-tensor",
            hint="convert it to a dense tensor of a dtype that safetensors knows, or leave it out",
        )
    shape = tuple(tensor.shape)
    return TensorForm(dtype, (*shape[:-1], 2 * shape[-1]) if dtype == PACKED else shape)


def forms(weights: Weights) -> Mapping[str, TensorLike]:
    """Return dtype and shape of every tensor; weights that know them (``weights.entries``) are not read.

    Raises:
        InvalidInputError: A tensor that cannot be stored.
    """
    entries: Mapping[str, TensorLike] | None = getattr(weights, "entries", None)
    if entries is not None:
        return entries
    return {name: tensor_form(tensor, name) for name, tensor in weights.items()}


def torch_shape(form: TensorLike) -> tuple[int, ...]:
    """Return the shape torch gives to a tensor of this form."""
    shape = tuple(form.shape)
    return (*shape[:-1], shape[-1] // 2) if form.dtype == PACKED else shape


def _unsupported(tensor: torch.Tensor) -> str | None:
    if tensor.is_nested:
        return "nested"
    if tensor.layout is not torch.strided:
        return f"sparse ({_plain(tensor.layout)})"
    if tensor.is_quantized:
        return f"quantized ({_plain(tensor.dtype)})"
    if tensor.is_meta:
        return "on the device 'meta', without data"
    return None


def _plain(thing: object) -> str:
    return str(thing).removeprefix("torch.")
