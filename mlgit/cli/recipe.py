"""``mlgit recipe``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from mlgit.cli.context import Context
from mlgit.cli.options import Json
from mlgit.cli.output import Column, Part, Styled
from mlgit.cli.recipe_figures import figures
from mlgit.cli.recipe_table import table
from mlgit.cli.training_options import Task, TrainingFlags
from mlgit.cli.verb import Group, Verb
from mlgit.errors import InvalidInputError
from mlgit.porcelain.recipe_list import ALL, ListedRecipe, recipes

if TYPE_CHECKING:
    from mlgit.porcelain.recipe import Place, RecipeOptions, RecipeResult
    from mlgit.porcelain.train import TrainOptions


@dataclass(frozen=True, kw_only=True)
class RecipeFlags:
    """The options of all recipes."""

    domain: Annotated[
        str | None,
        typer.Option("--test-domain", help="The domain that results are judged by. Default: the task's own."),
    ] = None
    auxiliaries: Annotated[
        list[str] | None, typer.Option("--aux", help="A task to recycle fine-tunings of; repeatable.", metavar="TASK")
    ] = None
    runs: Annotated[int, typer.Option("--runs", help="Runs on the target task.", metavar="N")] = 20
    auxiliary_runs: Annotated[int, typer.Option("--aux-runs", help="Runs on each auxiliary task.", metavar="N")] = 4
    start: Annotated[
        str, typer.Option("--from", help="The pretrained commit below this one begins everything.", metavar="REV")
    ] = "HEAD"
    name: Annotated[str, typer.Option("--name", help="Of the study; another one has runs of its own.")] = "default"
    hparams: Annotated[
        str,
        typer.Option("--hparams", help="mild, domainbed, domainbed-small, default, or a TOML file.", metavar="SPACE"),
    ] = "mild"
    lmc: Annotated[str, typer.Option("--lmc", help="Paths to measure between averaged runs: off, chord or full.")] = (
        "chord"
    )
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Runs at the same time.", metavar="J")] = 1
    executor: Annotated[str | None, typer.Option("--executor", help="inline, or process. Default: by --jobs.")] = None
    threads: Annotated[int | None, typer.Option("--threads", help="CPU threads of each run.")] = None
    gpus: Annotated[
        str | None, typer.Option("--gpus", help="Accelerators to share out, one for each run: `0,1`.", metavar="LIST")
    ] = None
    retries: Annotated[int, typer.Option("--retries", help="How often a failed run is tried again.")] = 1
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be trained.")] = False
    json: Json = False

    def options(self, training: TrainOptions, collect: list[str] | None) -> RecipeOptions:
        """Return how recipes are made."""
        from mlgit.porcelain.recipe import COLLECTED, RecipeOptions

        return RecipeOptions(
            runs=self.runs,
            domain=self.domain,
            auxiliaries=tuple(self.auxiliaries or ()),
            auxiliary_runs=self.auxiliary_runs,
            start=self.start,
            name=self.name,
            hparams=self.hparams,
            training=replace(training, collect=()),
            collect=COLLECTED if collect is None else tuple(name for name in collect if name != "none"),
            lmc=self.lmc,
        )

    def place(self) -> Place:
        """Return where runs are computed."""
        from mlgit.porcelain.recipe import Place

        gpus = None if self.gpus is None else tuple(part.strip() for part in self.gpus.split(",") if part.strip())
        return Place(executor=self.executor, jobs=self.jobs, threads=self.threads, gpus=gpus, retries=self.retries)


def _make(context: Context, names: list[str], task: str, own: RecipeFlags, flags: TrainingFlags) -> None:
    from mlgit.cli.sweep_view import print_runs, run_json, watching
    from mlgit.porcelain.recipe import recipe as execute

    if (flags.stage, flags.keep, flags.again) != (None, None, False):
        raise InvalidInputError("recipes decide on `--stage`, `--keep` and `--again`", kind="usage")
    repository = context.repository()
    with watching(context, None, quiet=own.dry_run) as tell:
        found = execute(
            repository,
            names,
            task,
            own.options(replace(flags, collect=None).options(), flags.collect),
            place=own.place(),
            dry_run=own.dry_run,
            runtime=flags.runtime(),
            actor=context.actor(repository),
            progress=context.progress,
            tell=tell,
        )
    if own.json:
        outcomes = [each.to_json() for each in found.outcomes]
        target = {"task": found.study.task, "domain": found.study.domain, "name": found.study.name}
        context.output.json({**target, "outcomes": outcomes, "runs": [run_json(each) for each in found.runs]})
    elif own.dry_run:
        print_runs(context.output, found.runs)
    else:
        _print_outcomes(context, found)


def _print_outcomes(context: Context, found: RecipeResult) -> None:
    from mlgit.cli.views import percent

    columns: list[str | Column] = [
        "recipe",
        "selection",
        *(Column(name, right=True) for name in ("runs", "in it", "ID accuracy", found.study.domain)),
        "paths",
        "commit",
        "branch",
    ]
    rows: list[list[Part]] = [
        [
            each.recipe,
            each.selection.value,
            str(each.runs),
            str(sum(share != 0 for share in each.members.values())),
            None if each.id_accuracy is None else percent(each.id_accuracy),
            percent(each.test.value),
            each.connectivity,
            None if each.commit is None else Styled(each.commit.short, "id"),
            None if each.branch is None else Styled(each.branch, "ref"),
        ]
        for each in found.outcomes
    ]
    context.output.table(columns, rows)
    for (name, selection), why in found.skipped.items():
        context.output.note(f"{name}, {selection.value}: no result, because {why}")


def _verb(names: list[str], text: str) -> Verb:
    def make(context: Context, *, task: Task, own: RecipeFlags, flags: TrainingFlags) -> None:
        _make(context, names, task, own, flags)

    make.__doc__ = text
    return make


def _text(recipe: ListedRecipe) -> str:
    return f"""{recipe.summary[0].upper()}{recipe.summary[1:]}.

    {recipe.reference}. Runs that other recipes of the study have made are used again. When it is stopped or killed, the
    same command goes on. The test domain is read at the end, once all is selected.
    """


_ALL_TEXT = """Make all recipes, or those that need no auxiliary task where none is given.

    When it is stopped or killed, the same command goes on. The test domain is read at the end, once all is selected.
    """

recipe = Group(
    "Make the strategies of the paper, from pretrained weights to a result on the test domain",
    {
        "table": table,
        "figures": figures,
        ALL: _verb([ALL], _ALL_TEXT),
        **{each.name: _verb([each.name], _text(each)) for each in recipes()},
    },
)
