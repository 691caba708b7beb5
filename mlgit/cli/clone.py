"""``mlgit clone``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.training_options import TrainingFlags
from mlgit.errors import InvalidInputError


def clone(
    context: Context,
    source: Annotated[Path, typer.Argument(help="A repository on this machine.", metavar="PATH")],
    directory: Annotated[Path | None, typer.Argument(help="Where to; by default the source's name.")] = None,
    *,
    task: Annotated[str | None, typer.Option("--task", help="With --train: the task to fine-tune on.")] = None,
    train: Annotated[bool, typer.Option("--train", help="Fine-tune on --task and commit, after cloning.")] = False,
    message: Annotated[str | None, typer.Option("-m", "--message", help="Message of that commit.")] = None,
    flags: TrainingFlags,
) -> None:
    """Copy a repository with its history and check out its current branch.

    With --task T --train the copy is fine-tuned on T and the result committed, in one step.
    """
    from mlgit.porcelain.clone import clone as copy

    if train != (task is not None):
        raise InvalidInputError("`--train` and `--task` belong together", hint="give both, or neither", kind="usage")
    if not train:
        flags.refuse_without_training()
    place = context.directory / (directory if directory is not None else (context.directory / source).resolve().name)
    made = copy(context.directory / source, place, user_settings=context.user_settings, progress=context.progress)
    context.output.note("cloned into ", str(made.repository.root), ", on branch ", made.branch)
    if task is None:
        return
    from mlgit.cli.commit import print_commit, train_and_commit

    text = message or f"fine-tune on {task}"
    print_commit(context, train_and_commit(context, made.repository, task, text, flags))
