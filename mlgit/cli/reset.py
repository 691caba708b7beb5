"""``mlgit reset``."""

from __future__ import annotations

from typing import Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.output import Styled
from mlgit.errors import InvalidInputError


def reset(
    context: Context,
    revision: Annotated[str, typer.Argument(help="Where to: `HEAD~1`, `main@{1}`, an id.", metavar="REV")],
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Carry uncommitted changes over, or fail; the default.")] = False,
    hard: Annotated[bool, typer.Option("--hard", help="Give up uncommitted changes.")] = False,
) -> None:
    """Move the current branch to another commit, and the working files with it.

    Where the branch was stays in its log: `mlgit undo` goes back, `mlgit reflog` lists it.
    """
    from mlgit.porcelain.reset import reset as go

    if keep and hard:
        raise InvalidInputError("`--keep` and `--hard` exclude each other", kind="usage", hint="give one of them")
    repository, output = context.repository(), context.output
    found = go(repository, revision, hard=hard, actor=context.actor(repository), progress=context.progress)
    for path in found.kept:
        output.note("kept changes in ", path)
    output.note(
        (found.branch or "HEAD").removeprefix("refs/heads/"), " is now at ", Styled(found.new.short, "id"),
        "" if found.old is None else f" (was {found.old.short})",
    )  # fmt: skip
