"""Image classifiers of transformers: ``transformers:TYPE`` or a configuration in the model directory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, final

from torch import nn

from mlgit.errors import IncompatibleWeightsError, InvalidInputError, NotFoundError, did_you_mean
from mlgit.models.arguments import refusing, split_arguments
from mlgit.models.extras import import_extra
from mlgit.models.factories import BuildOptions, ModelScheme

CONFIG = "config.json"
MAX_CONFIG_BYTES = 4 * 2**20

_FETCHING = frozenset(
    {
        "attn_implementation",
        "auto_map",
        "backbone",
        "custom_pipelines",
        "experts_implementation",
        "quantization_config",
        "use_pretrained_backbone",
        "use_timm_backbone",
    }
)
"""Keys of a configuration that lead to code or files elsewhere; so do those that begin with an underscore."""

_WRAPPER = "timm_wrapper"
"""A type whose configuration may name a model elsewhere."""


@final
class TransformersScheme(ModelScheme):
    """Models of ``AutoModelForImageClassification``, from a configuration; nothing is ever fetched."""

    name: ClassVar[str] = "transformers"
    summary: ClassVar[str] = "image classifiers of transformers; needs the extra `transformers`"

    def build(self, rest: str, options: BuildOptions) -> nn.Module:
        """Return the model that a configuration describes, with random weights; it returns logits only.

        Args:
            rest: ``.`` for the ``config.json`` of the model directory, a folder in it with one, a ``.json`` file in
                it, or a type of model and values of its configuration: ``vit?hidden_size=192&image_size=64``.
            options: See there; ``search`` is the model directory.

        Raises:
            NotFoundError: transformers is not installed, or there is no such type or file.
            InvalidInputError: Published weights were asked for, or the configuration cannot be used.
        """
        if options.pretrained is not None:
            raise InvalidInputError(
                f"'transformers:{rest[:80]}' fetches no weights",
                kind="no-pretrained",
                hint="fetch the model's directory and import it: `mlgit import DIR --factory transformers:.`",
            )
        transformers = import_extra("transformers", "transformers")
        with refusing(f"transformers:{rest}", {"": None}):
            config = _config(transformers, rest, options)
            model: nn.Module = transformers.AutoModelForImageClassification.from_config(config)
        model.register_forward_hook(_logits)
        return model


def read_directory(rest: str, directory: Path) -> tuple[nn.Module, frozenset[str]]:
    """Return the model that a directory of transformers holds, with its weights.

    Files of other releases of transformers name some tensors otherwise than the module does; the library translates.

    Args:
        rest: As for ``TransformersScheme.build``; the configuration is looked for in ``directory``.
        directory: With safetensors, or a pickle of tensors only.

    Returns:
        The module, and the names that the files do not hold: these are random.

    Raises:
        IncompatibleWeightsError: The files hold tensors that the model does not have, or in other shapes.
        MlgitError: As for ``TransformersScheme.build``.
    """
    transformers = import_extra("transformers", "transformers")
    with refusing(f"transformers:{rest}", {"": None}):
        config = _config(transformers, rest, BuildOptions(search=directory))
        model, told = transformers.AutoModelForImageClassification.from_pretrained(
            directory, config=config, local_files_only=True, output_loading_info=True
        )
    wrong = sorted([*map(str, told["unexpected_keys"]), *map(str, told["mismatched_keys"])])
    if wrong:
        raise IncompatibleWeightsError(
            f"the weights do not fit the model: {', '.join(wrong[:10])}",
            hint="check the model's configuration, `config.json`",
        )
    model.register_forward_hook(_logits)
    return model, frozenset(told["missing_keys"])


def _config(transformers: Any, rest: str, options: BuildOptions) -> Any:
    """Return the configuration that ``rest`` means."""
    auto = import_extra("transformers.models.auto.modeling_auto", "transformers")
    classifiers: Mapping[str, object] = auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
    name, values = _described(rest, options.search)
    if name not in classifiers or name == _WRAPPER:
        hint = "use `timm:NAME`" if name == _WRAPPER else did_you_mean(name, classifiers)
        raise NotFoundError(
            f"transformers classifies no images with a '{name[:80]}'",
            kind="unknown-model",
            hint=hint,
        )
    if options.num_classes is not None:
        values = {key: value for key, value in values.items() if key not in ("id2label", "label2id")}
        values["num_labels"] = options.num_classes
    return transformers.AutoConfig.for_model(name, **values)


def _logits(model: nn.Module, inputs: object, output: Any) -> Any:
    """Return what a classifier says, out of what transformers wraps it in."""
    del model, inputs
    return getattr(output, "logits", output)


def _described(rest: str, search: Path | None) -> tuple[str, dict[str, Any]]:
    """Return type and values of a configuration."""
    if "?" not in rest and (rest.startswith(".") or "/" in rest or rest.endswith(".json")):
        values = _read(_place(rest, search))
        name = values.pop("model_type", None)
        if not isinstance(name, str):
            raise InvalidInputError(
                f"the configuration of 'transformers:{rest[:80]}' has no 'model_type'", kind="bad-model-config"
            )
        kept = _without_fetching(values)
        return name, kept
    name, arguments = split_arguments(rest, f"transformers:{rest}")
    refused = sorted(_FETCHING & arguments.keys())
    if refused:
        raise InvalidInputError(f"'{refused[0]}' leads to files elsewhere: it is not used", kind="bad-factory")
    return name, dict(arguments)


def _without_fetching(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration, and those inside it, without the keys that lead elsewhere."""
    kept = {key: value for key, value in values.items() if not key.startswith("_") and key not in _FETCHING}
    return {key: _without_fetching(value) if isinstance(value, dict) else value for key, value in kept.items()}


def _place(rest: str, search: Path | None) -> Path:
    root = (search or Path()).resolve()
    found = (root / rest).resolve()
    if not found.is_relative_to(root):
        raise InvalidInputError(
            f"'transformers:{rest[:80]}' leads out of the model directory",
            kind="bad-factory",
            hint="bring the model in: `mlgit import DIR --factory transformers:.`",
        )
    return found / CONFIG if found.is_dir() else found


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            text = stream.read(MAX_CONFIG_BYTES + 1)
        values: object = json.loads(text) if len(text) <= MAX_CONFIG_BYTES else None
    except OSError as error:
        raise NotFoundError(f"there is no configuration '{path}'", kind="no-model-config") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"'{path}' is not JSON", kind="bad-model-config") from error
    if not isinstance(values, dict):
        raise InvalidInputError(f"'{path}' is not the configuration of a model", kind="bad-model-config")
    return values
