"""Classification models of timm: ``timm:NAME``, when the extra ``timm`` is installed."""

from __future__ import annotations

import logging
from typing import Any, ClassVar, final

from torch import nn

from mlgit.errors import InvalidInputError, NotFoundError, RemoteError, did_you_mean
from mlgit.models.arguments import refusing, split_arguments
from mlgit.models.extras import import_extra
from mlgit.models.factories import BuildOptions, ModelScheme


@final
class TimmScheme(ModelScheme):
    """Every model of ``timm.list_models()`` whose one classifier is a linear layer."""

    name: ClassVar[str] = "timm"
    summary: ClassVar[str] = "timm's image classifiers; needs the extra `timm`"

    def build(self, rest: str, options: BuildOptions) -> nn.Module:
        """Return the model called ``rest``: ``vit_tiny_patch16_224``, ``convnext_atto?drop_path_rate=0.1``.

        Args:
            rest: An architecture of timm, without the tag of its weights, and arguments of ``timm.create_model``.
            options: See there; ``pretrained`` is ``default`` or a tag, ``augreg_in21k``.

        Raises:
            NotFoundError: timm is not installed, or has no such model or weights.
            InvalidInputError: Arguments the model does not take, or a model with two classifiers.
            RemoteError: The weights could not be fetched.
        """
        timm = import_extra("timm", "timm")
        name, arguments = split_arguments(rest, f"timm:{rest}")
        known = timm.list_models()
        if name not in known:
            raise NotFoundError(
                f"timm has no model '{name[:80]}'", kind="unknown-model", hint=did_you_mean(name, known)
            )
        full = _with_tag(timm, name, options.pretrained)
        if options.num_classes is not None:
            arguments["num_classes"] = options.num_classes
        with refusing(f"timm:{rest}", {} if options.pretrained else arguments):
            model: Any = _create(timm, full, name, options.pretrained, arguments)
        if not isinstance(model.default_cfg.get("classifier"), str):
            raise InvalidInputError(
                f"timm's '{name}' has no classifier, or more than one: featurizer and head cannot be told apart",
                kind="unsupported-model",
            )
        found: nn.Module = model
        return found


def _with_tag(timm: Any, name: str, pretrained: str | None) -> str:
    """Return the model's name with the tag of its published weights."""
    if pretrained is None:
        return name
    tags = [full.partition(".")[2] for full in timm.list_pretrained() if full.partition(".")[0] == name]
    if pretrained == "default" and tags:
        return name
    if pretrained not in tags:
        raise NotFoundError(
            f"timm has no weights '{pretrained[:80]}' for '{name}'",
            kind="unknown-weights",
            hint=did_you_mean(pretrained, [*tags, "default"]) if tags else "use `--weights none`: random ones",
        )
    return f"{name}.{pretrained}" if pretrained else name


def _create(timm: Any, full: str, name: str, pretrained: str | None, arguments: dict[str, Any]) -> Any:
    """Return the model, fetching its weights unless they lie in the cache of the hub."""
    if pretrained is None:
        return timm.create_model(full, **arguments)
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)  # retries are no news; the failure is told below
    try:
        return timm.create_model(full, pretrained=True, **arguments)
    except (OSError, RuntimeError, ValueError) as error:
        said = (str(error).strip() or type(error).__name__).partition("\n")[0][:300]
        raise RemoteError(
            f"the weights '{pretrained}' of timm's '{name}' could not be fetched: {said}",
            kind="download-failed",
            hint=f"fetch the file where there is a network and import it: `mlgit import FILE --factory timm:{name}`",
        ) from error
    finally:
        logger.setLevel(level)
