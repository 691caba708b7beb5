"""``mlgit cat-file``."""

from __future__ import annotations

from typing import Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.options import Json


def cat_file(
    context: Context,
    name: Annotated[str, typer.Argument(help="Beginning of an object's id, or a revision.", metavar="ID")],
    *,
    kind: Annotated[bool, typer.Option("-t", help="Show its kind.")] = False,
    length: Annotated[bool, typer.Option("-s", help="Show its size in bytes.")] = False,
    json: Json = False,
) -> None:
    """Print a stored object's bytes, verified against its id.

    A commit, manifest, tag or certificate result is canonical JSON; a tensor is its raw little-endian elements.
    """
    from mlgit.porcelain.inspect import cat_file as read

    found = read(context.repository(), name)
    output = context.output
    if json:
        output.json({"id": found.id, "kind": found.kind, "size": found.size_bytes, "stored": found.stored_bytes})
    elif kind:
        output.line(found.kind)
    elif length:
        output.line(found.size_bytes)
    else:
        output.data([found.content])
