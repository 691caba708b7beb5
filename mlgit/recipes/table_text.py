"""The rows of a table as text, and what has to be said below it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mlgit.recipes.recipe import Selection
from mlgit.recipes.table import Accuracies, Row, Spread, Table

DAGGER = "†"
NOTHING = "-"


def titles(table: Table) -> tuple[str, ...]:
    """Return the titles of the columns; the first two hold text, the others numbers, the last a verdict."""
    return ("strategy", "selection", *_accuracy_titles(table), "runs", "paths")


def cells(table: Table, row: Row) -> tuple[str, ...]:
    """Return the text of a row, one per title."""
    shown = _shown(row) if len(table.domains) > 1 else _shown(row)[:-1]
    accuracies = [text for each in shown for text in (_id(each), _ood(each))]
    title = f"{row.title} {DAGGER}" if row.all_splits else row.title
    return (title, row.selection.value, *accuracies, str(row.runs or NOTHING), row.paths or NOTHING)


def caption(table: Table) -> tuple[str, ...]:
    """Return what the reader needs to know, one sentence or two per line."""
    return tuple(_lines(table))


def markdown(table: Table) -> str:
    """Return the table as GitHub reads it, with its caption as a list."""
    head = titles(table)
    right = [2 <= place < len(head) - 1 for place in range(len(head))]
    lines = [
        f"**{_escaped(heading(table))}**",
        "",
        _markdown_line([_escaped(text) for text in head]),
        _markdown_line(["---:" if each else "---" for each in right]),
        *(_markdown_line([_escaped(text) for text in cells(table, row)]) for row in table.rows),
        "",
        *(f"- {_escaped(line)}" for line in caption(table)),
    ]
    return "\n".join(lines)


def heading(table: Table) -> str:
    """Return the line above the table."""
    return f"{table.task}, study {table.name}: accuracy in %"


def _accuracy_titles(table: Table) -> Iterator[str]:
    for name in (*table.domains, *(("average",) if len(table.domains) > 1 else ())):
        yield f"{name} ID"
        yield f"{name} OOD"


def _lines(table: Table) -> Iterator[str]:
    yield "ID: validation data of the training domains, the mean over these."
    yield "OOD: the whole test domain; nothing is chosen by it."
    counts = sorted({spread.splits for spread in _spreads(table) if spread.splits > 1})
    if counts:
        number = " or ".join(map(str, counts))
        yield f"±: sample standard deviation (ddof = 1) over n = {number} data splits."
    yield from _error_lines(table)
    if any(row.selection is Selection.BEST and row.runs for row in table.rows):
        yield "In parentheses: the mean OOD accuracy of all runs, of which the best by ID was taken."
    if any(row.all_splits for row in table.rows):
        yield f"{DAGGER}: one average of the runs of all data splits: no data are left for ID, and there is no ±."
    if len({row.runs for row in table.rows if row.runs is not None}) > 1:
        yield "Rows differ in their number of runs (of each data split)."
    if any(row.paths is not None for row in table.rows):
        yield "paths: whether the averaged models are linearly connected, the worst verdict of all."


def _error_lines(table: Table) -> Iterator[str]:
    """Yield how sure one accuracy on a test domain is."""
    errors = []
    for place, domain in enumerate(table.domains):
        found = [cell for row in table.rows if (cell := row.cells[place]) is not None]
        if found:
            examples = max(test.examples for cell in found for test in cell.tests.values())
            error = max(cell.standard_error for cell in found)
            errors.append(f"{domain} {100 * error:.2f} ({examples:,} examples)")
    yield "Standard error of one OOD accuracy from its number of examples, at most: " + ", ".join(errors) + "."


def _spreads(table: Table) -> Iterator[Spread]:
    for row in table.rows:
        for each in _shown(row):
            if each is not None:
                yield from (spread for spread in (each.id, each.ood) if spread is not None)


def _shown(row: Row) -> list[Accuracies | None]:
    """Return what stands in the row, the average last."""
    return [*(None if cell is None else cell.accuracies for cell in row.cells), row.average]


def _id(found: Accuracies | None) -> str:
    return NOTHING if found is None or found.id is None else _percent(found.id)


def _ood(found: Accuracies | None) -> str:
    if found is None:
        return NOTHING
    all_runs = "" if found.all_runs is None else f" ({100 * found.all_runs.mean:.1f})"
    return _percent(found.ood) + all_runs


def _percent(spread: Spread) -> str:
    deviation = spread.standard_deviation
    return f"{100 * spread.mean:.1f}" + ("" if deviation is None else f" ± {100 * deviation:.1f}")


def _markdown_line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(texts) + " |"


def _escaped(text: str) -> str:
    """Return text in which Markdown finds nothing to read."""
    return "".join(f"\\{letter}" if letter in "\\|*_`~<>[]#" else letter for letter in text)
