"""``mlgit reflog``."""

from __future__ import annotations

from typing import Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.options import Json
from mlgit.cli.output import Styled


def reflog(
    context: Context,
    ref: Annotated[str, typer.Argument(help="HEAD, a branch or a tag; deleted ones too.", metavar="[REF]")] = "HEAD",
    *,
    json: Json = False,
) -> None:
    """Show where a branch or HEAD has been, newest first.

    The names on the left, such as `main@{1}`, are revisions: `mlgit reset main@{1}` goes back there.
    """
    from mlgit.porcelain.reflog import reflog as read

    found, output = read(context.repository(), ref), context.output
    if json:
        output.json(
            {
                "changes": [
                    {
                        "name": item.name,
                        "old": item.entry.old,
                        "new": item.entry.new,
                        "who": {"name": item.entry.who.name, "email": item.entry.who.email},
                        "time": item.entry.when.isoformat(),
                        "reason": item.entry.reason,
                    }
                    for item in found
                ]
            }
        )
        return
    for item in found:
        new = Styled("(deleted)", "bad") if item.entry.new is None else Styled(item.entry.new.short, "id")
        output.line(new, " ", Styled(item.name, "ref"), ": ", item.entry.reason)
