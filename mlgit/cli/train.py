"""``mlgit train``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.output import Styled
from mlgit.cli.training_options import Task, TrainingFlags

if TYPE_CHECKING:
    from mlgit.repository import Repository


def train(
    context: Context,
    *,
    task: Task,
    start: Annotated[str, typer.Option("--from", help="Revision to start from.", metavar="REV")] = "HEAD",
    abandon: Annotated[bool, typer.Option("--abandon", help="Give up the unfinished runs on the task.")] = False,
    flags: TrainingFlags,
) -> None:
    """Fine-tune on a task and leave the weights in the working directory.

    The classifier starts from the task's linear probe, which all runs share; batch-norm statistics are frozen; a
    featurizer from an auxiliary task is frozen in the first steps. The weights with the best ID validation accuracy
    are kept, of an auxiliary run the last ones. `mlgit commit --task T` records the run. A run that was killed goes
    on from its last save when the same command is given again.
    """
    from mlgit.cli.views import metric_lines, percent
    from mlgit.porcelain.train import train as run

    repository, output = context.repository(), context.output
    if abandon:
        _abandon(context, repository, task)
        return
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
    if found.resumed_from:
        output.note(f"resumed an unfinished run after {found.resumed_from} steps")
    accuracy = percent(found.run.metrics["id_accuracy"])
    output.line(f"{found.steps} steps on task '{task}' from ", Styled(found.start.short, "id"))
    output.line(f"ID validation accuracy {accuracy} at step {found.step}")
    for line in metric_lines(found.run.metrics):
        output.detail("  ", line)
    output.note(f"record it with `mlgit commit --task {task} -m …`")


def _abandon(context: Context, repository: Repository, task: str) -> None:
    from mlgit.porcelain.saved_runs import abandon_runs

    dropped = abandon_runs(repository, task)
    for run in dropped:
        context.output.line(
            f"gave up a run on task '{run.task}' from ",
            Styled(run.start.short, "id"),
            f" at step {run.step} of {run.steps}",
        )
    if not dropped:
        context.output.note(f"there is no unfinished run on task '{task}'")
