"""Models of the user's own code: ``python:package.module:callable``, only when the code is trusted."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, final

from torch import nn

from mlgit.errors import InvalidInputError, NotFoundError, did_you_mean
from mlgit.models.factories import BuildOptions, ModelScheme
from mlgit.models.foreign import ForeignCode
from mlgit.models.own_modules import OwnModules


@final
class PythonScheme(ModelScheme):
    """A callable that returns a module; it is called with ``num_classes=`` and ``pretrained=`` where they are given."""

    name: ClassVar[str] = "python"
    summary: ClassVar[str] = "your own code; needs --trust-code"

    def build(self, rest: str, options: BuildOptions) -> nn.Module:
        """Import the code and call it.

        Args:
            rest: ``package.module:callable``; the module is looked for in ``options.search``, then on Python's path.
            options: See there.

        Raises:
            InvalidInputError: The code is not trusted, the text is malformed, or the callable returns no module.
            NotFoundError: No such module or callable.
            JobFailedError: The code raised something.
        """
        _parse(rest)
        if not options.trust_code:
            raise InvalidInputError(
                f"'python:{rest}' runs code that is not mlgit's",
                kind="untrusted-code",
                hint="read the code; if you trust it, pass `--trust-code`",
            )
        arguments: dict[str, Any] = {}
        if options.num_classes is not None:
            arguments["num_classes"] = options.num_classes
        if options.pretrained is not None:
            arguments["pretrained"] = options.pretrained
        outside = ForeignCode(f"'python:{rest}'", "the code of the model raised this; run it by itself to see where")
        with find_callable(rest, options.search) as function, outside:
            model: object = function(**arguments)
        if not isinstance(model, nn.Module):
            raise InvalidInputError(
                f"'python:{rest}' returned {type(model).__name__}, not a torch module", kind="not-a-module"
            )
        return model


@contextmanager
def find_callable(rest: str, search: Path | None) -> Iterator[Callable[..., object]]:
    """Import trusted code; while the block runs, it may import more from where it was found.

    Args:
        rest: ``package.module:callable``.
        search: A directory that is looked into first, or None; then Python's path.

    Yields:
        The callable.

    Raises:
        InvalidInputError: The text is malformed, or leads to something that cannot be called.
        NotFoundError: No such module or callable.
        JobFailedError: The module raised something while it was imported.
    """
    module_name, attribute = _parse(rest)
    with _searching(module_name, search):
        yield _find(module_name, attribute, search)


def _parse(rest: str) -> tuple[str, str]:
    module_name, colon, attribute = rest.partition(":")
    if not colon or not all(part.isidentifier() for part in [*module_name.split("."), *attribute.split(".")]):
        raise InvalidInputError(
            f"'python:{rest[:80]}' does not name a callable",
            kind="bad-factory",
            hint="write `python:package.module:callable`",
        )
    return module_name, attribute


_OWN = OwnModules()


@contextmanager
def _searching(module_name: str, search: Path | None) -> Iterator[None]:
    """Let imports look into ``search`` first, and leave no compiled files behind in it."""
    path, writes = list(sys.path), sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        if search is None:
            yield
            return
        with _OWN.of(search.resolve(), module_name.partition(".")[0]):
            yield
    finally:
        sys.path[:] = path
        sys.dont_write_bytecode = writes


def _find(module_name: str, attribute: str, search: Path | None) -> Callable[..., object]:
    with ForeignCode(f"importing '{module_name}'", "the module raised this while it was imported"):
        try:
            found: object = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not (module_name + ".").startswith(error.name + "."):
                raise
            place = "on Python's path" if search is None else f"in '{search}' or on Python's path"
            raise NotFoundError(f"no module '{error.name}' {place}", kind="unknown-module") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise NotFoundError(
                f"module '{module_name}' has no '{attribute}'",
                kind="unknown-callable",
                hint=did_you_mean(part, [name for name in dir(found) if not name.startswith("_")]),
            )
        found = getattr(found, part)
    if not callable(found):
        raise InvalidInputError(f"'{module_name}:{attribute}' cannot be called", kind="not-callable")
    return found
