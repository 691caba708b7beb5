"""``mlgit show``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.options import Json
from mlgit.cli.output import Styled

if TYPE_CHECKING:
    from mlgit.objects import CertificateResult

MAX_SHOWN = 1_000
"""Characters of one value of how a commit was made; longer ones are cut, but for ``--json``."""


def show(
    context: Context,
    revision: Annotated[str, typer.Argument(help="A branch, a tag or an id.")] = "HEAD",
    *,
    json: Json = False,
) -> None:
    """Show everything a commit records: how it was made, metrics, parents, certificates and changed files."""
    import json as encoder

    from mlgit.cli.views import change_line, changes_json, commit_json, labels, metric_lines, parents, size, verdict
    from mlgit.porcelain.show import show as read

    found = read(context.repository(), revision)
    entry, commit, output = found.entry, found.entry.commit, context.output
    if json:
        document = {**commit_json(entry), "made": commit.made, "changes": changes_json(found.changes)}
        output.json({"commit": document})
        return
    output.line("commit ", Styled(entry.id, "id"), " ", *labels(entry))
    output.line("stage:    ", commit.stage.value)
    if commit.task is not None:
        output.line("task:     ", commit.task.name, " (", commit.task.digest[:10], ")")
    for text in parents(commit):
        output.line("from:     ", text)
    output.line("author:   ", str(commit.author))
    output.line("date:     ", commit.time.isoformat())
    output.line(
        "manifest: ",
        found.manifest.id,
        f" ({len(found.manifest.tensors)} tensors, ",
        size(found.manifest.size_bytes),
        ")",
    )
    if found.manifest.factory is not None:
        output.line("model:    ", found.manifest.factory, ", head ", found.manifest.head or "not named")
    output.line()
    output.block(commit.message.strip(), indent="    ")
    for title, lines in (
        ("metrics", metric_lines(commit.metrics)),
        (
            "certificates",
            [f"{verdict(result).text} {check}" for result in entry.certificates for check in _checks(result)],
        ),
        ("made by", [f"{key}: {_shortened(encoder.dumps(value))}" for key, value in sorted(commit.made.items())]),
        ("files", [change_line(change) for change in found.changes]),
    ):
        if lines:
            output.line()
            output.line(Styled(title, "title"))
            for line in lines:
                output.line("  ", line)


def _shortened(text: str) -> str:
    """Return a value of a record as a line that people can still read."""
    if len(text) <= MAX_SHOWN:
        return text
    return f"{text[:MAX_SHOWN]}… ({len(text)} characters; `--json` shows them all)"


def _checks(result: CertificateResult) -> list[str]:
    return [
        f"{check.metric}{f' on {check.domain}' if check.domain else ''} {check.value:.4f} "
        f"({check.low:.4f} to {check.high:.4f}), {check.direction} {check.threshold:g}: "
        f"{'passed' if check.passed else 'failed'}"
        for check in result.checks
    ]
