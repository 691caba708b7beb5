"""What decides the last bits of a forward pass besides weights and images."""

from __future__ import annotations

import platform

import torch

from mlgit.objects.encoding import JsonValue
from mlgit.version import __version__

CODE = 1
"""Goes up when evaluation computes other numbers than before."""


def numerics(device: torch.device) -> dict[str, JsonValue]:
    """Return code, libraries, kind of device and arithmetic: where all are equal, so are predictions, bit for bit.

    Args:
        device: Where forward passes are computed.
    """
    facts: dict[str, JsonValue] = {
        "code": CODE,
        "mlgit": __version__,
        "torch": torch.__version__,
        "device": device.type,
        "dtype": str(torch.get_default_dtype()),
        "matmul": torch.get_float32_matmul_precision(),
    }
    if device.type == "cuda":
        version: int | None = torch.backends.cudnn.version()  # type: ignore[no-untyped-call] # torch says no types
        return {**facts, "name": torch.cuda.get_device_name(device), "cudnn": version}
    return {
        **facts,
        "machine": platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "mkldnn": bool(torch.backends.mkldnn.enabled),
    }
