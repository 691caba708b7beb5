"""Strict access to a TOML table that somebody wrote by hand: everything wrong is collected, nothing is guessed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mlgit.errors import InvalidInputError, MlgitError, NotFoundError, did_you_mean
from mlgit.objects.manifest import check_name

_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a file and the problems found so far.

    Attributes:
        values: Key -> value, as tomllib returns them.
        where: What the table is, put before each problem: ``threshold 2``; empty for the top of the file.
        problems: Where problems are collected; tables of one file share the list.
    """

    values: Mapping[str, object]
    where: str
    problems: list[MlgitError]

    def report(self, problem: str | MlgitError, *, hint: str | None = None) -> None:
        """Note that something is wrong; an error that was caught keeps its class, kind and hint."""
        if isinstance(problem, str):
            problem = InvalidInputError(problem, kind="bad-certificate", hint=hint)
        message = f"{self.where}: {problem.message}" if self.where else problem.message
        self.problems.append(type(problem)(message, kind=problem.kind, hint=problem.hint))

    def only(self, known: Iterable[str]) -> None:
        """Report every key that is not one of ``known``."""
        names = list(known)
        for key in self.values:
            if key not in names:
                self.report(f"unknown key {shown(key)}", hint=did_you_mean(key, names))

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text that is not empty and holds no control or invisible character.

        Returns:
            The text; ``default`` when the key is missing; empty when a problem was reported.
        """
        value = self.values.get(key, default)
        if value is None:
            self.report(f"'{key}' is missing")
            return ""
        if not isinstance(value, str):
            self.report(f"'{key}' is {type_name(value)} where a text is needed")
            return ""
        if key in self.values:
            try:
                check_name(value, f"'{key}':")
            except InvalidInputError as error:
                self.report(error)
                return ""
        return value

    def choice(self, key: str, allowed: Sequence[str], default: str | None = None) -> str:
        """Return a text that is one of ``allowed``, or empty when a problem was reported."""
        value = self.text(key, default)
        if value and value not in allowed:
            self.report(
                f"'{key}' is {shown(value)}, not one of {', '.join(allowed)}", hint=did_you_mean(value, allowed)
            )
            return ""
        return value

    def number(self, key: str, low: float, high: float, default: float | None = None) -> float | None:
        """Return a number of the closed range ``low`` to ``high``, or None when a problem was reported."""
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.report(f"'{key}' is {type_name(value)} where a number is needed")
            return None
        if not low <= value <= high:  # also NaN, and integers too large for a float
            self.report(f"'{key}' is {shown(value)}, not a number from {low:g} to {high:g}")
            return None
        return float(value)

    def tables(self, key: str) -> list[Table]:
        """Return the tables of an array, ``[[key]]`` in the file."""
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.report(
                f"'{key}' is {type_name(value)} where tables are needed", hint=f"write [[{key}]] above each one"
            )
            return []
        return [Table(item, f"{key} {index}", self.problems) for index, item in enumerate(value, 1)]


def refuse(problems: Sequence[MlgitError], source: str) -> None:
    """Raise one error for everything that is wrong with a file; return when nothing is.

    Args:
        problems: What was found.
        source: The file, as the user named it.

    Raises:
        NotFoundError: All that is wrong are names that do not exist.
        InvalidInputError: Anything else is wrong.
    """
    if not problems:
        return
    only_names = all(isinstance(problem, NotFoundError) for problem in problems)
    error = NotFoundError if only_names else InvalidInputError
    kind = problems[0].kind if only_names else "bad-certificate"
    if len(problems) == 1:
        raise error(f"certificate {shown(source)}: {problems[0].message}", kind=kind, hint=problems[0].hint)
    listed = "; ".join(problem.message + (f" ({problem.hint})" if problem.hint else "") for problem in problems)
    raise error(f"certificate {shown(source)} has {len(problems)} problems: {listed}", kind=kind)


def shown(value: object) -> str:
    """Return ``value`` on one line and not too long, quoted if it is a text, for an error message."""
    if isinstance(value, int) and abs(value) >= 10**_SHOWN:
        return "an enormous number"
    if isinstance(value, (int, float)):
        return str(value)
    text = str(value)
    text = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    return f"'{text}'" if text.isprintable() else ascii(text)


def type_name(value: object) -> str:
    """Return what a TOML value is, in words."""
    if value is None:
        return "missing"
    names: list[tuple[type, str]] = [
        (bool, "true or false"),
        (int, "a number"),
        (float, "a number"),
        (str, "a text"),
        (list, "a list"),
        (dict, "a table"),
    ]
    return next((name for kind, name in names if isinstance(value, kind)), "a date or time")
