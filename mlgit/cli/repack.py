"""``mlgit repack``."""

from __future__ import annotations

from typing import Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.options import DryRun, Json
from mlgit.cli.views import size


def repack(
    context: Context,
    *,
    depth: Annotated[
        int,
        typer.Option("--depth", min=1, max=8, metavar="N", help="How many differences may stand before a value."),
    ] = 1,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Store the same in fewer packs and fewer bytes.

    The small packs of many commits become few large ones, and tensors become differences to those of all related
    commits that they are nearest to. Others may commit and read meanwhile. The disk needs room for the old packs and
    the new ones.
    """
    from mlgit.porcelain.repack import repack as write_anew

    output = context.output
    found = write_anew(context.repository(), depth=depth, dry_run=dry_run, progress=context.progress)
    for name in found.damaged:
        output.warn(f"left alone, since something in it is damaged: {name}")
    if json:
        output.json(
            {
                "dry_run": found.dry_run,
                "before_bytes": found.before_bytes,
                "after_bytes": found.after_bytes,
                "packs_before": found.packs_before,
                "packs_after": found.packs_after,
                "rebased_tensors": found.rebased,
                "kept": list(found.kept),
                "damaged": list(found.damaged),
            }
        )
        return
    about = "about " if dry_run else ""
    word = "would become" if dry_run else "became"
    output.line(
        f"{size(found.before_bytes)} in {found.packs_before} packs {word} "
        f"{about}{size(found.after_bytes)} in {about}{found.packs_after}; "
        f"{about}{found.rebased} tensors have a new base"
    )
    if found.kept:
        output.note(f"{len(found.kept)} old packs stay until the next time: commits made meanwhile rest on them")
