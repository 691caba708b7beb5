"""A domain of tensors of any shape, held in memory."""

from __future__ import annotations

from typing import ClassVar, Self, final

import torch
from blake3 import blake3

from mlgit.errors import InvalidInputError
from mlgit.objects.encoding import JsonValue, canonical_json
from mlgit.tasks.split import CPU, DomainData


@final
class TensorDomain(DomainData):
    """Examples of one shape; never augmented.

    Args:
        name: The domain.
        inputs: (N, ...), of a real dtype. uint8 is scaled to 0 to 1 and becomes float32, float64 and half precision
            become float32; whole numbers of other dtypes, as indices of words, stay as they are.
        labels: int64 (N,).
        mean: Subtracted from what is float32 by then: float32 () or (C,) for the first axis of an example.
        std: Divides what is left; no zero.

    Raises:
        InvalidInputError: Shapes, dtypes or numbers do not fit together.
    """

    augments: ClassVar[bool] = False

    def __init__(
        self, name: str, inputs: torch.Tensor, labels: torch.Tensor, *, mean: torch.Tensor, std: torch.Tensor
    ) -> None:
        if inputs.ndim == 0 or inputs.is_complex() or labels.dtype != torch.int64:
            raise InvalidInputError(f"domain '{name}' is not real (N, ...) with int64 labels", kind="bad-domain")
        if labels.shape != inputs.shape[:1]:
            raise InvalidInputError(
                f"domain '{name}' has {len(inputs)} examples and {len(labels)} labels", kind="bad-domain"
            )
        self._check_scale(name, inputs, mean, std)
        self.name = name
        self.inputs = inputs
        self.labels = labels
        self.mean = mean
        self.std = std
        self.digest = self._hash()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return tuple(self.inputs.shape[1:])

    def images(self, indices: torch.Tensor, device: torch.device = CPU) -> torch.Tensor:
        """Return examples: float32, or whole numbers where the inputs are some, (B, ...)."""
        chosen = self.inputs[indices].to(device)
        if chosen.dtype == torch.uint8:
            chosen = chosen.float().div_(255)
        if not chosen.is_floating_point():
            return chosen
        shape = (-1,) + (1,) * (chosen.ndim - 2) if self.mean.ndim or self.std.ndim else ()
        mean, std = (each.to(device).reshape(shape if each.ndim else ()) for each in (self.mean, self.std))
        return (chosen.float() - mean) / std

    def augmented(self, indices: torch.Tensor, generator: torch.Generator, device: torch.device = CPU) -> torch.Tensor:
        """Return the examples as they are."""
        del generator
        return self.images(indices, device)

    def subset(self, indices: torch.Tensor) -> Self:
        """Return the examples at ``indices``."""
        return type(self)(self.name, self.inputs[indices], self.labels[indices], mean=self.mean, std=self.std)

    @staticmethod
    def _check_scale(name: str, inputs: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> None:
        channels = inputs.shape[1] if inputs.ndim > 1 else 1
        for values in (mean, std):
            if values.ndim > 1 or (values.ndim == 1 and len(values) != channels) or not bool(values.isfinite().all()):
                raise InvalidInputError(
                    f"domain '{name}' has a mean or std that does not fit {channels} channels", kind="bad-domain"
                )
        if bool((std == 0).any()):
            raise InvalidInputError(f"domain '{name}' has a standard deviation of 0", kind="bad-domain")

    def _hash(self) -> str:
        inputs = self.inputs.contiguous().reshape(-1).view(torch.uint8) if self.inputs.numel() else self.inputs
        content: JsonValue = {
            "shape": list(self.inputs.shape),
            "dtype": str(self.inputs.dtype).removeprefix("torch."),
            "mean": self.mean.double().reshape(-1).tolist(),
            "std": self.std.double().reshape(-1).tolist(),
            "labels": blake3(self.labels.numpy().astype("<i8").tobytes()).hexdigest(),
            "inputs": blake3(inputs.numpy().tobytes()).hexdigest(),
        }
        return blake3(b"mlgit domain 1 tensors\n" + canonical_json(content)).hexdigest()
