"""``mlgit merge``."""

from __future__ import annotations

from typing import Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.evaluate import Revisions
from mlgit.cli.options import DryRun, Force
from mlgit.cli.output import Styled
from mlgit.cli.training_options import Device, OptionalTask, Trial, TrustCode, runtime

Tolerance = Annotated[
    float | None,
    typer.Option("--tolerance", help="Accepted drop of accuracy, 0 to 1. Default: a paired test decides."),
]


def merge(
    context: Context,
    revisions: Revisions,
    *,
    message: Annotated[str, typer.Option("-m", "--message", help="Why; the first line is the subject.")] = "",
    strategy: Annotated[str, typer.Option("--strategy", help="uniform, greedy or fusing.")] = "uniform",
    task: OptionalTask = None,
    lmc: Annotated[
        str | None,
        typer.Option("--lmc", help="Paths to check: off, chord (midpoints) or full. Default: chord with a task."),
    ] = None,
    tolerance: Tolerance = None,
    statistics: Annotated[
        str,
        typer.Option("--statistics", help="Batch-norm statistics: auto, require-equal, average, first, recompute."),
    ] = "auto",
    values: Annotated[
        list[str] | None, typer.Option("--set", help="A parameter of the strategy.", metavar="KEY=VALUE")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of `fusing`.")] = None,
    force: Force = False,
    dry_run: DryRun = False,
    trial: Trial = 0,
    device: Device = "auto",
    trust_code: TrustCode = False,
) -> None:
    """Average models and advance the current branch to the result.

    `uniform` is the plain mean. `greedy` takes models by falling ID validation accuracy and keeps each that does not
    lower that of the mean. `fusing` draws a random average of featurizers to start a training from.

    With a task, the straight path between every two members is measured first. A violated path is a conflict: exit
    code 1, the pair is named, and nothing is written; --force merges all the same, and the record says so.
    """
    from mlgit.cli.task import parse_values
    from mlgit.cli.views import percent
    from mlgit.porcelain.merge import MergeOptions, criterion
    from mlgit.porcelain.merge import merge as combine

    repository, output = context.repository(), context.output
    parameters = {**parse_values(values or []), **({} if seed is None else {"seed": seed})}
    found = combine(
        repository,
        revisions,
        message or ("dry run" if dry_run else ""),
        task=task,
        options=MergeOptions(
            strategy=strategy,
            parameters=parameters,
            statistics=statistics,
            lmc=lmc,
            criterion=criterion(tolerance),
            force=force,
            trial=trial,
        ),
        dry_run=dry_run,
        runtime=runtime(device, trust_code),
        actor=context.actor(repository),
        progress=context.progress,
    )
    for note in found.notes:
        output.warn(note)
    if found.id is None or found.commit is None:
        output.note("the models fit together; nothing was written")
        return
    output.line("[", Styled(found.id.short, "id"), "] ", found.commit.subject)
    for member, coefficient in found.members.items():
        output.line("  ", Styled(member.short, "id"), f" {coefficient:.4g}" if coefficient else " left out")
    count = len(found.curves)
    checked = f", {count} path{'s' if count > 1 else ''}" if count else ""
    output.line("linear mode connectivity: ", found.verdict, checked)
    if "id_accuracy" in found.commit.metrics:
        output.line("ID validation accuracy: ", percent(found.commit.metrics["id_accuracy"]))
