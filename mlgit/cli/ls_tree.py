"""``mlgit ls-tree``."""

from __future__ import annotations

from typing import Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.options import Json
from mlgit.cli.output import Styled
from mlgit.cli.style import Column


def ls_tree(
    context: Context,
    revision: Annotated[str, typer.Argument(help="A revision, or the id of a manifest.")] = "HEAD",
    *,
    json: Json = False,
) -> None:
    """List the tensors and files of a commit."""
    from mlgit.cli.views import size
    from mlgit.porcelain.inspect import ls_tree as read

    manifest = read(context.repository(), revision)
    output = context.output
    if json:
        output.json({"manifest": {"id": manifest.id, **manifest.to_json()}})
        return
    columns: list[str | Column] = ["tensor", "dtype", "shape", Column("size", right=True), "id"]
    output.table(
        columns,
        [
            [name, entry.dtype, str(list(entry.shape)), size(entry.size_bytes), Styled(entry.id.short, "id")]
            for name, entry in manifest.tensors.items()
        ],
    )
    for file in manifest.files:
        output.line("file ", file.path)
