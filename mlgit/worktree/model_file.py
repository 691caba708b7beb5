"""``mlgit.toml``, the tracked file that says how to build the module and which tasks there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlgit.errors import InvalidInputError
from mlgit.objects import JsonValue
from mlgit.repository import read_toml

MODEL_FILE = "mlgit.toml"


@dataclass(frozen=True, slots=True)
class ModelFile:
    """What ``mlgit.toml`` says.

    Attributes:
        factory: How to build the module: ``torchvision:resnet50``, or None.
        head: Name of the classifier's module, or None to find it.
        tasks: Task name -> its table, as written.
    """

    factory: str | None = None
    head: str | None = None
    tasks: Mapping[str, Mapping[str, JsonValue]] = field(default_factory=dict)


def read_model_file(path: Path) -> ModelFile:
    """Read ``mlgit.toml``; a missing one says nothing.

    Raises:
        InvalidInputError: Not TOML, or a value of the wrong type; the key is named.
    """
    try:
        document = read_toml(path)
    except FileNotFoundError:
        return ModelFile()
    model, tasks = _table(document, "model", path), _table(document, "tasks", path)
    return ModelFile(
        factory=_text(model, "factory", path),
        head=_text(model, "head", path),
        tasks={name: _table(tasks, name, path) for name in tasks},
    )


def _table(document: Mapping[str, JsonValue], key: str, path: Path) -> Mapping[str, JsonValue]:
    value = document.get(key, {})
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"'{path}': '{key}' is not a table", kind="bad-toml")
    return value


def _text(table: Mapping[str, JsonValue], key: str, path: Path) -> str | None:
    value = table.get(key)
    if value is not None and not isinstance(value, str):
        raise InvalidInputError(f"'{path}': 'model.{key}' is not text", kind="bad-toml")
    return value
