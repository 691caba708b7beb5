"""``mlgit recipe table``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.options import Json
from mlgit.cli.output import Output, Part, Styled
from mlgit.cli.style import Column
from mlgit.errors import InvalidInputError

if TYPE_CHECKING:
    from mlgit.recipes.table import Table


def table(
    context: Context,
    *,
    task: Annotated[
        str | None,
        typer.Option("--task", "-t", help="Only this task, or NAME@DOMAIN for one test domain. Default: all."),
    ] = None,
    study: Annotated[str | None, typer.Option("--name", help="Only studies of this name. Default: all.")] = None,
    runs: Annotated[
        int | None, typer.Option("--runs", help="Results of this many runs per data split. Default: of the most.")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as GitHub's Markdown.")] = False,
    json: Json = False,
) -> None:
    """Print what recipes came to, side by side as in the paper.

    One row per strategy and selection, two columns per test domain: accuracy in % on ID validation data and on the test
    domain. Nothing is run or evaluated. ± is the sample standard deviation over data splits.
    """
    if json and markdown:
        raise InvalidInputError("`--json` and `--markdown` exclude each other", kind="usage")
    from mlgit.porcelain.recipe_table import recipe_table

    found = recipe_table(context.repository(), task=task, name=study, runs=runs)
    output = context.output
    if json:
        output.json(found.to_json())
        return
    for number, each in enumerate(found.tables):
        if number:
            output.line()
        _print(output, each, markdown=markdown)


def _print(output: Output, table: Table, *, markdown: bool) -> None:
    from mlgit.recipes import table_text

    if markdown:
        for line in table_text.markdown(table).splitlines():
            output.line(line)
        return
    output.line(Styled(table_text.heading(table), "title"))
    titles = table_text.titles(table)
    columns: list[str | Column] = [Column(title, 2 <= place < len(titles) - 1) for place, title in enumerate(titles)]
    output.table(columns, [_row(table_text.cells(table, row)) for row in table.rows])
    for line in table_text.caption(table):
        output.line(line)


def _row(cells: tuple[str, ...]) -> list[Part]:
    *others, paths = cells
    return [*others, Styled(paths, "bad") if paths == "violated" else paths]
