"""``mlgit undo``."""

from __future__ import annotations

from mlgit.cli.context import Context
from mlgit.cli.output import Styled


def undo(context: Context) -> None:
    """Take back the last command that moved the current branch: a commit, a merge, a reset.

    The working files follow; uncommitted changes are carried over, or the command fails. A second `mlgit undo` takes
    the first one back.
    """
    from mlgit.porcelain.undo import undo as take_back

    repository, output = context.repository(), context.output
    found = take_back(repository, actor=context.actor(repository), progress=context.progress)
    for path in found.kept:
        output.note("kept changes in ", path)
    output.note(
        f"undid '{found.undone}': ", (found.branch or "HEAD").removeprefix("refs/heads/"), " is now at ",
        Styled(found.new.short, "id"), "" if found.old is None else f" (was {found.old.short})",
    )  # fmt: skip
