"""What a task is, as written in ``mlgit.toml``; it travels with a clone, so it never holds a path of a machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Self, cast

from mlgit.errors import InvalidInputError
from mlgit.objects.encoding import JsonValue, canonical_json
from mlgit.objects.manifest import check_name

MAX_NAME = 100
_NAME = re.compile(r"[^\W_][\w.+-]*")  # starts with a letter or digit; no slash, space or quote
_KIND = re.compile(r"[a-z][a-z0-9-]*(:[\w.]+:[\w.]+)?")
_MACHINE_PATH = re.compile(r"[/~\\]|[A-Za-z]:[/\\]|file:")
_NOT_IN_BRANCHES = re.compile(r"[ ~^:?*\[{]")
_RESERVED = frozenset({"kind", "test_domain", "data", "name", "preset"})


@dataclass(frozen=True, kw_only=True)
class TaskDefinition:
    """One table ``[tasks.NAME]`` of ``mlgit.toml``.

    Attributes:
        name: Letters, digits, ``. _ + -``, starting with a letter or digit; at most 100 characters. A task with another
            test domain than its table's is called ``NAME@DOMAIN``; see ``with_test_domain``.
        kind: A row of ``TASK_KINDS``: ``digits``; or ``python:package.module:callable``. Not looked up here: a clone
            may lack a plug-in and still list tasks.
        test_domain: The domain that training and selection never see, or None: all domains train (auxiliary use).
        options: What else the kind needs, plain JSON without null; checked by the kind.
        preset: The published dataset this is, a row of ``PRESETS``, for its name, how long it is trained and what it
            should hold; or None. Not looked up here.

    Raises:
        InvalidInputError: A name with characters that could do harm, or an option that is a path of this machine.
    """

    name: str
    kind: str
    test_domain: str | None = None
    options: Mapping[str, JsonValue] = field(default_factory=dict)
    preset: str | None = None

    def __post_init__(self) -> None:
        check_name(self.name, "task")
        _, at, domain = self.name.partition("@")
        if (at and domain != self.test_domain) or len(self.base_name) > MAX_NAME or not _NAME.fullmatch(self.base_name):
            raise _bad_name(self.name)
        if not _KIND.fullmatch(self.kind):
            raise InvalidInputError(f"{self.kind[:80]!a} cannot name a kind of task", kind="bad-name")
        if self.test_domain is not None:
            check_domain(self.test_domain)
        if self.preset is not None:
            check_name(self.preset, "preset")
        for key, value in self.options.items():
            check_name(key, "option")
            _check_option(self.name, key, value)
        canonical_json(dict(self.options))
        object.__setattr__(self, "options", MappingProxyType(dict(sorted(self.options.items()))))

    @property
    def base_name(self) -> str:
        """The name of the table in ``mlgit.toml``: what stands before an ``@``."""
        return self.name.partition("@")[0]

    @property
    def branch_name(self) -> str:
        """The name as a part of a branch's name: what a branch may not hold, a domain may, is ``_``."""
        return _NOT_IN_BRANCHES.sub("_", self.name)

    def with_test_domain(self, domain: str) -> Self:
        """Return this task with another test domain, called ``NAME@DOMAIN``; with its own it is what it was.

        Args:
            domain: Not looked up here.

        Raises:
            InvalidInputError: It cannot name a domain.
        """
        if domain == self.test_domain:
            return self
        check_domain(domain)
        return replace(self, name=f"{self.base_name}@{domain}", test_domain=domain)

    def to_table(self) -> dict[str, JsonValue]:
        """Return the TOML table: ``kind``, ``preset`` and ``test_domain`` where there are any, the options by name."""
        table: dict[str, JsonValue] = {"kind": self.kind}
        if self.preset is not None:
            table["preset"] = self.preset
        if self.test_domain is not None:
            table["test_domain"] = self.test_domain
        return table | dict(self.options)

    @classmethod
    def from_table(cls, name: str, table: object) -> Self:
        """Read a definition back.

        Args:
            name: The last part of the table's name.
            table: What a TOML parser returned.

        Raises:
            InvalidInputError: Not a table, a field missing or of the wrong type, a date, or a name that could do harm.
        """
        unwrap = getattr(table, "unwrap", None)  # tomlkit wraps values to keep comments; a wrapped bool is no bool
        table = unwrap() if callable(unwrap) else table
        if not isinstance(table, Mapping):
            raise InvalidInputError(f"task {name[:80]!a} is not a table", kind="bad-task")
        check_table_name(name)
        values = {str(key): _plain(name, str(key), value) for key, value in table.items()}
        kind, test_domain = values.pop("kind", None), values.pop("test_domain", None)
        if not isinstance(kind, str):
            raise InvalidInputError(
                f"task {name[:80]!a} does not say of which kind it is",
                kind="bad-task",
                hint='add `kind = "imagefolder"` to its table',
            )
        if test_domain is not None and not isinstance(test_domain, str):
            raise InvalidInputError(f"task {name[:80]!a}: 'test_domain' is not text", kind="bad-task")
        preset = values.pop("preset", None)
        if preset is not None and not isinstance(preset, str):
            raise InvalidInputError(f"task {name[:80]!a}: 'preset' is not text", kind="bad-task")
        return cls(name=name, kind=kind, test_domain=test_domain, options=values, preset=preset)


