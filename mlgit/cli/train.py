"""``mlgit train``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.output import Styled
from mlgit.cli.training_options import Task, TrainingFlags
from mlgit.errors import InvalidInputError

if TYPE_CHECKING:
    from mlgit.objects import CommitId
    from mlgit.porcelain.train import Trained, TrainResult
    from mlgit.repository import Repository


def train(
    context: Context,
    *,
    task: Task,
    start: Annotated[str, typer.Option("--from", help="Revision to start from.", metavar="REV")] = "HEAD",
    onto: Annotated[
        str | None,
        typer.Option(
            "--onto", help="Commit onto this new branch; leave the working directory alone.", metavar="BRANCH"
        ),
    ] = None,
    message: Annotated[
        str, typer.Option("-m", "--message", help="With --onto: why; by default `fine-tune on T`.")
    ] = "",
    abandon: Annotated[bool, typer.Option("--abandon", help="Give up the unfinished runs on the task.")] = False,
    flags: TrainingFlags,
) -> None:
    """Fine-tune on a task and leave the weights in the working directory.

    The classifier starts from the task's linear probe, which all runs share; batch-norm statistics are frozen; a
    featurizer from an auxiliary task is frozen in the first steps. The weights with the best ID validation accuracy
    are kept, of an auxiliary run the last ones. `mlgit commit --task T` records the run. A run that was killed goes
    on from its last save when the same command is given again. With --onto the run is committed straight onto a new
    branch that begins at --from; many processes may do this at once. With --onto a/run, --collect moving commits the
    moving average of the same run onto a/moving/run as well.
    """
    from mlgit.porcelain.train import train as run

    repository, output = context.repository(), context.output
    if abandon:
        _abandon(context, repository, task)
        return
    if onto is not None:
        _train_onto(context, repository, task, onto, message, start, flags)
        return
    if message:
        raise InvalidInputError("`--message` belongs to `--onto`", kind="usage", hint="give it to `mlgit commit`")
    found = run(
        repository,
        task,
        start=start,
        options=flags.options(),
        runtime=flags.runtime(),
        actor=context.actor(repository),
        progress=context.progress,
    )
    _print_run(context, task, found.start, found, found.run.metrics)
    output.note(f"record it with `mlgit commit --task {task} -m …`")


def _train_onto(
    context: Context, repository: Repository, task: str, branch: str, message: str, start: str, flags: TrainingFlags
) -> None:
    from mlgit.porcelain.train_onto import collected_branch, train_onto

    made = train_onto(
        repository,
        task,
        branch,
        message or None,
        start=start,
        options=flags.options(),
        arguments=context.command,
        runtime=flags.runtime(),
        actor=context.actor(repository),
        progress=context.progress,
    )
    _print_run(context, task, made.commit.parents[0].id, made.done, made.commit.metrics)
    branches = {collected_branch(branch, name): commit_id for name, commit_id in made.collected.items()}
    for name, commit_id in {branch: made.id, **branches}.items():
        context.output.line("[", Styled(name, "ref"), " ", Styled(commit_id.short, "id"), "] ", made.commit.subject)


def _print_run(
    context: Context, task: str, start: CommitId, run: TrainResult | Trained, metrics: Mapping[str, float]
) -> None:
    from mlgit.cli.views import metric_lines, percent

    output = context.output
    if run.probe is not None and run.probe.created:
        output.note("trained the linear probe ", Styled(run.probe.id.short, "id"))
    if run.resumed_from:
        output.note(f"resumed an unfinished run after {run.resumed_from} steps")
    output.line(f"{run.steps} steps on task '{task}' from ", Styled(start.short, "id"))
    output.line(f"ID validation accuracy {percent(metrics['id_accuracy'])} at step {run.step}")
    for line in metric_lines(metrics):
        output.detail("  ", line)


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
