"""``mlgit switch``."""

from __future__ import annotations

from typing import Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.output import Styled


def switch(
    context: Context,
    name: Annotated[str, typer.Argument(help="The branch; with --detach any revision.")],
    start: Annotated[str | None, typer.Argument(help="With -c: where the new branch starts.")] = None,
    *,
    create: Annotated[bool, typer.Option("-c", "--create", help="Create the branch first.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Stand on the commit itself, on no branch.")] = False,
) -> None:
    """Put another branch into the working directory.

    Uncommitted changes are carried over where both commits hold the same version of the file; where not, nothing
    happens and the command fails.
    """
    from mlgit.porcelain.switch import switch as go

    repository, output = context.repository(), context.output
    found = go(
        repository,
        name,
        create=create,
        start=start,
        detach=detach,
        actor=context.actor(repository),
        progress=context.progress,
    )
    for path in found.kept:
        output.note("kept changes in ", path)
    if found.branch is None and found.commit is not None:
        output.note("HEAD is now at ", Styled(found.commit.short, "id"))
    else:
        output.note("on new branch " if found.created else "on branch ", Styled(name, "ref"))
