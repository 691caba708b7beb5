"""``mlgit version``."""

from __future__ import annotations

from mlgit.cli.context import Context
from mlgit.cli.options import Json

PACKAGES = ("torch", "torchvision", "numpy", "safetensors", "blake3")
"""Those whose version can change what a command computes or writes."""


def version(context: Context, json: Json = False) -> None:
    """Show the version of mlgit.

    With --verbose or --json also those of Python, the system and the packages that matter, for reports of bugs.
    """
    from mlgit.version import __version__

    if context.output.level < 1 and not json:
        context.output.line("mlgit version ", __version__)
        return
    import platform

    surroundings = {"python": platform.python_version(), "platform": platform.platform()}
    if json:
        context.output.json({"version": __version__, **surroundings, "packages": _packages()})
        return
    context.output.line("mlgit version ", __version__)
    for name, value in {**surroundings, **_packages()}.items():
        context.output.line(name, ": ", value or "not installed")


def _packages() -> dict[str, str | None]:
    from importlib import metadata

    found: dict[str, str | None] = dict.fromkeys(PACKAGES)
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
