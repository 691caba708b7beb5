"""``mlgit tag``."""

from __future__ import annotations

from typing import Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.options import Json
from mlgit.cli.output import Styled
from mlgit.errors import InvalidInputError


def tag(
    context: Context,
    name: Annotated[str | None, typer.Argument(help="Tag to create; none to list them.")] = None,
    revision: Annotated[str, typer.Argument(help="What to tag.")] = "HEAD",
    *,
    message: Annotated[str | None, typer.Option("-m", "--message", help="Why: makes an annotated tag.")] = None,
    delete: Annotated[bool, typer.Option("-d", "--delete", help="Delete the tag.")] = False,
    json: Json = False,
) -> None:
    """List, create or delete tags; a tag never moves."""
    from mlgit.porcelain import tag as porcelain

    repository, output = context.repository(), context.output
    if delete:
        if name is None:
            raise InvalidInputError("which tag? its name is missing", kind="usage", hint="see `mlgit tag --help`")
        gone = porcelain.delete_tag(repository, name, actor=context.actor(repository))
        output.note("deleted tag ", gone.name, " (was ", Styled(gone.commit.short, "id"), ")")
        return
    if name is not None:
        porcelain.create_tag(repository, name, revision, message=message, actor=context.actor(repository))
        return
    found = porcelain.tags(repository)
    if json:
        rows = [
            {"name": row.name, "commit": row.commit, "message": row.tag.message if row.tag else None} for row in found
        ]
        output.json({"tags": rows})
        return
    for row in found:
        subject = row.tag.message.strip().partition("\n")[0] if row.tag else ""
        output.line(Styled(row.name, "ref"), " ", Styled(row.commit.short, "id"), " " if subject else "", subject)
