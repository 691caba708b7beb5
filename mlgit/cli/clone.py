"""``mlgit clone``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.training_options import (
    BatchSize,
    Device,
    Dropout,
    EvalEvery,
    FreezeSteps,
    LearningRate,
    Seed,
    StageOption,
    Steps,
    Trial,
    TrustCode,
    WeightDecay,
    runtime,
    train_options,
)
from mlgit.errors import InvalidInputError


def clone(
    context: Context,
    source: Annotated[Path, typer.Argument(help="A repository on this machine.", metavar="PATH")],
    directory: Annotated[Path | None, typer.Argument(help="Where to; by default the source's name.")] = None,
    *,
    task: Annotated[str | None, typer.Option("--task", help="With --train: the task to fine-tune on.")] = None,
    train: Annotated[bool, typer.Option("--train", help="Fine-tune on --task and commit, after cloning.")] = False,
    message: Annotated[str | None, typer.Option("-m", "--message", help="Message of that commit.")] = None,
    lr: LearningRate = None,
    steps: Steps = None,
    batch_size: BatchSize = None,
    dropout: Dropout = None,
    weight_decay: WeightDecay = None,
    eval_every: EvalEvery = None,
    freeze_steps: FreezeSteps = None,
    seed: Seed = 0,
    trial: Trial = 0,
    stage: StageOption = None,
    device: Device = "auto",
    trust_code: TrustCode = False,
) -> None:
    """Copy a repository with its history and check out its current branch.

    With --task T --train the copy is fine-tuned on T and the result committed, in one step.
    """
    from mlgit.porcelain.clone import clone as copy

    if train != (task is not None):
        raise InvalidInputError("`--train` and `--task` belong together", hint="give both, or neither", kind="usage")
    place = context.directory / (directory if directory is not None else (context.directory / source).resolve().name)
    made = copy(context.directory / source, place, user_settings=context.user_settings, progress=context.progress)
    context.output.note("cloned into ", str(made.repository.root), ", on branch ", made.branch)
    if task is None:
        return
    from mlgit.cli.commit import print_commit, train_and_commit

    options = train_options(
        context,
        lr=lr,
        steps=steps,
        batch_size=batch_size,
        dropout=dropout,
        weight_decay=weight_decay,
        eval_every=eval_every,
        freeze_steps=freeze_steps,
        seed=seed,
        trial=trial,
        stage=stage,
    )
    result = train_and_commit(
        context, made.repository, task, message or f"fine-tune on {task}", options, runtime(device, trust_code)
    )
    print_commit(context, result)
