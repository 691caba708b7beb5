"""``mlgit log``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.options import Json
from mlgit.cli.output import Output, Part, Styled

if TYPE_CHECKING:
    from mlgit.porcelain.log import LogEntry


def log(
    context: Context,
    revisions: Annotated[list[str] | None, typer.Argument(help="Where to start; globs of branches too.")] = None,
    *,
    graph: Annotated[bool, typer.Option("--graph", help="Draw the lineage beside the commits.")] = False,
    oneline: Annotated[bool, typer.Option("--oneline", help="One line per commit.")] = False,
    limit: Annotated[int | None, typer.Option("-n", "--max-count", help="Show at most so many.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Start at every branch and tag.")] = False,
    ascii_only: Annotated[bool, typer.Option("--ascii", help="Draw the graph without box characters.")] = False,
    json: Json = False,
) -> None:
    """Show the history, newest first: what each commit is, scored and passed.

    Each commit shows its stage, its task, its headline metric and the verdicts of its certificates; merges show their
    members with coefficients.
    """
    from mlgit.cli.views import commit_json
    from mlgit.porcelain.log import log as read

    found = read(context.repository(), revisions or ("HEAD",), limit=limit, everything=everything, topological=graph)
    if json:
        context.output.json({"commits": [commit_json(entry) for entry in found.entries]})
    elif graph:
        print_graph(context.output, found.entries, oneline=oneline, ascii_only=ascii_only or not context.output.unicode)
    else:
        for number, entry in enumerate(found.entries):
            lines = [_first(entry)] if oneline else _long(entry)
            if number and not oneline:
                context.output.line()
            for line in lines:
                context.output.line(*line)


def print_graph(output: Output, entries: tuple[LogEntry, ...], *, oneline: bool, ascii_only: bool) -> None:
    """Print commits with their lineage drawn beside them.

    Args:
        output: Where to.
        entries: Children before parents.
        oneline: Leave out the line with a merge's coefficients.
        ascii_only: Draw without box characters.
    """
    from mlgit.cli.views import coefficients
    from mlgit.history.graph import ASCII, UNICODE, graph_rows
    from mlgit.history.lineage import graph_of, parents_in

    by_id = {entry.id: entry for entry in entries}
    lineage = graph_of((entry.id, entry.commit) for entry in entries)
    commits = [(entry.id, parents_in(lineage, entry.id)) for entry in entries]
    for row in graph_rows(commits, ASCII if ascii_only else UNICODE):
        entry = None if row.commit is None else by_id[row.commit]
        output.line(row.prefix, *(["  ", *_first(entry)] if entry else []))
        merged = "" if entry is None or oneline else coefficients(entry.commit)
        if merged:
            output.line(row.continuation, "    = ", Styled(merged, "faint"))


def _first(entry: LogEntry) -> list[Part]:
    from mlgit.cli.views import facts, labels

    return [Styled(entry.id.short, "id"), " ", *labels(entry), *facts(entry), entry.commit.subject]


def _long(entry: LogEntry) -> list[list[Part]]:
    from mlgit.cli.views import facts, labels, parents

    commit = entry.commit
    lines: list[list[Part]] = [["commit ", Styled(entry.id, "id"), " ", *labels(entry)], [*facts(entry)]]
    lines += [["from:   ", text] for text in parents(commit)]
    lines += [["Author: ", str(commit.author)], ["Date:   ", commit.time.isoformat()], []]
    return lines + [["    ", line] for line in commit.message.strip().split("\n")]
