"""Classification models of torchvision: ``torchvision:NAME``, with random or published weights."""

from __future__ import annotations

import pickle
import urllib.error
from typing import Any, ClassVar, final

import torchvision
from torch import nn

from mlgit.errors import InvalidInputError, NotFoundError, RemoteError, did_you_mean
from mlgit.models.arguments import refusing, split_arguments
from mlgit.models.factories import BuildOptions, ModelScheme
from mlgit.models.network import Network
from mlgit.models.seeding import draw_seed

_AUXILIARY = {"aux_logits": False, "aux1": None, "aux2": None, "AuxLogits": None}
"""Extra classifiers of GoogLeNet and Inception, used in training only, and how to say that there are none."""


@final
class TorchvisionScheme(ModelScheme):
    """Every model of ``torchvision.models`` that classifies images."""

    name: ClassVar[str] = "torchvision"
    summary: ClassVar[str] = "torchvision's image classifiers, with random or published weights"

    def build(self, rest: str, options: BuildOptions) -> nn.Module:
        """Return the model called ``rest``: ``resnet50``, ``vit_b_16?image_size=32``.

        With published weights and another number of classes the classifier is replaced by a random one. Auxiliary
        classifiers are left out.

        Raises:
            NotFoundError: No model or published weights have this name.
            InvalidInputError: Arguments the model does not take, or another number of classes for a model whose
                classifier is not a linear layer.
            RemoteError: The weights could not be fetched.
        """
        known = torchvision.models.list_models(module=torchvision.models)
        name, given = split_arguments(rest, f"torchvision:{rest}")
        if name not in known:
            raise NotFoundError(
                f"torchvision has no model '{name[:80]}'", kind="unknown-model", hint=did_you_mean(name, known)
            )
        weights = _find_weights(name, options.pretrained)
        own: dict[str, Any] = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
        arguments: dict[str, Any] = own | given
        if weights is None and options.num_classes is not None:
            arguments["num_classes"] = options.num_classes
        with refusing(f"torchvision:{rest}", given):
            model = _get(name, weights, arguments)
        _drop_auxiliary(model)
        if weights is not None and options.num_classes not in (None, len(weights.meta["categories"])):
            _replace_classifier(model, name, options.num_classes)
        return model


def _find_weights(name: str, wanted: str | None) -> Any:
    if wanted is None:
        return None
    known = torchvision.models.get_model_weights(name)
    by_name = {entry.name: entry for entry in known}
    if wanted.lower() == "default":
        return known.DEFAULT
    if wanted.upper() not in by_name:
        raise NotFoundError(
            f"torchvision has no weights '{wanted[:80]}' for '{name}'",
            kind="unknown-weights",
            hint=did_you_mean(wanted.upper(), [*by_name, "default"]),
        )
    return by_name[wanted.upper()]


def _get(name: str, weights: Any, arguments: dict[str, Any]) -> nn.Module:
    """Return the model, fetching its weights unless they lie in torch's cache."""
    try:
        model: nn.Module = torchvision.models.get_model(name, weights=weights, progress=False, **arguments)
    except (OSError, urllib.error.URLError, EOFError, pickle.UnpicklingError, RuntimeError) as error:
        if weights is None:
            raise
        said = (str(error).strip() or type(error).__name__).partition("\n")[0][:300]
        raise RemoteError(
            f"the weights '{weights.name}' of torchvision's '{name}' could not be fetched: {said}",
            kind="download-failed",
            hint="fetch the file where there is a network and import it: `mlgit import FILE`",
        ) from error
    return model


def _drop_auxiliary(model: nn.Module) -> None:
    for name, nothing in _AUXILIARY.items():
        if hasattr(model, name):
            setattr(model, name, nothing)


def _replace_classifier(model: nn.Module, name: str, num_classes: int | None) -> None:
    if num_classes is None:
        return
    try:
        Network(model).replace_head(num_classes, seed=draw_seed())
    except InvalidInputError as error:
        raise InvalidInputError(
            f"the classifier of torchvision's '{name}' is not a linear layer: it cannot get {num_classes} classes",
            kind="unsupported-model",
        ) from error
