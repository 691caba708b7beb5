"""``mlgit recipe figures``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.options import Json
from mlgit.cli.output import Styled
from mlgit.cli.training_options import Device, Trial, TrustCode, runtime


def figures(
    context: Context,
    *,
    task: Annotated[str, typer.Option("--task", "-t", help="NAME@DOMAIN, or NAME where one test domain has results.")],
    study: Annotated[str | None, typer.Option("--name", help="The study, where there are several.")] = None,
    out: Annotated[Path, typer.Option("--out", help="Where files are written.", metavar="DIR")] = Path(
        "recipe-figures"
    ),
    image_format: Annotated[str, typer.Option("--format", help="svg or png.")] = "svg",
    trial: Trial = 0,
    pairs: Annotated[
        int, typer.Option("--pairs", help="How many paths the figures on connectivity show at most.", metavar="N")
    ] = 3,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            help="A figure: lmc-auxiliary, lmc-target, diversity-gain, runs, auxiliaries or mu; may be repeated. "
            "Default: all.",
            metavar="NAME",
        ),
    ] = None,
    device: Device = "auto",
    trust_code: TrustCode = False,
    json: Json = False,
) -> None:
    """Draw what the paper draws, from runs that are there.

    Connectivity between auxiliary featurizers and between runs on the target, diversity against the gain of averaging,
    and accuracy by number of runs, by number of auxiliary tasks and by share of recycled runs. Every number also goes
    into figures.json. Figures read the test domain: they report, and nothing is selected by them.
    """
    from mlgit.porcelain.recipe_figures import NUMBERS, recipe_figures

    found = recipe_figures(
        context.repository(),
        task=task,
        folder=context.directory / out,
        name=study,
        image_format=image_format,
        trial=trial,
        most_paths=pairs,
        only=only or (),
        runtime=runtime(device, trust_code),
        progress=context.progress,
    )
    output = context.output
    if json:
        output.json({"folder": str(out), **found.to_json()})
        return
    for figure in found.figures:
        output.line(Styled(str(out / found.files[figure.name].name), "ref"), f"  {figure.title}")
    for name, reason in found.skipped.items():
        output.note(f"no {name}: {reason}")
    output.note("every number is in ", str(out / NUMBERS))
