"""``mlgit fsck``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.options import Json
from mlgit.cli.output import Output, Styled

if TYPE_CHECKING:
    from mlgit.porcelain.fsck import FsckResult, Hurt

RepairFrom = Annotated[
    Path | None,
    typer.Option("--repair-from", metavar="PATH", help="Fetch good copies of what is hurt from this repository."),
]


def fsck(context: Context, *, repair_from: RepairFrom = None, json: Json = False) -> int:
    """Read back everything that a branch, tag or reflog reaches, and say what is hurt.

    With --repair-from, what is hurt or missing is looked up by its id in another repository, such as a clone, which is
    only read. Damaged packs are set aside in `.mlgit/objects/damaged` when nothing needs them any more. Exit code 13
    when something is hurt, or still is after the repair.
    """
    from mlgit.errors import CorruptObjectError
    from mlgit.porcelain.fsck import fsck as check

    source = None if repair_from is None else context.directory / repair_from
    found = check(context.repository(), repair_from=source, progress=context.progress)
    if json:
        context.output.json(_document(found))
    else:
        _print(context.output, found)
    return 0 if found.sound else CorruptObjectError.exit_code


def _print(output: Output, found: FsckResult) -> None:
    for object_id in found.repaired:
        output.detail("fetched ", object_id.kind, " ", object_id)
    for path in found.set_aside:
        output.line("set aside the damaged pack ", str(path), "; remove it when you like")
    for item in found.hurt:
        which = () if item.id is None else (" ", Styled(item.id, "id"))
        output.line(Styled("hurt", "bad"), " ", item.kind, *which, ": ", item.problem)
        if item.commits:
            output.line("  needed by ", ", ".join(commit.short for commit in item.commits))
        if item.names:
            output.line("  named by ", ", ".join(item.names))
    if found.repaired:
        output.line(f"{len(found.repaired)} objects repaired")
    output.line(f"{found.commits} commits, {found.objects} objects: ", "sound" if found.sound else "hurt")


def _document(found: FsckResult) -> dict[str, object]:
    return {
        "sound": found.sound,
        "commits": found.commits,
        "objects": found.objects,
        "hurt": [_item(item) for item in found.hurt],
        "repaired": [{"id": object_id, "kind": object_id.kind} for object_id in found.repaired],
        "set_aside": [str(path) for path in found.set_aside],
    }


def _item(item: Hurt) -> dict[str, object]:
    return {
        "id": item.id,
        "kind": item.kind,
        "problem": item.problem,
        "commits": list(item.commits),
        "names": list(item.names),
    }
