"""From float64 to narrower floats with one rounding, to nearest, ties to even."""

from __future__ import annotations

import torch

_DIRECT = (torch.float64, torch.float32)


def narrow(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Round float64 values once.

    torch converts float64 to half precision and below by way of float32, which rounds twice and can miss the nearest
    value. Here the step to float32 rounds to odd: inexact values get an odd last bit, so that the second
    rounding sees on which side of a tie they lie (Boldo and Melquiond, 2008). float32 has enough bits more than
    every narrower float for this to be exact, subnormal values included.

    Args:
        values: float64, any shape, contiguous.
        dtype: float64, float32, float16, bfloat16 or one of the float8 dtypes with a mantissa.

    Returns:
        Tensor of the same shape. Values too large for the dtype become what torch makes of them: an infinity, or
        NaN where the dtype has none. NaN stays NaN.
    """
    return values.to(dtype) if dtype in _DIRECT else _round_to_odd(values).to(dtype)


def _round_to_odd(values: torch.Tensor) -> torch.Tensor:
    rounded = values.to(torch.float32)
    back = rounded.to(torch.float64)
    inexact = back != values  # of NaN too, which stays NaN with one more bit set
    away = inexact & (back.abs() > values.abs())
    bits = rounded.view(torch.int32) - away.to(torch.int32)  # one step towards zero, whatever the sign
    return (bits | inexact.to(torch.int32)).view(torch.float32)
