"""``mlgit merge``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.evaluate import Revisions
from mlgit.cli.options import DryRun, Force
from mlgit.cli.output import Output, Styled
from mlgit.cli.training_options import Device, OptionalTask, Trial, TrustCode, runtime
from mlgit.errors import InvalidInputError

if TYPE_CHECKING:
    from mlgit.porcelain.merge import MergeResult

Tolerance = Annotated[
    float | None,
    typer.Option("--tolerance", help="Accepted drop of accuracy, 0 to 1. Default: a paired test decides."),
]


def merge(
    context: Context,
    revisions: Revisions,
    *,
    message: Annotated[str, typer.Option("-m", "--message", help="Why; the first line is the subject.")] = "",
    strategy: Annotated[str, typer.Option("--strategy", help="uniform, greedy, fusing or wise.")] = "uniform",
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
    pretrained: Annotated[
        str | None,
        typer.Option("--pretrained", help="Of `wise`: which of the two is the pretrained end.", metavar="REV"),
    ] = None,
    onto: Annotated[
        str | None,
        typer.Option(
            "--onto", help="Commit onto this new branch; leave HEAD and the working directory alone.", metavar="BRANCH"
        ),
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="With --onto: the commit the branch goes on from.", metavar="REV")
    ] = None,
    force: Force = False,
    dry_run: DryRun = False,
    trial: Trial = 0,
    device: Device = "auto",
    trust_code: TrustCode = False,
) -> None:
    """Average models and advance the current branch to the result.

    `uniform` is the plain mean. `greedy` takes models by falling ID validation accuracy and keeps each that does not
    lower that of the mean. `fusing` draws a random average of featurizers to start a training from. `wise` takes the
    point between a fine-tuned model and its pretrained one with the best ID validation accuracy, or the one that
    `--set share=L` names: L is the share of the pretrained model.

    With a task, the straight path between every two members is measured first. A violated path is a conflict: exit
    code 1, the pair is named, and nothing is written; --force merges all the same, and the record says so.

    With --onto the merge is committed straight onto a new branch, which begins with it unless --from is given; many
    processes may do this at once.
    """
    from mlgit.cli.task import parse_values
    from mlgit.porcelain.merge import MergeOptions, criterion
    from mlgit.porcelain.merge import merge as combine
    from mlgit.porcelain.merge_onto import merge_onto

    if start is not None and onto is None:
        raise InvalidInputError("`--from` belongs to `--onto`", kind="usage", hint="a merge goes on from HEAD")
    repository = context.repository()
    parameters = parse_values(values or []) | {
        key: value for key, value in (("seed", seed), ("pretrained", pretrained)) if value is not None
    }
    text = message or ("dry run" if dry_run else "")
    options = MergeOptions(
        strategy=strategy,
        parameters=parameters,
        statistics=statistics,
        lmc=lmc,
        criterion=criterion(tolerance),
        force=force,
        trial=trial,
    )
    run = combine if onto is None else partial(merge_onto, branch=onto, start=start)
    found = run(
        repository,
        revisions,
        message=text,
        task=task,
        options=options,
        dry_run=dry_run,
        runtime=runtime(device, trust_code),
        actor=context.actor(repository),
        progress=context.progress,
    )
    _print(context.output, found, onto)


def _print(output: Output, found: MergeResult, branch: str | None) -> None:
    from mlgit.cli.views import percent

    for note in found.notes:
        output.warn(note)
    if found.id is None or found.commit is None:
        output.note("the models fit together; nothing was written")
        return
    place = () if branch is None else (Styled(branch, "ref"), " ")
    output.line("[", *place, Styled(found.id.short, "id"), "] ", found.commit.subject)
    for member, coefficient in found.members.items():
        output.line("  ", Styled(member.short, "id"), f" {coefficient:.4g}" if coefficient else " left out")
    count = len(found.curves)
    checked = f", {count} path{'s' if count > 1 else ''}" if count else ""
    output.line("linear mode connectivity: ", found.verdict, checked)
    if "id_accuracy" in found.commit.metrics:
        output.line("ID validation accuracy: ", percent(found.commit.metrics["id_accuracy"]))
