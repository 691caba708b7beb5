"""How a run computes: precision, layout in memory, compilation, and batches in parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import torch

from mlgit.errors import InvalidInputError, did_you_mean
from mlgit.models.network import Network
from mlgit.objects import JsonValue
from mlgit.training.inputs import Function

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How updates are computed; evaluations are always in float32, one layer after the other.

    Attributes:
        precision: ``float32``; ``bfloat16`` or ``float16``: autocast in forward passes, for the latter scaled losses.
        channels_last: Keep images and convolutions with channels last.
        compile: Backend of ``torch.compile`` for forward and backward passes, ``inductor``; None: none.
        accumulate: Parts that each batch is computed in, one after the other, before its one update; at least 1.

    Raises:
        InvalidInputError: No such precision or backend, or fewer parts than one.
    """

    precision: str = "float32"
    channels_last: bool = False
    compile: str | None = None
    accumulate: int = 1

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise InvalidInputError(
                f"no precision is named '{self.precision}'",
                kind="unknown-precision",
                hint=did_you_mean(self.precision, PRECISIONS),
            )
        if self.accumulate < 1:
            raise InvalidInputError(f"a batch cannot be computed in {self.accumulate} parts", kind="bad-accumulate")

    def to_json(self) -> dict[str, JsonValue]:
        """Return the values by name."""
        return asdict(self)

    @contextmanager
    def arranged(self, network: Network) -> Iterator[None]:
        """Lay the network's weights out within the block; afterwards they are contiguous again."""
        if not self.channels_last:
            yield
            return
        network.module.to(memory_format=torch.channels_last)
        try:
            yield
        finally:
            network.module.to(memory_format=torch.contiguous_format)

    def forward(self, network: Network, forward: Function) -> Function:
        """Return a forward pass for updates.

        Args:
            network: The whole network; what is not its own forward pass is not compiled.
            forward: From inputs to logits.

        Raises:
            InvalidInputError: No such backend.
        """
        if self.compile is not None and forward == network.forward:
            forward = compiled(network, self.compile)
        return _channels_last(forward) if self.channels_last else forward

    def autocast(self, device: torch.device) -> torch.autocast:
        """Return the context of a forward pass."""
        precision = PRECISIONS[self.precision]
        return torch.autocast(device.type, dtype=precision, enabled=precision is not torch.float32)

    def scaler(self, device: torch.device) -> torch.amp.GradScaler:
        """Return what scales losses: by 1 unless gradients are in float16."""
        return torch.amp.GradScaler(device.type, enabled=self.precision == "float16")


def compiled(network: Network, backend: str) -> Function:
    """Return the module of a network, compiled when it is called first.

    Raises:
        InvalidInputError: No such backend.
    """
    known = torch.compiler.list_backends(exclude_tags=())
    if backend not in known:
        raise InvalidInputError(
            f"torch has no backend '{backend}' to compile with",
            kind="unknown-backend",
            hint=did_you_mean(backend, known),
        )
    function: Function = torch.compile(network.module, backend=backend)
    return function


def _channels_last(forward: Function) -> Function:
    def rearranged(inputs: torch.Tensor) -> torch.Tensor:
        return forward(inputs.contiguous(memory_format=torch.channels_last) if inputs.ndim == 4 else inputs)

    return rearranged
