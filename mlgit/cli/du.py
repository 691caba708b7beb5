"""``mlgit du``."""

from __future__ import annotations

from mlgit.cli.context import Context
from mlgit.cli.options import Json
from mlgit.cli.output import Column, Part, Styled
from mlgit.cli.views import size

_COLUMNS = ("checkpoint", "own", "shared", "added", "deduplicated", "compressed", "differences")


def du(context: Context, *, json: Json = False) -> None:
    """Show what each commit takes on disk, and what was saved.

    `own` goes when nothing leads to the commit any more, `shared` stays for others. The checkpoint is what its files
    take; of these, `added` was stored with it and the rest saved: contents that an earlier commit had, compression,
    and storing differences to other tensors.
    """
    from mlgit.porcelain.du import du as measure

    found, output = measure(context.repository(), progress=context.progress), context.output
    if json:
        output.json(
            {
                "commits": [
                    {"id": row.id, **{f"{name}_bytes": getattr(row, name) for name in _COLUMNS}}
                    for row in found.commits
                ],
                "checkpoints_bytes": found.checkpoints,
                "stored_bytes": found.stored,
                "needed_bytes": found.needed,
                "other_bytes": found.other,
            }
        )
        return
    rows: list[list[Part]] = [
        [Styled(row.id.short, "id"), *(size(getattr(row, name)) for name in _COLUMNS), row.subject]
        for row in found.commits
    ]
    output.table(["commit", *(Column(name, right=True) for name in _COLUMNS), "message"], rows)
    output.line(
        f"{len(found.commits)} commits, {size(found.checkpoints)} of checkpoints, in {size(found.stored)} on disk; "
        f"{size(found.other)} of these are no commit's"
    )
