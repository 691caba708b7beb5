"""``mlgit evaluate``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.options import Json
from mlgit.cli.output import Part, Styled
from mlgit.cli.style import Column
from mlgit.cli.training_options import Device, Task, Trial, TrustCode, runtime

if TYPE_CHECKING:
    from mlgit.evaluation.score import Score

Revisions = Annotated[list[str], typer.Argument(help="Revisions and globs of branches.", metavar="REV…")]
Split = Annotated[str, typer.Option("--split", help="validation (of the training domains) or test (the test domain).")]


def evaluate(
    context: Context,
    revisions: Revisions,
    *,
    task: Task,
    split: Split = "validation",
    ensemble: Annotated[bool, typer.Option("--ensemble", help="Score the mean of their probabilities too.")] = False,
    trial: Trial = 0,
    device: Device = "auto",
    trust_code: TrustCode = False,
    json: Json = False,
) -> None:
    """Score commits on a task, per domain."""
    from mlgit.cli.views import percent
    from mlgit.porcelain.evaluate import evaluate as score

    found = score(
        context.repository(),
        revisions,
        task=task,
        split=split,
        together=ensemble,
        trial=trial,
        runtime=runtime(device, trust_code),
        progress=context.progress,
    )
    if json:
        rows = [{"id": commit_id, **_json(value)} for commit_id, value in found.scores.items()]
        whole = None if found.ensemble is None else _json(found.ensemble)
        context.output.json({"task": found.task, "split": found.split, "scores": rows, "ensemble": whole})
        return
    domains = list(next(iter(found.scores.values())).per_domain)
    named: list[tuple[Part, Score]] = [(Styled(one.short, "id"), value) for one, value in found.scores.items()]
    if found.ensemble is not None:
        named.append(("ensemble", found.ensemble))
    rows_shown = [
        [name, percent(value.accuracy), *(percent(value.per_domain[domain]) for domain in domains)]
        for name, value in named
    ]
    titles = ["accuracy", *domains]
    context.output.table(["commit", *(Column(title, right=True) for title in titles)], rows_shown)


def _json(value: Score) -> dict[str, object]:
    return {
        "accuracy": value.accuracy,
        "mean_over_domains": value.macro,
        "domains": dict(value.per_domain),
        "examples": len(value.correct),
    }
