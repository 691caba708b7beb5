"""``mlgit lmc``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.merge import Tolerance
from mlgit.cli.options import Json
from mlgit.cli.output import Output, Styled
from mlgit.cli.style import Column
from mlgit.cli.training_options import Device, Task, Trial, TrustCode, runtime

if TYPE_CHECKING:
    from mlgit.merging.curve import Curve


def lmc(
    context: Context,
    first: Annotated[str, typer.Argument(help="One end.", metavar="A")],
    second: Annotated[str, typer.Argument(help="The other end.", metavar="B")],
    third: Annotated[
        str | None, typer.Argument(help="Then the path leads from the mean of A and B to C.", metavar="[C]")
    ] = None,
    *,
    task: Task,
    grid: Annotated[str, typer.Option("--grid", help="full (eleven points) or chord (the midpoint).")] = "full",
    definition: Annotated[
        str, typer.Option("--definition", help="ratatouille, frankle-mean or frankle-worst.")
    ] = "ratatouille",
    tolerance: Tolerance = None,
    featurizers: Annotated[
        bool, typer.Option("--featurizers", help="Give all models the task's linear probe as classifier.")
    ] = False,
    split: Annotated[
        str,
        typer.Option("--split", help="validation (of the training domains), or test (the test domain): for reports."),
    ] = "validation",
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw the curve: a .png or .svg file.", metavar="FILE")
    ] = None,
    trial: Trial = 0,
    device: Device = "auto",
    trust_code: TrustCode = False,
    json: Json = False,
) -> None:
    """Measure the accuracy on the straight path between two models.

    gap(λ) = acc((1-λ)A + λB) - [(1-λ) acc(A) + λ acc(B)], on the ID validation split. The path holds when the gap is
    nowhere below minus the tolerance; without a tolerance a paired test on the examples decides. With --split test the
    curve is that of the test domain, which reports may show and nothing may be selected by.
    """
    from mlgit.porcelain.lmc import lmc as measure
    from mlgit.porcelain.lmc import plot as draw
    from mlgit.porcelain.merge import criterion

    repository, output = context.repository(), context.output
    curve = measure(
        repository,
        [first, second, *([] if third is None else [third])],
        task=task,
        grid=grid,
        criterion=criterion(tolerance, definition),
        featurizers_only=featurizers,
        split=split,
        trial=trial,
        runtime=runtime(device, trust_code),
        actor=context.actor(repository),
    )
    if json:
        output.json({"task": task, "split": split, "curve": curve.to_json()})
    else:
        _print(output, curve)
    if plot is not None:  # last, so that what was measured is not lost with a picture that cannot be drawn
        draw(curve, context.directory / plot)
        output.note("drew ", str(plot))


def _print(output: Output, curve: Curve) -> None:
    from mlgit.cli.views import percent

    columns: list[str | Column] = [
        Column(title, right=True) for title in ("λ", "accuracy", "chord", "gap", "std. error")
    ]
    output.table(
        columns,
        [
            [
                f"{point.lam:g}",
                percent(point.accuracy),
                percent(point.chord),
                f"{point.gap:+.4f}",
                None if point.standard_error is None else f"{point.standard_error:.4f}",
            ]
            for point in curve.points
        ],
    )
    verdict = curve.verdict.value
    output.line("verdict: ", Styled(verdict, "bad" if verdict == "violated" else "good"), ", ", curve.describe_worst())
    if curve.split == "test":
        output.line("measured on the test domain: this is for reports, nothing may be selected by it")
