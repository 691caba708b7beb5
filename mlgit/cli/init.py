"""``mlgit init``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlgit.cli.context import Context


def init(
    context: Context,
    directory: Annotated[Path, typer.Argument(help="The model directory; created when missing.")] = Path(),
    *,
    branch: Annotated[str, typer.Option("--initial-branch", "-b", help="Name of the first branch.")] = "main",
) -> None:
    """Make a directory an empty repository.

    Its files stay as they are; `mlgit commit` records them.
    """
    from mlgit.porcelain.init import init as make

    made = make(context.directory / directory, branch=branch, user_settings=context.user_settings)
    context.output.note("empty repository in ", str(made.repository.folder))
