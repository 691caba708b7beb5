"""Which modules belong to a directory of the user's code: two directories may have different ones of the same name."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

_SHARED = sys.stdlib_module_names | {"__main__", "mlgit", "numpy", "torch"}
"""Modules that a helper in a directory does not take the place of; what the user names does."""


class OwnModules:
    """The modules that were loaded from the directory that was searched last.

    They stay imported after the search, for what looks for them later, until another directory is searched or a file of
    theirs changes.
    """

    def __init__(self) -> None:
        self._root: Path | None = None
        self._modules: dict[str, ModuleType] = {}
        self._states: dict[str, tuple[int, int] | None] = {}

    @contextmanager
    def of(self, root: Path, named: str) -> Iterator[None]:
        """Let the block import from a directory first, and find no module of the same name from elsewhere.

        What the program itself imported from elsewhere under such a name has its place again after the block.

        Args:
            root: The directory, as an absolute path without links. The caller restores Python's path.
            named: The module or package that the user named; it may be called like one of Python's.
        """
        self._turn_to(root)
        aside = _take_aside(root, named)
        sys.modules.update({name: module for name, module in self._modules.items() if name in aside})
        before = dict(sys.modules)
        installed = [Path(entry).resolve() for entry in sys.path if entry]
        sys.path.insert(0, str(root))
        try:
            yield
        finally:
            self._turn_to(root)  # the block may have searched another one
            new = {name: found for name, found in list(sys.modules.items()) if before.get(name) is not found}
            self._remember(new, {entry for entry in installed if root in entry.parents})
            sys.modules.update(aside)

    def _turn_to(self, root: Path) -> None:
        """Forget what was loaded from another directory, or from files that have changed."""
        if root == self._root and all(_state(file) == state for file, state in self._states.items()):
            return
        for name, module in self._modules.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
        self._root, self._modules, self._states = root, {}, {}

    def _remember(self, modules: Mapping[str, ModuleType], installed: Set[Path]) -> None:
        """Remember those of the modules that lie below the directory, and not in an environment there."""
        for name, module in modules.items():
            if any(self._root in place.parents and installed.isdisjoint(place.parents) for place in _places(module)):
                self._modules[name] = module
                self._states |= {file: _state(file) for file in (getattr(module, "__file__", None),) if file}


def _take_aside(root: Path, named: str) -> dict[str, ModuleType]:
    """Remove from the imported modules those that the directory has under the same name, and return them."""
    tops = {name.partition(".")[0] for name in sys.modules} - (_SHARED - {named})
    others = {top for top in tops if _is_elsewhere(top, root)}
    taken = [name for name in sys.modules if name.partition(".")[0] in others]
    return {name: sys.modules.pop(name) for name in taken}


def _is_elsewhere(name: str, root: Path) -> bool:
    """Say whether the directory has a module, and the one that is imported is another."""
    spec = PathFinder.find_spec(name, [str(root)])
    if spec is None or spec.origin is None:
        return False
    file = getattr(sys.modules.get(name), "__file__", None)
    return not isinstance(file, str) or Path(file).resolve() != Path(spec.origin).resolve()


def _places(module: ModuleType) -> list[Path]:
    """Return where a module lies: as its path was written, and where links lead; a folder without a file has none."""
    known = getattr(module, "__dict__", {})
    file = known.get("__file__")
    written = [file] if isinstance(file, str) else [str(place) for place in known.get("__path__", ())]
    return [found for place in written for found in (Path(place).absolute(), Path(place).resolve())]


def _state(file: str) -> tuple[int, int] | None:
    try:
        status = Path(file).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
