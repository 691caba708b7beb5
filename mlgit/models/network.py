"""A module seen as featurizer and head, with what fine-tuning and averaging need from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self, cast, final

import torch
from torch import nn

from mlgit.errors import IncompatibleWeightsError, InvalidInputError, did_you_mean
from mlgit.models.factories import build
from mlgit.models.foreign import ForeignCode
from mlgit.models.seeding import seeded
from mlgit.weights.forms import TensorLike
from mlgit.weights.types import Weights, torch_dtype, torch_shape

_Form = tuple[tuple[int, ...], torch.dtype]
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@final
class Network:
    """A classifier: a featurizer and one linear layer, the head.

    Args:
        module: Any module that maps images (B, C, H, W) to logits (B, classes) and ends in a linear layer.
        head: The linear layer's name in ``module.named_modules()``: ``fc``. Unless given, the last linear layer.

    Raises:
        InvalidInputError: No linear layer has this name, or there is none.
    """

    def __init__(self, module: nn.Module, head: str | None = None) -> None:
        self.module = module
        self.head = _find_head(module, head)
        self._dropout = 0.0
        self._frozen = False
        self._running = ForeignCode("the model", "check that the model fits the task's images")
        self._capture: list[torch.Tensor] | None = None
        self._hook()

    @classmethod
    def from_weights(
        cls,
        factory: str,
        head: str | None,
        weights: Mapping[str, torch.Tensor],
        *,
        trust_code: bool = False,
        search: Path | None = None,
    ) -> Self:
        """Build the module that ``weights`` belong to, and load them.

        Args:
            factory: As for ``build``.
            head: Name of the classifier, or None to find it.
            weights: A whole state dict; the rows of the head's weight are the number of classes.
            trust_code: As for ``build``.
            search: As for ``build``.

        Raises:
            IncompatibleWeightsError: The weights are not those of this factory.
            MlgitError: See ``build``.
        """
        classes = None if head is None else _rows(head, weights)
        network = cls(build(factory, num_classes=classes, trust_code=trust_code, search=search), head)
        rows = _rows(network.head, weights)
        if rows is not None and rows != network.num_classes:
            network.replace_head(rows, seed=0)
        return network.load(weights)

    @property
    def head_module(self) -> nn.Linear:
        """The linear layer that maps features to logits."""
        return cast("nn.Linear", self.module.get_submodule(self.head))

    @property
    def num_classes(self) -> int:
        """Outputs of the head."""
        return self.head_module.out_features

    @property
    def num_features(self) -> int:
        """Inputs of the head."""
        return self.head_module.in_features

    @property
    def head_names(self) -> tuple[str, ...]:
        """The head's names in the state dict."""
        return tuple(name for name in self.module.state_dict() if name.startswith(self.head + "."))

    @property
    def featurizer_names(self) -> tuple[str, ...]:
        """All other names in the state dict."""
        return tuple(name for name in self.module.state_dict() if not name.startswith(self.head + "."))

    @property
    def dropout(self) -> float:
        """Probability that a feature is dropped in training mode."""
        return self._dropout

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (B, classes) for images (B, C, H, W) on the module's device.

        Raises:
            InvalidInputError: The module returns something else.
            JobFailedError: The module cannot be run on these images.
        """
        with self._running:
            logits: object = self.module(images)
        if not isinstance(logits, torch.Tensor) or logits.shape != (len(images), self.num_classes):
            shape = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
            raise InvalidInputError(
                f"the model returns {shape} where [{len(images)}, {self.num_classes}] is expected",
                kind="unsupported-model",
                hint="name the classifier's linear layer, and let the model return logits only",
            )
        return logits

    __call__ = forward

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return what the head is given before dropout, (B, features), for images (B, C, H, W).

        Raises:
            InvalidInputError: The module does not use the head once per image.
        """
        captured: list[torch.Tensor] = []
        self._capture = captured
        try:
            self.forward(images)
        finally:
            self._capture = None
        if [tensor.shape for tensor in captured] != [(len(images), self.num_features)]:
            raise InvalidInputError(
                f"layer '{self.head}' does not get one vector of {self.num_features} features per image",
                kind="unsupported-model",
                hint="name the classifier's linear layer",
            )
        return captured[0]

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode; frozen statistics stay frozen."""
        self.module.train(mode)
        if self._frozen:
            for part in self._norms():
                part.eval()
        return self

    def eval(self) -> Self:
        """Set evaluation mode."""
        return self.train(mode=False)

    def freeze_statistics(self) -> Self:
        """Keep running means and variances of batch normalisation as they are from now on.

        Scale and shift are still trained. Holds over later calls of ``train`` of this object.

        Reference:
            As in the code of Ramé et al., "Model Ratatouille", ICML 2023, arXiv:2212.10445.
        """
        self._frozen = True
        for part in self._norms():
            part.eval()
        return self

    def set_dropout(self, probability: float) -> Self:
        """Drop features, the head's inputs, with this probability in training mode; 0 drops none.

        Raises:
            InvalidInputError: Not in [0, 1).
        """
        if not 0 <= probability < 1:
            raise InvalidInputError(f"dropout {probability} is not in [0, 1)", kind="bad-hyper-parameter")
        self._dropout = probability
        return self

    def to(self, device: torch.device) -> Self:
        """Move the module."""
        self.module.to(device)
        return self

    def weights(self) -> dict[str, torch.Tensor]:
        """Return a copy of parameters and buffers on the CPU, by state-dict name."""
        return {
            name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in self.module.state_dict().items()
        }

    def load(self, weights: Mapping[str, torch.Tensor]) -> Self:
        """Copy weights into the module; floating-point values are cast to the module's dtypes.

        Args:
            weights: Every name of the state dict and no other, in the same shapes. Left unchanged.

        Raises:
            IncompatibleWeightsError: Names, shapes or kinds of numbers differ; the first ten differences are named.
        """
        own = self.module.state_dict()
        given = weights if hasattr(weights, "entries") else dict(weights.items())  # a mapping that reads, reads once
        differences = _differences(own, _forms(given))
        if differences:
            more = f" and {len(differences) - 10} more" if len(differences) > 10 else ""
            raise IncompatibleWeightsError(
                f"the weights do not fit the model: {'; '.join(differences[:10])}{more}",
                hint="check the model's factory in `mlgit.toml`",
            )
        with torch.no_grad():
            for name, tensor in given.items():
                own[name].copy_(tensor)
        return self

    def replace_head(self, num_classes: int, *, seed: int) -> Self:
        """Put a new, randomly initialised head in the place of the old one.

        Args:
            num_classes: Outputs, at least 1.
            seed: Of the initialisation.

        Raises:
            InvalidInputError: Less than one class.
        """
        if num_classes < 1:
            raise InvalidInputError(f"a model cannot have {num_classes} classes", kind="bad-num-classes")
        old = self.head_module
        with seeded(seed):
            new = nn.Linear(old.in_features, num_classes, bias=old.bias is not None)
        new.to(old.weight.device, old.weight.dtype).train(old.training)
        parent, _, name = self.head.rpartition(".")
        setattr(self.module.get_submodule(parent), name, new)
        self._hook()
        return self

    def _norms(self) -> list[nn.Module]:
        return [part for part in self.module.modules() if isinstance(part, _NORMS) or _keeps_statistics(part)]

    def _hook(self) -> None:
        self.head_module.register_forward_pre_hook(self._before_head)

    def _before_head(self, head: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        if self._capture is not None:
            self._capture.append(inputs[0])
        if self._dropout == 0 or not head.training:
            return inputs
        return (nn.functional.dropout(inputs[0], self._dropout), *inputs[1:])


def _keeps_statistics(part: nn.Module) -> bool:
    """Say whether a layer of another class keeps statistics in the names that batch normalisation has for them."""
    return any(name in ("running_mean", "running_var") for name, _ in part.named_buffers(recurse=False))


def _rows(head: str, weights: Mapping[str, torch.Tensor]) -> int | None:
    """Return how many classes the weights of the head are for."""
    weight = weights.get(head + ".weight")
    return None if weight is None or weight.ndim != 2 or len(weight) == 0 else len(weight)


def _find_head(module: nn.Module, head: str | None) -> str:
    linear: list[str] = [name for name, part in module.named_modules() if name and isinstance(part, nn.Linear)]
    if head is None and linear:
        return linear[-1]
    if head is None:
        raise InvalidInputError("the model holds no linear layer to use as classifier", kind="unsupported-model")
    if head not in linear:
        raise InvalidInputError(
            f"the model has no linear layer '{head}'", kind="unknown-head", hint=did_you_mean(head, linear)
        )
    return head


def _differences(own: Mapping[str, torch.Tensor], weights: Mapping[str, _Form]) -> list[str]:
    found = [f"'{name}' is missing" for name in own if name not in weights]
    found += [f"'{name}' is not known" for name in weights if name not in own]
    for name in own:
        if name not in weights:
            continue
        shape, dtype = weights[name]
        if tuple(own[name].shape) != shape:
            found.append(f"'{name}' is {list(shape)}, not {list(own[name].shape)}")
        elif not _castable(dtype, own[name].dtype):
            found.append(f"'{name}' is {dtype}, not {own[name].dtype}")
    return found


def _forms(weights: Weights) -> Mapping[str, _Form]:
    """Return shapes and dtypes; weights that know them are not read."""
    entries: Mapping[str, TensorLike] | None = getattr(weights, "entries", None)
    if entries is None:
        return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in weights.items()}
    return {name: (torch_shape(form), torch_dtype(form.dtype)) for name, form in entries.items()}


def _castable(source: torch.dtype, target: torch.dtype) -> bool:
    return source == target or (source.is_floating_point and target.is_floating_point)
