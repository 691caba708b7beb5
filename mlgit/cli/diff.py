"""``mlgit diff``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.options import Json
from mlgit.cli.style import Column


def diff(
    context: Context,
    old: Annotated[str, typer.Argument(help="Revision of the first side.", metavar="A")] = "HEAD",
    new: Annotated[
        str | None, typer.Argument(help="Revision of the second side; else the working files.", metavar="B")
    ] = None,
    *,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 1 when there are differences.")] = False,
    json: Json = False,
) -> int:
    """Show what changed between two states, tensor by tensor.

    Per tensor: added, removed, changed, or another shape or dtype; relative L2 change |b - a| / |a|, cosine of a and b,
    share of values whose bits changed, and the largest change of a value.
    """
    from mlgit.cli.views import change_line, changes_json
    from mlgit.porcelain.diff import diff as compare

    found = compare(context.repository(), old, new, progress=context.progress)
    code = int(exit_code and bool(found.files or found.tensors))
    output = context.output
    if json:
        tensors = [asdict(tensor) for tensor in found.tensors]
        output.json(
            {
                "old": found.old,
                "new": found.new,
                "files": changes_json(found.files),
                "tensors": tensors,
                "unchanged_tensors": found.unchanged,
            }
        )
        return code
    for change in found.files:
        output.line(change_line(change))
    if found.tensors:
        columns: list[str | Column] = [
            "tensor",
            "status",
            *(Column(title, right=True) for title in ("rel. L2", "cosine", "changed", "largest")),
        ]
        output.table(
            columns,
            [
                [
                    tensor.name,
                    tensor.status,
                    _number(tensor.relative_l2),
                    _number(tensor.cosine),
                    None if tensor.share_changed is None else f"{100 * tensor.share_changed:.1f} %",
                    _number(tensor.largest_change),
                ]
                for tensor in found.tensors
            ],
        )
        output.note(f"{found.unchanged} tensors unchanged")
    return code


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"
