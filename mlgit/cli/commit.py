"""``mlgit commit``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.output import Styled
from mlgit.cli.training_options import OptionalTask, TrainingFlags, parse_stage
from mlgit.errors import InvalidInputError

if TYPE_CHECKING:
    from mlgit.porcelain.commit import CommitResult, Effort
    from mlgit.repository import Repository


def commit(
    context: Context,
    *,
    message: Annotated[str, typer.Option("-m", "--message", help="Why; the first line is the subject.")] = "",
    task: OptionalTask = None,
    train: Annotated[bool, typer.Option("--train", help="Fine-tune on --task first.")] = False,
    start: Annotated[str, typer.Option("--from", help="With --train: revision to start from.", metavar="REV")] = "HEAD",
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="Commit although nothing changed.")] = False,
    fast: Annotated[bool, typer.Option("--fast", help="Store quickly, in more bytes: no differences.")] = False,
    small: Annotated[bool, typer.Option("--small", help="Store in fewer bytes: differences to differences.")] = False,
    flags: TrainingFlags,
) -> None:
    """Record the working files on the current branch.

    A run that `mlgit train` left is recorded with them: hyper-parameters, seed, metrics, data digest, packages, device
    and duration. With --task T the commit must record a run on T; with --train as well, training comes first.
    """
    from mlgit.porcelain.commit import commit as record

    repository = context.repository()
    effort = chosen_effort(fast=fast, small=small)
    if not train:
        flags.refuse_without_training(start=start, stage_allowed=True)
        result = record(
            repository,
            message,
            task=task,
            stage=parse_stage(flags.stage),
            allow_empty=allow_empty,
            effort=effort,
            actor=context.actor(repository),
            progress=context.progress,
        )
        print_commit(context, result)
        return
    if task is None:
        raise InvalidInputError("`--train` needs a task", kind="usage", hint="name it with `--task`")
    text = message or f"fine-tune on {task}"
    print_commit(context, train_and_commit(context, repository, task, text, flags, start, effort))


def chosen_effort(*, fast: bool, small: bool) -> Effort | None:
    """Return what `--fast` and `--small` ask for; None for what the settings say."""
    from mlgit.porcelain.commit import Effort

    if fast and small:
        raise InvalidInputError("`--fast` and `--small` exclude each other", kind="usage", hint="choose one")
    return Effort.FAST if fast else Effort.SMALL if small else None


def train_and_commit(
    context: Context,
    repository: Repository,
    task: str,
    message: str,
    flags: TrainingFlags,
    start: str = "HEAD",
    effort: Effort | None = None,
) -> CommitResult:
    """Fine-tune and commit in one step."""
    from mlgit.porcelain.train_commit import train_and_commit as run

    return run(
        repository,
        task,
        message,
        start=start,
        options=flags.options(),
        effort=effort,
        runtime=flags.runtime(),
        actor=context.actor(repository),
        progress=context.progress,
    )


def print_commit(context: Context, result: CommitResult) -> None:
    """Say what was recorded."""
    from mlgit.cli.views import change_line
    from mlgit.repository import HEADS

    output = context.output
    branch = "detached HEAD" if result.branch is None else result.branch.removeprefix(HEADS)
    output.line("[", Styled(branch, "ref"), " ", Styled(result.id.short, "id"), "] ", result.commit.subject)
    for change in result.changes:
        output.detail("  ", change_line(change))
    for item in result.skipped:
        output.note("not tracked: ", item.path, " (", item.reason, ")")
