"""What the tests that break things on purpose share: places in memory, commands with trouble, and a report."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty import PLAIN, Program, build_shim
from faulty.verbs import VERBS, arrange, arrange_learned

DATE = "1700000000 +0100"
_REPORT = pytest.StashKey[dict[str, dict[str, object]]]()


@pytest.fixture(scope="session")
def gate_report(pytestconfig: pytest.Config) -> Callable[..., None]:
    """Return a function that notes what a test tried and what came of it, for the summary and ``--gate-report``."""
    found = pytestconfig.stash.setdefault(_REPORT, {})

    def note(title: str, **figures: object) -> None:
        found.setdefault(title, {}).update(figures)

    return note


OFTEN_ON_SMALL_DISKS = ("init", "commit", "tag with a message", "stash", "gc")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the cases that take long to full counts, so that daily runs stay short."""
    if config.getoption("--full"):
        return
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    kinds = list(dict.fromkeys(kind for item in here if (kind := _parameters(item).get("kind")) is not None))
    later = {item for item in here if not _is_daily(item, kinds)}
    config.hook.pytest_deselected(items=list(later))
    items[:] = [item for item in items if item not in later]


def _parameters(item: pytest.Item) -> dict[str, Any]:
    found: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    return found


def _is_daily(item: pytest.Item, kinds: list[str]) -> bool:
    """Say whether a case is tried every day: of verbs that import torch none, of troubles one per verb in turn."""
    name, kind = _parameters(item).get("name"), _parameters(item).get("kind")
    if name not in VERBS:
        return True
    if item.path.stem == "test_sizes":
        return name in OFTEN_ON_SMALL_DISKS
    in_turn = kind is None or kinds[list(VERBS).index(name) % len(kinds)] == kind
    return in_turn and not VERBS[name].torch


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = config.stash.get(_REPORT, {})
    if found:
        terminalreporter.section("what was tried")
    for title, figures in found.items():
        terminalreporter.write_line(f"{title}: {', '.join(f'{name} {value}' for name, value in figures.items())}")
    path = config.getoption("--gate-report")
    if path and found:
        Path(path).write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")


@pytest.fixture(scope="session")
def gate_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of commands: nothing depends on who runs them, when, or where."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
    author = {"MLGIT_AUTHOR_NAME": "Ada", "MLGIT_AUTHOR_EMAIL": "ada@example.org", "MLGIT_AUTHOR_DATE": DATE}
    return {**kept, **author, "HOME": str(tmp_path_factory.mktemp("home")), "NO_COLOR": "1", "TERM": "dumb"}


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that makes trouble."""
    library = build_shim(tmp_path_factory.mktemp("shim"))
    if library is None:
        pytest.skip("trouble at chosen calls needs Linux and a C compiler")
    return library


@pytest.fixture(scope="session")
def program(shim: Path, gate_environment: dict[str, str]) -> Iterator[Program]:
    """Run commands, with trouble where wanted."""
    with Program(shim, gate_environment) as running:
        yield running


@pytest.fixture(scope="session")
def plain(shim: Path, gate_environment: dict[str, str]) -> Iterator[Program]:
    """Run commands that need no torch, with trouble where wanted: ten times as fast."""
    with Program(shim, gate_environment, PLAIN) as running:
        yield running


@pytest.fixture(scope="session")
def in_memory() -> Iterator[Path]:
    """Return a new directory, in memory where there is such a place."""
    fast = Path("/dev/shm")  # noqa: S108 - a random name below it is made
    with tempfile.TemporaryDirectory(prefix="gate-", dir=fast if os.access(fast, os.W_OK) else None) as name:
        yield Path(name).resolve()


@pytest.fixture(scope="session")
def starts(program: Program, in_memory: Path) -> dict[bool, Path]:
    """Repositories to start from: without and with a task."""
    return {
        False: arrange(program, in_memory / "start"),
        True: arrange_learned(program, in_memory / "learned"),
    }


@pytest.fixture
def place(in_memory: Path) -> Iterator[Path]:
    """Where the commands run; beside it is room for ``prepared``."""
    with tempfile.TemporaryDirectory(dir=in_memory) as name:
        yield Path(name) / "run"
