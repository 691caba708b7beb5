"""``mlgit fsck``."""

from __future__ import annotations

from mlgit.cli.context import Context
from mlgit.cli.options import Json
from mlgit.cli.output import Styled


def fsck(context: Context, *, json: Json = False) -> int:
    """Read back everything that a branch, tag or reflog reaches, and say what is hurt.

    Exit code 13 when something is.
    """
    from mlgit.errors import CorruptObjectError
    from mlgit.porcelain.fsck import fsck as check

    found = check(context.repository(), progress=context.progress)
    output = context.output
    if json:
        output.json(
            {
                "sound": found.sound,
                "commits": found.commits,
                "objects": found.objects,
                "hurt": [
                    {"id": item.id, "kind": item.kind, "problem": item.problem, "commits": list(item.commits)}
                    for item in found.hurt
                ],
            }
        )
    else:
        for item in found.hurt:
            output.line(Styled("hurt", "bad"), " ", item.kind, " ", Styled(item.id or "", "id"), ": ", item.problem)
            if item.commits:
                output.line("  needed by ", ", ".join(commit.short for commit in item.commits))
        output.line(f"{found.commits} commits, {found.objects} objects: ", "sound" if found.sound else "hurt")
    return 0 if found.sound else CorruptObjectError.exit_code
