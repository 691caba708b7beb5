"""``mlgit gc``."""

from __future__ import annotations

from typing import Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.options import DryRun, Json
from mlgit.cli.views import size


def gc(
    context: Context,
    *,
    dry_run: DryRun = False,
    grace: Annotated[
        float, typer.Option("--grace", min=0, metavar="DAYS", help="Keep packs that are younger than this.")
    ] = 14.0,
    expire_reflog: Annotated[
        float, typer.Option("--expire-reflog", min=0, metavar="DAYS", help="Forget what logs of refs say of before.")
    ] = 90.0,
    predictions: Annotated[
        bool, typer.Option("--predictions", help="Forget what models have predicted too; it is computed again.")
    ] = False,
    json: Json = False,
) -> None:
    """Free the disk of what nothing leads to any more.

    What a branch, a tag, a stash, a log of a branch or a run that waits for its commit leads to is kept, and so is
    everything young. Others may commit and read meanwhile.
    """
    from mlgit.porcelain.gc import gc as collect

    output = context.output
    found = collect(
        context.repository(),
        dry_run=dry_run,
        grace_days=grace,
        reflog_days=expire_reflog,
        progress=context.progress,
    )
    forgotten = 0
    if predictions:
        from mlgit.porcelain.predictions import forget_predictions

        forgotten = forget_predictions(context.repository(), dry_run=dry_run)
    for problem in found.damaged:
        output.warn(f"left alone: {problem}")
    if json:
        output.json(
            {
                "dry_run": found.dry_run,
                "removed": list(found.removed),
                "rewritten": list(found.rewritten),
                "freed_bytes": found.freed_bytes,
                "stored_bytes": found.stored_bytes,
                "young_packs": found.young,
                "expired_log_lines": found.expired,
                "predictions_bytes": forgotten,
            }
        )
        return
    for name in found.removed:
        output.detail("nothing needs ", name)
    for name in found.rewritten:
        output.detail("little is needed of ", name)
    word = "would free" if dry_run else "freed"
    output.line(
        f"{word} {size(found.freed_bytes)}: {len(found.removed)} packs removed, {len(found.rewritten)} written anew; "
        f"{size(found.stored_bytes)} stay"
    )
    if forgotten:
        output.line(f"{word} {size(forgotten)} of predictions")
    if found.young:
        output.note(f"{found.young} packs are younger than {grace:g} days and were kept with all they lead to")
