"""``mlgit run``."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.training_options import OptionalTask, TrustCode, parse_stage


def run(
    context: Context,
    command: Annotated[list[str], typer.Argument(help="Program and arguments, after `--`.", metavar="-- CMD…")],
    *,
    message: Annotated[str | None, typer.Option("-m", "--message", help="Why; by default `run CMD`.")] = None,
    task: OptionalTask = None,
    start: Annotated[
        str | None, typer.Option("--input", help="Whose weights the program gets. Default: HEAD.", metavar="REV")
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option("--stage", help="Of the commit. Default: as of `train` with --task, snapshot without."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="For the program, as `{seed}` and MLGIT_SEED.")] = None,
    pt: Annotated[bool, typer.Option("--pt", help="Give the weights as `model.pt` for torch.load.")] = False,
    no_diff: Annotated[
        bool, typer.Option("--no-diff", help="Leave the uncommitted difference of the code out of the record.")
    ] = False,
    trust_code: TrustCode = False,
) -> None:
    """Run any program that trains, and commit the weights it leaves.

    It gets a copy of the starting weights, and says nothing to mlgit but by files: `{input}` in CMD is the directory
    with the weights, `{weights}` their file, `{output}` an empty directory for new ones, `{metrics}` the path for a
    JSON file of numbers; MLGIT_INPUT, MLGIT_WEIGHTS and so on say the same. The commit records CMD, the git commit of
    its code and what differs from it, packages, metrics and duration. A program that fails commits nothing.
    """
    from mlgit.cli.commit import print_commit
    from mlgit.cli.training_options import runtime
    from mlgit.porcelain.run import RunOptions
    from mlgit.porcelain.run import run as execute

    repository = context.repository()
    outcome = execute(
        repository,
        command,
        message,
        options=RunOptions(
            task=task, start=start, stage=parse_stage(stage), seed=seed, as_pt=pt, with_diff=not no_diff
        ),
        directory=context.directory,
        environment=os.environ,  # not read here: the program gets it
        relay=_print,
        runtime=runtime("auto", trust_code),
        actor=context.actor(repository),
        progress=context.progress,
    )
    if outcome.changed_form:
        said = ", ".join(f"{number} {what}" for what, number in outcome.changed_form.items())
        context.output.note("the tensors are not those of the input: ", said)
    print_commit(context, outcome.commit)


def _print(data: bytes, is_error: bool) -> None:
    """Pass on what the program prints as it is: it is the user's own, on the user's own terminal."""
    stream = sys.stderr if is_error else sys.stdout
    stream.flush()
    stream.buffer.write(data)
    stream.buffer.flush()
