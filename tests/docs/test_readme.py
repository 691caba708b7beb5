"""The README opens with two commands, and what it says of code and dependencies is true."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def test_it_opens_with_exactly_two_commands() -> None:
    opening = TEXT[: TEXT.index("\n## ")]
    commands = re.findall(r"^```sh\n(.*?)^```", opening, re.DOTALL | re.MULTILINE)
    assert [command.count("\n") for command in commands] == [1, 1]
    first, second = commands
    assert first.startswith("python3 -m venv .venv && ")
    assert '".[demo]"' in first
    assert first.endswith("mlgit demo\n")
    assert '".[dev]"' in second
    assert second.endswith("pytest -n auto\n")


def test_the_table_of_dependencies_is_that_of_the_project() -> None:
    lines = (ROOT / "pyproject.toml").read_text("utf-8").splitlines()
    reasons = dict(
        match.groups()
        for line in lines
        if (match := re.fullmatch(r'    "([\w.-]+)(?:[<>=~!][^"]*)?", +# (.*)', line)) is not None
    )
    project = tomllib.loads("\n".join(lines))["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["demo"]]
    names = [re.split(r"[<>=~!\[]", item)[0] for item in declared]
    rows = dict(re.findall(r"^\| `([\w.-]+)` \| (.*) \|$", TEXT, re.MULTILINE))
    assert rows == {name: reasons[name] for name in names}


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_its_python_runs(number: int, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", blocks("python")[number]],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0].endswith("merge the mean of both")
    assert result.stdout.splitlines()[-1] == "True"
