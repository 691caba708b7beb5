"""Which code a ``python:`` model runs, as facts that change when it does; or that nobody can say."""

from __future__ import annotations

import ast
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

from blake3 import blake3
from torch import nn

from mlgit.objects import JsonValue
from mlgit.objects.encoding import canonical_json
from mlgit.porcelain.model_settings import settings_digest

MAX_FILES = 1_000
MAX_BYTES = 10 * 10**6
PACKAGES = frozenset({"mlgit", "numpy", "safetensors", "timm", "torch", "torchvision", "transformers"})
"""Whose version says which code they are."""
_LOADED_S = time.time()


def code_of(callable_path: str, module: nn.Module, root: Path) -> dict[str, JsonValue] | None:
    """Return all that says which code a module runs, or None when that is not known.

    It is known when the factory, the classes of all submodules and whatever their files import are from files below
    ``root``, from Python, or from ``PACKAGES``; and when no file is newer than this process, which may have loaded an
    older one.

    Args:
        callable_path: Of the factory: ``package.module:callable``.
        module: What it built, without regard to its weights.
        root: Where the user's code lies. Hidden folders and virtual environments are no part of it.
    """
    sources = _sources(root)
    if sources is None:
        return None
    start = {callable_path.partition(":")[0], *(type(part).__module__ for part in module.modules())}
    packages = _packages(start, sources)
    if packages is None:
        return None
    files: JsonValue = [[name, blake3(content).hexdigest()] for name, content in sorted(_relative(sources, root))]
    return {
        "python": platform.python_version(),
        "packages": dict(sorted(packages.items())),
        "files": blake3(canonical_json(files)).hexdigest(),
        "settings": settings_digest(module),
    }


def process_start_s() -> float:
    """Return when this process began, in seconds since 1970; when this was imported, where nothing tells."""
    with suppress(OSError, ValueError, IndexError, AttributeError):
        ticks = int(Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()[19])
        age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
        return time.time() - age_s
    return _LOADED_S


def _sources(root: Path) -> dict[Path, bytes] | None:
    """Return the content of each source file, or None: too many, too large, unreadable, or changed since the start."""
    found: dict[Path, bytes] = {}
    size, latest = 0, process_start_s()
    try:
        for path in _python_files(root.resolve()):
            status = path.stat()
            size += status.st_size
            if len(found) == MAX_FILES or size > MAX_BYTES or max(status.st_mtime, status.st_ctime) >= latest:
                return None
            found[path] = path.read_bytes()
    except OSError:
        return None
    return found if sum(map(len, found.values())) <= MAX_BYTES else None


def _python_files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".") and not _is_environment(Path(folder, name))]
        yield from (Path(folder, name) for name in names if name.endswith(".py"))


def _is_environment(folder: Path) -> bool:
    return (folder / "pyvenv.cfg").exists()


def _relative(sources: Mapping[Path, bytes], root: Path) -> Iterator[tuple[str, bytes]]:
    for path, content in sources.items():
        yield os.fsencode(path.relative_to(root.resolve())).hex(), content


def _packages(names: set[str], sources: Mapping[Path, bytes]) -> dict[str, JsonValue] | None:
    """Return the packages that modules and all they import come from, or None: one is neither known nor a source."""
    found: dict[str, JsonValue] = {}
    waiting, seen = list(names), set(names)
    while waiting:
        name = waiting.pop()
        top, path = name.partition(".")[0], _file_of(sys.modules.get(name))
        if path is not None and path in sources:
            imported = _imports(sources[path], sys.modules[name])
            if imported is None:
                return None
            waiting += imported - seen
            seen |= imported
        elif top in PACKAGES:
            try:
                found[top] = version(top)
            except PackageNotFoundError:
                return None
        elif top not in sys.stdlib_module_names or name == "__main__":
            return None
    return found


def _file_of(module: ModuleType | None) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if isinstance(file, str) else None


def _imports(source: bytes, module: ModuleType) -> set[str] | None:
    """Return the full names of the modules that a source file imports anywhere, or None if it cannot be read."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return None
    package = (module.__package__ or "").split(".")
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {base, *(name for alias in node.names if (name := f"{base}.{alias.name}") in sys.modules)}
    return found
