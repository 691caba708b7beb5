"""``mlgit help``."""

from __future__ import annotations

from typing import Annotated

import typer

from mlgit.cli.context import Context


def show_help(
    context: Context,
    verb: Annotated[list[str] | None, typer.Argument(help="The verb to explain.", show_default=False)] = None,
) -> int:
    """Explain mlgit or one of its verbs."""
    from mlgit.cli.main import main

    del context
    return main([*(verb or ()), "--help"])
