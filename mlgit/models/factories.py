"""From the text of a factory, ``scheme:rest``, to a module with random or published weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import nn

from mlgit.errors import InvalidInputError, did_you_mean
from mlgit.models.seeding import seeded
from mlgit.objects.manifest import check_name
from mlgit.registry import Registry


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """What a scheme may need besides the name.

    Attributes:
        num_classes: Outputs; None for the model's own.
        pretrained: None for random weights, ``default``, or the name of published weights.
        trust_code: Whether code from outside mlgit may run.
        search: Directory in which a model's code is looked for first.
    """

    num_classes: int | None = None
    pretrained: str | None = None
    trust_code: bool = False
    search: Path | None = None


class ModelScheme(ABC):
    """One source of models. Subclasses are final."""

    name: ClassVar[str]
    """What stands before the colon."""
    summary: ClassVar[str]
    """One line for people."""

    @abstractmethod
    def build(self, rest: str, options: BuildOptions) -> nn.Module:
        """Return a new module; torch's global generator is seeded by the caller.

        Args:
            rest: What stands after the colon.
            options: See there.

        Raises:
            NotFoundError: No such model or weights.
            InvalidInputError: Options this scheme cannot use.
            RemoteError: Published weights could not be fetched.
            JobFailedError: Code from outside failed.
        """


MODEL_FACTORIES: Registry[type[ModelScheme]] = Registry(
    noun="model scheme",
    group="mlgit.model_schemes",
    builtin={
        "mlgit": "mlgit.models.builtin:BuiltinScheme",
        "python": "mlgit.models.python_code:PythonScheme",
        "timm": "mlgit.models.timm_models:TimmScheme",
        "torchvision": "mlgit.models.torchvision_models:TorchvisionScheme",
        "transformers": "mlgit.models.transformers_models:TransformersScheme",
    },
)
"""Scheme -> where its models come from."""


def build(
    factory: str,
    *,
    num_classes: int | None = None,
    pretrained: str | None = None,
    trust_code: bool = False,
    search: Path | None = None,
    seed: int = 0,
) -> nn.Module:
    """Return a new module.

    Args:
        factory: ``mlgit:digits-cnn``, ``torchvision:resnet50``, ``timm:vit_tiny_patch16_224?img_size=64``,
            ``transformers:vit?image_size=64`` or ``python:package.module:callable``.
        num_classes: Outputs of the classifier, at least 1; None for the model's own.
        pretrained: None for random weights, ``default``, or the name of published weights.
        trust_code: Whether ``python:`` may run code.
        search: Directory in which the code of ``python:`` is looked for first.
        seed: Of the random initialisation.

    Raises:
        NotFoundError: No such scheme, model or published weights.
        InvalidInputError: A malformed text, or options the scheme cannot use.
        RemoteError: Published weights could not be fetched.
        JobFailedError: Code from outside failed.
    """
    check_name(factory, "model factory")
    scheme, colon, rest = factory.partition(":")
    if not colon or not rest:
        raise InvalidInputError(
            f"'{factory[:80]}' is not a model factory",
            kind="bad-factory",
            hint=did_you_mean(factory, [name + ":" for name in MODEL_FACTORIES]),
        )
    if num_classes is not None and num_classes < 1:
        raise InvalidInputError(f"a model cannot have {num_classes} classes", kind="bad-num-classes")
    options = BuildOptions(num_classes=num_classes, pretrained=pretrained, trust_code=trust_code, search=search)
    with seeded(seed):
        return MODEL_FACTORIES.get(scheme)().build(rest, options)
