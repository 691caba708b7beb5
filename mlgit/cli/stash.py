"""``mlgit stash``."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.options import Json
from mlgit.cli.output import Styled
from mlgit.errors import InvalidInputError

if TYPE_CHECKING:
    from mlgit.porcelain.stash import Stash


class Action(StrEnum):
    """What to do with a stash."""

    PUSH = "push"
    LIST = "list"
    POP = "pop"
    DROP = "drop"


def stash(
    context: Context,
    action: Annotated[Action, typer.Argument(help="What to do.", metavar="[push|list|pop|drop]")] = Action.PUSH,
    number: Annotated[int | None, typer.Argument(help="With pop and drop: which; the newest by default.")] = None,
    *,
    message: Annotated[str | None, typer.Option("-m", "--message", help="With push: what it is.")] = None,
    json: Json = False,
) -> None:
    """Put uncommitted work aside, and take it up again.

    `push` keeps the files that differ from HEAD, and a run that waits for its commit, as a commit of its own, and makes
    the working files those of HEAD. `pop` brings them back when the files are as they were then, and fails when not.
    `drop` gives them up.
    """
    from mlgit.porcelain import stash as porcelain

    if number is not None and action in (Action.PUSH, Action.LIST):
        raise InvalidInputError(f"`stash {action}` takes no number", kind="usage", hint="see `mlgit stash --help`")
    if message is not None and action is not Action.PUSH:
        raise InvalidInputError(f"`stash {action}` takes no message", kind="usage", hint="see `mlgit stash --help`")
    repository, output = context.repository(), context.output
    actor, progress = context.actor(repository), context.progress
    if action is Action.LIST:
        found = porcelain.stashes(repository)
    elif action is Action.DROP:
        found = [porcelain.drop(repository, number, actor=actor)]
    elif action is Action.POP:
        found = [porcelain.pop(repository, number, actor=actor, progress=progress).stash]
    else:
        found = [porcelain.push(repository, message, actor=actor, progress=progress).stash]
    if json:
        output.json({"stashes": [_json(item) for item in found]})
    elif action is Action.LIST:
        for item in found:
            run = " (with a run)" if item.run else ""
            output.line(Styled(item.number, "ref"), " ", Styled(item.id.short, "id"), " ", item.commit.subject, run)
    else:
        word = {Action.PUSH: "put aside as", Action.POP: "took up", Action.DROP: "dropped"}[action]
        output.note(word, f" stash {found[0].number} (", Styled(found[0].id.short, "id"), ")")


def _json(item: Stash) -> dict[str, object]:
    return {
        "number": item.number,
        "id": item.id,
        "base": item.base,
        "message": item.commit.message,
        "time": item.commit.time.isoformat(),
        "run": item.run,
    }
