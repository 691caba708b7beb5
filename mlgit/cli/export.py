"""``mlgit export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mlgit.cli.context import Context
from mlgit.cli.options import Force
from mlgit.cli.output import Styled


def export(
    context: Context,
    revision: Annotated[str, typer.Argument(help="A branch, a tag or an id.", metavar="REV")],
    destination: Annotated[Path, typer.Argument(help="A file, or for `huggingface` a directory.")],
    *,
    form: Annotated[
        Literal["safetensors", "huggingface", "pt"],
        typer.Option("--format", help="One file, a (sharded) Hugging Face directory, or a torch state dict."),
    ] = "safetensors",
    force: Force = False,
) -> None:
    """Write a commit's weights for other tools."""
    from mlgit.porcelain.export import export as write

    written = write(context.repository(), revision, context.directory / destination, form=form, force=force)
    context.output.note("wrote ", Styled(written.short, "id"), " to ", str(destination))
