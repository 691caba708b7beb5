from __future__ import annotations

import os
from collections.abc import Callable
from types import ModuleType

import pytest


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        ([], "(None, 3, 0.5, None, <Color.RED: 'red'>, None, False)"),
        (["a", "b/c"], "([PosixPath('a'), PosixPath('b/c')], 3, 0.5, None, <Color.RED: 'red'>, None, False)"),
        (["--number", "9"], "(None, 9, 0.5, None, <Color.RED: 'red'>, None, False)"),
        (["--rate=1e-3"], "(None, 3, 0.001, None, <Color.RED: 'red'>, None, False)"),
        (["--rate", "inf"], "(None, 3, inf, None, <Color.RED: 'red'>, None, False)"),
        (["--size", "-7"], "(None, 3, 0.5, -7, <Color.RED: 'red'>, None, False)"),
        (["--color", "blue"], "(None, 3, 0.5, None, <Color.BLUE: 'blue'>, None, False)"),
        (["--name", "x", "--name", ""], "(None, 3, 0.5, None, <Color.RED: 'red'>, ['x', ''], False)"),
        (["--flag"], "(None, 3, 0.5, None, <Color.RED: 'red'>, None, True)"),
        (["--flag", "--no-flag"], "(None, 3, 0.5, None, <Color.RED: 'red'>, None, False)"),
        (["--", "--number"], "([PosixPath('--number')], 3, 0.5, None, <Color.RED: 'red'>, None, False)"),
    ],
)
def test_values_have_the_declared_types(
    mlgit: Callable, program: ModuleType, arguments: list[str], values: str
) -> None:
    ran = mlgit("typed", *arguments)
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, values + "\n", "")


def test_a_verb_of_simple_types_needs_no_pydantic(start: Callable) -> None:
    process = start("typed", "a", "--number", "3", env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"})
    _, err = process.communicate(timeout=30)
    assert b"typer.core" in err
    assert b"pydantic" not in err


def test_help_shows_types_ranges_choices_and_defaults(mlgit: Callable, program: ModuleType) -> None:
    text = mlgit("typed", "--help").stdout
    assert "1<=x<=9" in text
    assert "<red|blue>" in text
    assert "default: 0.5" in text