def check_table_name(name: str) -> None:
    """Refuse ``NAME@DOMAIN`` where a task is defined: that is how a defined one is called with another test domain.

    Raises:
        InvalidInputError: There is an ``@`` in it.
    """
    if "@" in name:
        raise _bad_name(name)


def check_domain(name: str) -> None:
    """Refuse a domain's name that could do harm where it is printed or used in a path.

    Raises:
        InvalidInputError: See ``check_name``; a slash or backslash as well.
    """
    check_name(name, "domain")
    if "/" in name or "\\" in name:
        raise InvalidInputError(f"'{name[:80]}' cannot name a domain: it holds a slash", kind="bad-name")


def _bad_name(name: str) -> InvalidInputError:
    return InvalidInputError(
        f"'{name[:MAX_NAME]}' cannot name a task",
        kind="bad-name",
        hint=f"use letters, digits and . _ + -, starting with a letter or digit, at most {MAX_NAME} characters",
    )


def _plain(task: str, key: str, value: object) -> JsonValue:
    """Return a value of a TOML parser as plain JSON."""
    if isinstance(value, bool):
        return bool(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, (list, tuple)):
        return [_plain(task, key, item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(task, key, item) for name, item in value.items()}
    raise InvalidInputError(
        f"task {task[:80]!a}: option {key[:80]!a} is a {type(value).__name__}",
        kind="bad-option",
        hint="options are text, numbers, true or false, lists and tables",
    )


def _check_option(task: str, key: str, value: JsonValue) -> None:
    if key in _RESERVED:
        raise InvalidInputError(
            f"task '{task}': '{key}' is not an option",
            kind="bad-option",
            hint="where data lie on this machine is given with `--data`" if key == "data" else None,
        )
    if value is None:
        raise InvalidInputError(f"task '{task}': option '{key}' has no value", kind="bad-option")
    if isinstance(value, str):
        _check_text(task, key, value)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            check_name(name, "option")
            _check_option(task, f"{key}.{name}", item)
    elif isinstance(value, (list, tuple)):
        for item in cast("list[JsonValue]", value):
            _check_option(task, key, item)


def _check_text(task: str, key: str, value: str) -> None:
    check_name(value, f"option '{key}'")
    if _MACHINE_PATH.match(value):
        raise InvalidInputError(
            f"task '{task}': option '{key}' is a path of this machine: '{value[:80]}'",
            kind="machine-path",
            hint="a definition travels with a clone; give the place of the data with `--data`",
        )
