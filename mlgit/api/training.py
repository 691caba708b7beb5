"""Verbs that train: tasks, probes, runs, sweeps and recipes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlgit import repository as core
from mlgit.api.runtime import runtime_or_default
from mlgit.objects import JsonValue
from mlgit.progress import Progress

if TYPE_CHECKING:  # imported by the methods that need them: who only reads history should not wait for torch
    from mlgit.porcelain.open_model import Runtime
    from mlgit.porcelain.probe import ProbeResult
    from mlgit.porcelain.recipe import RecipeOptions, RecipeResult
    from mlgit.porcelain.recipe_figures import RecipeFigures
    from mlgit.porcelain.recipe_table import RecipeTable
    from mlgit.porcelain.run import RunOptions, RunOutcome
    from mlgit.porcelain.sweep import Place, SweepOptions, SweepResult
    from mlgit.porcelain.task import TaskSummary
    from mlgit.porcelain.train import TrainOptions, TrainResult


class TrainingVerbs(core.Repository):
    """Verbs that train: tasks, probes, runs, sweeps and recipes."""

    def add_task(
        self,
        name: str,
        *,
        kind: str | None = None,
        preset: str | None = None,
        data: Path | str | None = None,
        test_domain: str | None = None,
        options: Mapping[str, JsonValue] | None = None,
        runtime: Runtime | None = None,
    ) -> TaskSummary:
        """Define a task; see ``mlgit.porcelain.task``."""
        from mlgit.porcelain.task import add_task  # noqa: PLC0415 - imports torch

        return add_task(
            self,
            name,
            kind=kind,
            preset=preset,
            data=None if data is None else Path(data),
            test_domain=test_domain,
            options=options,
            runtime=runtime_or_default(runtime),
        )

    def probe(self, task: str, *, start: str = "HEAD", trial: int = 0, runtime: Runtime | None = None) -> ProbeResult:
        """Train, or find, the linear probe of a task; see ``mlgit.porcelain.probe``."""
        from mlgit.porcelain.probe import probe  # noqa: PLC0415 - imports torch

        return probe(self, task, start=start, trial=trial, runtime=runtime_or_default(runtime))

    def train(
        self,
        task: str,
        *,
        start: str = "HEAD",
        options: TrainOptions | None = None,
        runtime: Runtime | None = None,
        progress: Progress | None = None,
    ) -> TrainResult:
        """Fine-tune on a task and leave the weights in the working directory; see ``mlgit.porcelain.train``."""
        from mlgit.porcelain.train import train  # noqa: PLC0415 - imports torch

        return train(self, task, start=start, options=options, runtime=runtime_or_default(runtime), progress=progress)

    def sweep(
        self,
        task: str,
        *revisions: str,
        options: SweepOptions,
        place: Place | None = None,
        dry_run: bool = False,
        runtime: Runtime | None = None,
        progress: Progress | None = None,
    ) -> SweepResult:
        """Make many runs on a task, each a commit on a branch of its own; see ``mlgit.porcelain.sweep``."""
        from mlgit.porcelain.sweep import sweep  # noqa: PLC0415 - imports torch

        return sweep(
            self,
            task,
            revisions or ("HEAD",),
            options,
            place=place,
            dry_run=dry_run,
            runtime=runtime_or_default(runtime),
            progress=progress,
        )

    def recipe(
        self,
        *names: str,
        task: str,
        options: RecipeOptions,
        place: Place | None = None,
        dry_run: bool = False,
        runtime: Runtime | None = None,
        progress: Progress | None = None,
    ) -> RecipeResult:
        """Make strategies of the paper by name; see ``mlgit.porcelain.recipe``."""
        from mlgit.porcelain.recipe import recipe  # noqa: PLC0415 - imports torch

        return recipe(
            self,
            names,
            task,
            options,
            place=place,
            dry_run=dry_run,
            runtime=runtime_or_default(runtime),
            progress=progress,
        )

    def recipe_table(self, *, task: str | None = None, name: str | None = None, runs: int | None = None) -> RecipeTable:
        """Return what recipes came to, side by side; see ``mlgit.porcelain.recipe_table``."""
        from mlgit.porcelain.recipe_table import recipe_table  # noqa: PLC0415 - few want it

        return recipe_table(self, task=task, name=name, runs=runs)

    def recipe_figures(
        self,
        folder: Path,
        *,
        task: str,
        name: str | None = None,
        image_format: str = "svg",
        trial: int = 0,
        most_paths: int = 3,
        only: Sequence[str] = (),
        runtime: Runtime | None = None,
        progress: Progress | None = None,
    ) -> RecipeFigures:
        """Draw the figures of the paper from runs that are there; see ``mlgit.porcelain.recipe_figures``."""
        from mlgit.porcelain.recipe_figures import recipe_figures  # noqa: PLC0415 - imports torch

        return recipe_figures(
            self,
            task=task,
            folder=folder,
            name=name,
            image_format=image_format,
            trial=trial,
            most_paths=most_paths,
            only=only,
            runtime=runtime_or_default(runtime),
            progress=progress,
        )

    def run(
        self,
        command: Sequence[str],
        message: str | None = None,
        *,
        options: RunOptions | None = None,
        environment: Mapping[str, str] | None = None,
        runtime: Runtime | None = None,
    ) -> RunOutcome:
        """Let any program train and commit the weights it leaves; see ``mlgit.porcelain.run``.

        What it prints goes to its log only. ``environment`` is all that it gets beside ``MLGIT_*``: most programs want
        ``os.environ``.
        """
        from mlgit.porcelain.run import run  # noqa: PLC0415 - imports torch

        return run(
            self, command, message, options=options, environment=environment, runtime=runtime_or_default(runtime)
        )
