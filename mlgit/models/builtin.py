"""Models that mlgit brings along: ``mlgit:NAME``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, final

from torch import nn

from mlgit.errors import InvalidInputError, NotFoundError, did_you_mean
from mlgit.models.digits_cnn import DigitsCNN
from mlgit.models.factories import BuildOptions, ModelScheme

BUILTIN: Mapping[str, Callable[[int | None], nn.Module]] = {
    "digits-cnn": lambda num_classes: DigitsCNN() if num_classes is None else DigitsCNN(num_classes),
}
"""Name -> function of the number of classes."""


@final
class BuiltinScheme(ModelScheme):
    """Small networks for demonstrations and tests, without published weights."""

    name: ClassVar[str] = "mlgit"
    summary: ClassVar[str] = "small networks that come with mlgit"

    def build(self, rest: str, options: BuildOptions) -> nn.Module:
        """Return the network called ``rest`` with random weights.

        Raises:
            NotFoundError: No network has this name.
            InvalidInputError: Published weights were asked for.
        """
        if rest not in BUILTIN:
            raise NotFoundError(
                f"mlgit has no model '{rest[:80]}'", kind="unknown-model", hint=did_you_mean(rest, BUILTIN)
            )
        if options.pretrained is not None:
            raise InvalidInputError(
                f"'mlgit:{rest}' has no published weights '{options.pretrained}'",
                kind="no-pretrained",
                hint="train it: its weights are random at first",
            )
        return BUILTIN[rest](options.num_classes)
