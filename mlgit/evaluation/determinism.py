"""The same numbers each time on an accelerator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def deterministic_kernels() -> Iterator[None]:
    """Choose cuDNN's deterministic algorithms in full float32 within the block; a CPU needs no choice."""
    with torch.backends.cudnn.flags(
        enabled=torch.backends.cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=False
    ):
        yield
