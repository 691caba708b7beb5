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
    from mlgit.evaluation.statistics import Interval
    from mlgit.porcelain.evaluate import Intervals

Revisions = Annotated[list[str], typer.Argument(help="Revisions and globs of branches.", metavar="REV…")]
Split = Annotated[
    str,
    typer.Option(
        "--split", help="validation (of the training domains), test (the test domain) or unseen (both together)."
    ),
]
Domains = Annotated[
    list[str] | None, typer.Option("--domains", metavar="NAME", help="Only this domain of the split; repeatable.")
]


def evaluate(
    context: Context,
    revisions: Revisions,
    *,
    task: Task,
    split: Split = "validation",
    domains: Domains = None,
    ensemble: Annotated[bool, typer.Option("--ensemble", help="Score the mean of their probabilities too.")] = False,
    trial: Trial = 0,
    device: Device = "auto",
    trust_code: TrustCode = False,
    json: Json = False,
) -> None:
    """Score commits on a task, per domain.

    Each accuracy stands beside its exact 95 % interval. What was computed before is not computed again.
    """
    from mlgit.porcelain.evaluate import evaluate as score
    from mlgit.porcelain.evaluate import intervals

    found = score(
        context.repository(),
        revisions,
        task=task,
        split=split,
        domains=domains or (),
        together=ensemble,
        trial=trial,
        runtime=runtime(device, trust_code),
        progress=context.progress,
    )
    if json:
        rows = [
            {"id": commit_id, **_json(value, intervals(value, found.sizes))}
            for commit_id, value in found.scores.items()
        ]
        whole = None if found.ensemble is None else _json(found.ensemble, intervals(found.ensemble, found.sizes))
        document = {"task": found.task, "split": found.split, "scores": rows, "ensemble": whole}
        context.output.json({**document, "computed": found.computed})
        return
    named: list[tuple[Part, Score]] = [(Styled(one.short, "id"), value) for one, value in found.scores.items()]
    if found.ensemble is not None:
        named.append(("ensemble", found.ensemble))
    rows_shown = [[name, *_cells(value, intervals(value, found.sizes))] for name, value in named]
    titles = ["accuracy", *(["mean over domains"] if len(found.sizes) > 1 else []), *found.sizes]
    context.output.table(["commit", *(Column(title, right=True) for title in titles)], rows_shown)


def _cells(value: Score, sure: Intervals) -> list[str]:
    """Return accuracy, mean over domains where there are several, and each domain."""
    from mlgit.cli.views import percent

    domains = [_with_interval(share, sure.per_domain[name]) for name, share in value.per_domain.items()]
    if len(domains) == 1:
        return [percent(value.accuracy), *domains]
    return [_with_interval(value.accuracy, sure.accuracy), percent(value.macro), *domains]


def _with_interval(share: float, interval: Interval) -> str:
    from mlgit.cli.views import percent

    return f"{percent(share)} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _json(value: Score, sure: Intervals) -> dict[str, object]:
    return {
        "accuracy": value.accuracy,
        "mean_over_domains": value.macro,
        "domains": dict(value.per_domain),
        "examples": len(value.correct),
        "intervals": {
            "confidence": sure.accuracy.confidence,
            "accuracy": [sure.accuracy.low, sure.accuracy.high],
            "domains": {name: [each.low, each.high] for name, each in sure.per_domain.items()},
        },
    }
