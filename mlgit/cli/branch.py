"""``mlgit branch``."""

from __future__ import annotations

from typing import Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.options import Json
from mlgit.cli.output import Styled
from mlgit.errors import InvalidInputError


def branch(
    context: Context,
    name: Annotated[str | None, typer.Argument(help="Branch to create; none to list them.")] = None,
    start: Annotated[str | None, typer.Argument(help="Revision it starts at; HEAD by default.")] = None,
    *,
    delete: Annotated[bool, typer.Option("-d", "--delete", help="Delete the branch.")] = False,
    force_delete: Annotated[bool, typer.Option("-D", help="Delete it though its commits are on no other.")] = False,
    move: Annotated[bool, typer.Option("-m", "--move", help="Rename NAME to START.")] = False,
    remotes: Annotated[bool, typer.Option("-a", "--all", help="List other repositories' branches too.")] = False,
    contains: Annotated[
        list[str] | None, typer.Option("--contains", metavar="REVISION", help="List branches that have this commit.")
    ] = None,
    lacks: Annotated[
        list[str] | None, typer.Option("--no-contains", metavar="REVISION", help="List branches that do not have it.")
    ] = None,
    merged: Annotated[
        list[str] | None,
        typer.Option("--merged", metavar="REVISION", help="List branches all of whose commits it has."),
    ] = None,
    unmerged: Annotated[
        list[str] | None,
        typer.Option("--no-merged", metavar="REVISION", help="List branches with commits it does not have."),
    ] = None,
    json: Json = False,
) -> None:
    """List, create, rename or delete branches."""
    from mlgit.porcelain import branch as porcelain

    repository, output = context.repository(), context.output
    only = porcelain.BranchFilter(contains or (), lacks or (), merged or (), unmerged or ())
    if only != porcelain.EVERY_BRANCH and (name is not None or delete or force_delete or move):
        raise InvalidInputError("branches are either listed or changed", kind="usage", hint="see `mlgit branch --help`")
    if delete or force_delete or move:
        if name is None or (move and start is None):
            raise InvalidInputError("which branch? its name is missing", kind="usage", hint="see `mlgit branch --help`")
        if move and start is not None:
            renamed = porcelain.rename_branch(repository, name, start, actor=context.actor(repository))
            output.note("renamed ", name, " to ", renamed.name)
            return
        gone = porcelain.delete_branch(repository, name, force=force_delete, actor=context.actor(repository))
        output.note("deleted branch ", gone.name, " (was ", Styled(gone.id.short, "id"), ")")
        return
    if name is not None:
        porcelain.create_branch(repository, name, start or "HEAD", actor=context.actor(repository))
        return
    found = porcelain.branches(repository, remotes=remotes, only=only)
    if json:
        rows = [{"name": row.name, "id": row.id, "current": row.current, "remote": row.remote} for row in found]
        output.json({"branches": rows})
        return
    for row in found:
        mark = "* " if row.current else "  "
        output.line(mark, Styled(row.name, "ref"), " ", Styled(row.id.short, "id"), " ", row.commit.subject)
