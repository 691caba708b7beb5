"""``mlgit sweep``."""

from __future__ import annotations

from typing import Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.options import Json
from mlgit.cli.training_options import Task, TrainingFlags

Starts = Annotated[
    list[str] | None,
    typer.Option("--from", help="Where runs start: a revision, or a glob of branches; repeatable.", metavar="REV"),
]
Executor = Annotated[str | None, typer.Option("--executor", help="inline, or process. Default: by --jobs.")]
Gpus = Annotated[
    str | None, typer.Option("--gpus", help="Accelerators to share out, one for each run: `0,1`.", metavar="LIST")
]


def sweep(
    context: Context,
    *,
    task: Task,
    start: Starts = None,
    runs: Annotated[int, typer.Option("--runs", help="How many runs.", metavar="N")] = 20,
    hparams: Annotated[
        str,
        typer.Option("--hparams", help="mild, domainbed, domainbed-small, default, or a TOML file.", metavar="SPACE"),
    ] = "mild",
    name: Annotated[str, typer.Option("--name", help="Of the sweep: run 3 becomes branch `TASK/NAME-3`.")] = "sweep",
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Runs at the same time.", metavar="J")] = 1,
    executor: Executor = None,
    threads: Annotated[int | None, typer.Option("--threads", help="CPU threads of each run.")] = None,
    gpus: Gpus = None,
    retries: Annotated[int, typer.Option("--retries", help="How often a failed run is tried again.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be trained.")] = False,
    json: Json = False,
    flags: TrainingFlags,
) -> None:
    """Make many runs on a task, each a commit on a branch of its own.

    Hyper-parameters are drawn by the number of the run; run 0 has the defaults. The pretrained commit and the auxiliary
    tasks among the --from commits take turns as starts. When it is stopped or killed, the same command goes on with
    what is not finished; with more --runs it adds to what there is. The working directory is not touched.
    """
    from mlgit.cli.sweep_view import print_runs, run_json, watching
    from mlgit.porcelain.sweep import Place, SweepOptions
    from mlgit.porcelain.sweep import sweep as execute

    repository, output = context.repository(), context.output
    place = Place(executor=executor, jobs=jobs, threads=threads, gpus=_list(gpus), retries=retries)
    with watching(context, runs, quiet=dry_run) as tell:
        found = execute(
            repository,
            task,
            start or ["HEAD"],
            SweepOptions(runs=runs, name=name, hparams=hparams, training=flags.options()),
            place=place,
            dry_run=dry_run,
            runtime=flags.runtime(),
            actor=context.actor(repository),
            progress=context.progress,
            tell=tell,
        )
    if found.moved:
        output.warn("a revision of `--from` leads elsewhere by now; the sweep goes on with the commits it began with")
    if json:
        output.json({"task": found.task, "name": found.name, "runs": [run_json(each) for each in found.runs]})
    else:
        print_runs(output, found.runs)
    found.raise_failed()


def _list(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())
