"""One update: forward, backward, and a step of Adam."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

import torch
from torch import nn

from mlgit.errors import InvalidInputError
from mlgit.models.network import Network
from mlgit.objects import JsonValue
from mlgit.objects.encoding import Fields
from mlgit.training.execution import Execution
from mlgit.training.hyper import HyperParameters
from mlgit.training.inputs import Inputs
from mlgit.training.losses import Forward, Loss
from mlgit.training.snapshot import Snapshot


@final
class Updates:
    """Changes those parameters of a network that require gradients.

    Args:
        network: On the device.
        inputs: Data.
        hyper: Numbers.
        loss: What to make small.
        execution: How to compute.

    Raises:
        InvalidInputError: The loss cannot be computed in parts.
    """

    def __init__(
        self, network: Network, inputs: Inputs, hyper: HyperParameters, loss: Loss, execution: Execution
    ) -> None:
        if execution.accumulate > 1 and not loss.is_mean:
            raise InvalidInputError(
                f"this loss compares the domains of a batch and cannot be computed in {execution.accumulate} parts",
                kind="loss-not-a-mean",
                hint="use it without `--accumulate`",
            )
        self._network = network
        self._inputs = inputs
        self._hyper = hyper
        self._loss = loss
        self._execution = execution
        self._device = network.head_module.weight.device
        self._forward = execution.forward(network, inputs.forward)
        self._captured: list[torch.Tensor] = []
        self._scaler = execution.scaler(self._device)
        self._optimizer: torch.optim.Optimizer | None = None

    def begin(self) -> None:
        """Start a new Adam over what requires gradients now.

        Raises:
            InvalidInputError: Nothing does.
        """
        chosen = [each for each in self._network.module.parameters() if each.requires_grad]
        if not chosen:
            raise InvalidInputError(
                "no parameter of the network requires a gradient", kind="nothing-to-train", hint="unfreeze some of it"
            )
        fused = self._device.type in {"cpu", "cuda"}  # one kernel for all tensors
        self._optimizer = torch.optim.Adam(
            chosen, lr=self._hyper.lr, weight_decay=self._hyper.weight_decay, fused=fused
        )

    def make(self) -> torch.Tensor:
        """Make one update and return its loss, a scalar that nobody has waited for."""
        images, labels = self._inputs.batches.draw()
        self._adam.zero_grad(set_to_none=True)
        parts = self._execution.accumulate
        total = torch.zeros((), device=self._device)
        for part, own in zip(images.tensor_split(parts), labels.tensor_split(parts), strict=True):
            if len(own):
                loss = self._compute(part, own) * (len(own) / len(labels))
                torch.autograd.backward(self._scaler.scale(loss))
                total += loss.detach()
        self._scaler.step(self._adam)
        self._scaler.update()
        return total

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """Let the loss see features within the block, if it asks for them."""
        if not self._loss.needs_features:
            yield
            return
        handle = self._network.head_module.register_forward_hook(self._capture)
        try:
            yield
        finally:
            handle.remove()

    def _capture(self, head: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        del output
        if head.training:
            self._captured[:] = [inputs[0]]

    def _compute(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with self._execution.autocast(self._device):
            logits = self._forward(images)
        features = self._captured.pop() if self._captured else None
        return self._loss(Forward(logits.float(), labels, features, self._inputs.domains))

    def state(self) -> Snapshot:
        """Return the moments of Adam by the parameters' names, and the scale of losses."""
        tensors: dict[str, torch.Tensor] = {}
        for name, parameter in self._network.module.named_parameters():
            for key, value in self._adam.state.get(parameter, {}).items():
                tensors[f"{key}/{name}"] = value
        scaler: dict[str, JsonValue] = dict(self._scaler.state_dict())
        return Snapshot(tensors, {"scaler": scaler})

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from what ``state`` returned; ``begin`` was called in the same phase of the run."""
        for name, parameter in self._network.module.named_parameters():
            for key in ("step", "exp_avg", "exp_avg_sq"):
                saved = snapshot.tensors.get(f"{key}/{name}")
                if saved is not None:
                    self._adam.state[parameter][key] = self._like(parameter, key, saved)
        scaler = Fields(dict(snapshot.values), "a saved run").mapping("scaler")
        if scaler:
            self._scaler.load_state_dict(dict(scaler))

    @property
    def _adam(self) -> torch.optim.Optimizer:
        assert self._optimizer is not None  # noqa: S101 - begin was called
        return self._optimizer

    def _like(self, parameter: nn.Parameter, key: str, saved: torch.Tensor) -> torch.Tensor:
        if key == "step":  # lies on the device where the kernel is fused
            return saved.to(self._device if self._adam.defaults["fused"] else "cpu", copy=True)
        return torch.empty_like(parameter, memory_format=torch.preserve_format).detach().copy_(saved)
