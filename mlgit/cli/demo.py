"""``mlgit demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.style import Column


def demo(
    context: Context,
    directory: Annotated[Path, typer.Argument(help="A new directory; it stays, as a repository to play with.")] = Path(
        "mlgit-demo"
    ),
) -> None:
    """Spend a whole day with real handwritten digits, in minutes and without a download.

    Pretrains a small network, fine-tunes it ten times, merges the results after checking the paths between them, shows
    a merge that is refused, certifies the best, and ends with the lineage and a table of what was measured.
    """
    from mlgit.cli.certify import print_result
    from mlgit.cli.log import print_graph
    from mlgit.cli.views import percent, size
    from mlgit.porcelain.demo import TEST_DOMAIN
    from mlgit.porcelain.demo import demo as run
    from mlgit.porcelain.log import log

    output = context.output
    found = run(
        context.directory / directory,
        say=lambda text: output.note("$ ", text),
        author=context.actor,
        progress=context.progress,
        user_settings=context.user_settings,
    )
    entries = log(found.repository, everything=True, topological=True).entries
    output.line()
    print_graph(output, entries, oneline=True, ascii_only=not output.unicode)
    output.line()
    if found.refused is not None:
        output.line("refused merge: ", found.refused)
        output.line()
    print_result(output, found.certificate)
    output.line()
    columns: list[str | Column] = [
        "model",
        *(Column(title, right=True) for title in ("models", "ID accuracy", f"OOD accuracy ({TEST_DOMAIN})")),
    ]
    output.table(
        columns, [[row.name, row.models, percent(row.in_domain), percent(row.out_of_domain)] for row in found.rows]
    )
    output.line()
    output.line(
        f"{found.size.commits} commits, checkpoints {size(found.size.checkpoints_bytes)}, "
        f"repository {size(found.size.stored_bytes)}"
    )
    output.note("go on in ", str(directory), ": `mlgit log --graph`, `mlgit diff main soup/greedy`, `mlgit status`")
