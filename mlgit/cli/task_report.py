"""How the result of ``mlgit task check`` is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlgit.cli.output import Output, Styled

if TYPE_CHECKING:
    from mlgit.porcelain.task_check import TaskCheck

_SHOWN = 20


def print_check(output: Output, found: TaskCheck, *, as_json: bool) -> None:
    """Print what a check found."""
    if as_json:
        output.json({"check": _document(found)})
        return
    for path, why in list(found.unreadable.items())[:_SHOWN]:
        output.line(Styled("unreadable", "bad"), f" {path}: {why}")
    _more(output, len(found.unreadable), "unreadable")
    if found.differences is not None:
        _names(output, "changed", found.differences.changed)
        _names(output, "missing", found.differences.missing)
        _names(output, "new", found.differences.new)
    for group in found.duplicates[:_SHOWN]:
        output.line("equal content: ", ", ".join(f"{each.domain} {each.name}" for each in group))
    _more(output, len(found.duplicates), "groups of equal content")
    for path in found.ignored[:_SHOWN]:
        output.warn(f"passed over: {path}")
    for note in found.notes:
        output.warn(note)
    _verdict(output, found)


def _verdict(output: Output, found: TaskCheck) -> None:
    digest = "none: they cannot be used as they are" if found.data_digest is None else found.data_digest[:10]
    output.line(f"{found.examples} examples can be read; digest of the data: ", digest)
    if found.expected is not None:
        _compared(output, "recorded", found.expected, same=found.expected == found.data_digest)
    for state in found.recorded:
        count = len(state.commits)
        whose = f"{count} commit{'s' if count > 1 else ''}, as {state.commits[0].short}, made with"
        _compared(output, whose, state.digest, same=state.same)
    if found.expected is None and not found.recorded:
        output.line("nothing was recorded to compare with")


def _compared(output: Output, what: str, digest: str, *, same: bool) -> None:
    word = Styled("the same", "good") if same else Styled("other data", "bad")
    output.line(f"{what} ", Styled(digest[:10], "id"), ": ", word)


def _names(output: Output, word: str, names: Sequence[str]) -> None:
    for name in names[:_SHOWN]:
        output.line(f"{word} {name}")
    _more(output, len(names), word)


def _more(output: Output, count: int, word: str) -> None:
    if count > _SHOWN:
        output.line(f"… {count - _SHOWN} more {word}")


def _document(found: TaskCheck) -> dict[str, object]:
    differences = found.differences
    return {
        "task": found.definition.name,
        "same": found.same,
        "examples": found.examples,
        "data_digest": found.data_digest,
        "expected": found.expected,
        "recorded": [
            {"digest": state.digest, "commits": list(state.commits), "same": state.same} for state in found.recorded
        ],
        "compared": found.compared,
        "changed": [] if differences is None else list(differences.changed),
        "missing": [] if differences is None else list(differences.missing),
        "new": [] if differences is None else list(differences.new),
        "unreadable": dict(found.unreadable),
        "duplicates": [[f"{each.domain} {each.name}" for each in group] for group in found.duplicates],
        "ignored": list(found.ignored),
        "notes": list(found.notes),
    }
