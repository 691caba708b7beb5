"""``mlgit train``."""

from __future__ import annotations

from typing import Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.output import Styled
from mlgit.cli.training_options import Task, TrainingFlags


def train(
    context: Context,
    *,
    task: Task,
    start: Annotated[str, typer.Option("--from", help="Revision to start from.", metavar="REV")] = "HEAD",
    flags: TrainingFlags,
) -> None:
    """Fine-tune on a task and leave the weights in the working directory.

    The classifier starts from the task's linear probe, which all runs share; batch-norm statistics are frozen; a
    featurizer from an auxiliary task is frozen in the first steps. The weights with the best ID validation accuracy
    are kept. `mlgit commit --task T` records the run.
    """
    from mlgit.cli.views import metric_lines, percent
    from mlgit.porcelain.train import train as run

    repository, output = context.repository(), context.output
    found = run(
        repository,
        task,
        start=start,
        options=flags.options(),
        runtime=flags.runtime(),
        actor=context.actor(repository),
        progress=context.progress,
    )
    if found.probe is not None and found.probe.created:
        output.note("trained the linear probe ", Styled(found.probe.id.short, "id"))
    accuracy = percent(found.run.metrics["id_accuracy"])
    output.line(f"{found.steps} steps on task '{task}' from ", Styled(found.start.short, "id"))
    output.line(f"ID validation accuracy {accuracy} at step {found.best_step}")
    for line in metric_lines(found.run.metrics):
        output.detail("  ", line)
    output.note(f"record it with `mlgit commit --task {task} -m …`")
