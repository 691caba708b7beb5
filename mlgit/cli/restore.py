"""``mlgit restore``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlgit.cli.context import Context
from mlgit.errors import InvalidInputError

if TYPE_CHECKING:
    from mlgit.repository import Repository


def restore(
    context: Context,
    paths: Annotated[list[str], typer.Argument(help="Files or directories; `.` is everything.", metavar="PATH…")],
    *,
    source: Annotated[str, typer.Option("-s", "--source", help="Revision to take them from.", metavar="REV")] = "HEAD",
) -> None:
    """Give up uncommitted changes of files, or take files from another commit."""
    from mlgit.porcelain.restore import restore as put_back

    repository = context.repository()
    inside = [_inside(context, repository, path) for path in paths]
    found = put_back(repository, inside, source=source, progress=context.progress)
    for path in found.paths:
        context.output.note("restored ", path)


def _inside(context: Context, repository: Repository, path: str) -> str:
    """Return a path as the user means it, from where they stand, relative to the model directory."""
    import os

    place = os.path.relpath(os.path.abspath(context.directory / path), repository.root)  # noqa: PTH100 - resolves `..` only
    if place == ".." or place.startswith("../"):
        raise InvalidInputError(f"'{path}' lies outside the repository '{repository.root}'", kind="bad-path")
    return place
