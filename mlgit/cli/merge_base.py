"""``mlgit merge-base``."""

from __future__ import annotations

from typing import Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.options import Json
from mlgit.errors import InvalidInputError


def merge_base(
    context: Context,
    revisions: Annotated[list[str], typer.Argument(help="Two revisions; a third and more are merged with the second.")],
    *,
    everything: Annotated[bool, typer.Option("-a", "--all", help="Print all best common ancestors, not one.")] = False,
    ancestor: Annotated[
        bool,
        typer.Option("--is-ancestor", help="Print nothing; exit with 0 if the first is an ancestor of the second."),
    ] = False,
    json: Json = False,
) -> int:
    """Find where two lines of development parted.

    Exits with 1 when they share no history, or with --is-ancestor when the answer is no, as in git.
    """
    from mlgit.porcelain import merge_base as porcelain

    repository, output = context.repository(), context.output
    if ancestor:
        if len(revisions) != 2 or everything:
            raise InvalidInputError(
                "--is-ancestor takes two revisions and no --all", kind="usage", hint="see `mlgit merge-base --help`"
            )
        answer = porcelain.is_ancestor(repository, *revisions)
        if json:
            output.json({"is_ancestor": answer})
        return int(not answer)
    found = porcelain.merge_base(repository, revisions)
    shown = found if everything else found[:1]
    if json:
        output.json({"merge_bases": shown})
    else:
        for commit_id in shown:
            output.line(commit_id)
    return int(not found)
