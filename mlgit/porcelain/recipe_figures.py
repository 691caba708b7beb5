"""``mlgit recipe figures``: what the paper draws, from the runs of a study.

Figures are reports: they read the test domain. Nothing is chosen by what they show, and no run of theirs is kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlgit.errors import InvalidInputError, did_you_mean
from mlgit.fileio import file_system_error, write_file
from mlgit.objects import JsonValue
from mlgit.porcelain.figure_averages import Steps, diversity_figure, runs_figure, steps_figure
from mlgit.porcelain.figure_curves import auxiliary_curves, target_curves
from mlgit.porcelain.figure_inputs import FigureInputs, figure_inputs
from mlgit.porcelain.figure_laboratory import Laboratory
from mlgit.porcelain.open_model import DEFAULT_RUNTIME, Runtime, open_named_task
from mlgit.porcelain.recipe_table import find_studies
from mlgit.progress import Progress
from mlgit.recipes.figure import Figure
from mlgit.recipes.figure_inputs import by_auxiliaries, by_share, distinct
from mlgit.recipes.results import Study
from mlgit.repository import Repository

NAMES = ("lmc-auxiliary", "lmc-target", "diversity-gain", "runs", "auxiliaries", "mu")
"""All figures, in the order of the paper."""
FORMATS = ("svg", "png")
NUMBERS = "figures.json"
"""The file beside the figures that holds every number of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeFigures:
    """Figures that were drawn.

    Attributes:
        study: Of which study.
        trial: Number of the data split.
        folder: Where they lie.
        files: Name of the figure -> its file.
        figures: What they show.
        skipped: Name of the figure -> why it was not drawn.
        computed: How many sets of weights were evaluated and not remembered.
    """

    study: Study
    trial: int
    folder: Path
    files: Mapping[str, Path]
    figures: tuple[Figure, ...]
    skipped: Mapping[str, str]
    computed: int

    def to_json(self) -> dict[str, JsonValue]:
        """Return every number as JSON; files by their names in the folder."""
        figures: list[JsonValue] = [{**each.to_json(), "file": self.files[each.name].name} for each in self.figures]
        return {
            "task": self.study.task,
            "domain": self.study.domain,
            "name": self.study.name,
            "trial": self.trial,
            "figures": figures,
            "skipped": dict(self.skipped),
        }


def recipe_figures(
    repository: Repository,
    *,
    task: str,
    folder: Path,
    name: str | None = None,
    image_format: str = "svg",
    trial: int = 0,
    most_paths: int = 3,
    only: Sequence[str] = (),
    runtime: Runtime = DEFAULT_RUNTIME,
    progress: Progress | None = None,
) -> RecipeFigures:
    """Draw the figures of a study, with every number in ``figures.json`` beside them.

    Evaluations are remembered: where no run was added, a second call computes nothing.

    Args:
        repository: Where.
        task: ``NAME@DOMAIN``, or ``NAME`` where there are results for one test domain only.
        folder: Where files are written, made when it is missing; files of the same names are replaced.
        name: Of the study; may be left out where there is only one.
        image_format: ``svg`` or ``png``.
        trial: Number of the data split whose runs are shown.
        most_paths: How many paths the figures on connectivity show at most.
        only: Names of figures; none means all.
        runtime: Device and trust.
        progress: Is told of what is measured.

    Raises:
        NotFoundError: No recipe has come to anything here, or the task is gone.
        InvalidInputError: Several studies, no such figure or format, or models that cannot be run on the task.
        FileSystemError: Files cannot be written.
    """
    _check(only, image_format, most_paths)
    study = _find_study(repository, task, name)
    opened = open_named_task(repository, study.target, runtime, progress)
    inputs = figure_inputs(repository, study, opened, trial)
    laboratory = Laboratory(repository, opened, inputs.like, trial=trial, runtime=runtime, progress=progress)
    _make_folder(folder)  # now, so that what is measured is not lost for want of a place
    makers = _makers(laboratory, inputs, most_paths)
    made = {each: makers[each]() for each in NAMES if not only or each in only}
    figures = tuple(each for each in made.values() if isinstance(each, Figure))
    found = RecipeFigures(
        study=study,
        trial=trial,
        folder=folder,
        files={figure.name: folder / f"{figure.name}.{image_format}" for figure in figures},
        figures=figures,
        skipped={name: each for name, each in made.items() if isinstance(each, str)},
        computed=laboratory.computed,
    )
    _write(found)
    return found


def _check(only: Sequence[str], image_format: str, most_paths: int) -> None:
    unknown = sorted(set(only) - set(NAMES))
    if unknown:
        raise InvalidInputError(
            f"no figure is named '{unknown[0]}'", kind="unknown-figure", hint=did_you_mean(unknown[0], NAMES)
        )
    if image_format not in FORMATS:
        raise InvalidInputError(
            f"no format is named '{image_format}'", kind="bad-plot-format", hint="use " + " or ".join(FORMATS)
        )
    if most_paths < 1:
        raise InvalidInputError(f"{most_paths} paths are none", kind="bad-parameter", hint="give 1 or more")


def _find_study(repository: Repository, task: str, name: str | None) -> Study:
    found = find_studies(repository, task=task, name=name)
    if len(found) > 1:
        raise InvalidInputError(
            f"there are results of {len(found)} studies, and figures show one",
            kind="several-studies",
            hint="name one of: " + ", ".join(f"`--task {each.target} --name {each.name}`" for each in found[:10]),
        )
    return found[0]


def _makers(laboratory: Laboratory, inputs: FigureInputs, most: int) -> Mapping[str, Callable[[], Figure | str]]:
    """Return what makes each figure, or says why it cannot be made."""
    plain, inter = inputs.plain, inputs.inter

    def lmc_auxiliary() -> Figure | str:
        if not inputs.auxiliaries:
            return "there are no runs on auxiliary tasks"
        if inputs.probe is None:
            return "there is no linear probe of this data split"
        return auxiliary_curves(laboratory, inputs.auxiliaries, inputs.probe, most)

    def lmc_target() -> Figure | str:
        if len({run.start for run in inter}) < 2:
            return "there are no two runs that began at different auxiliary tasks"
        return target_curves(laboratory, inter, most)

    def diversity_gain() -> Figure | str:
        runs = distinct((*plain, *inter))
        return diversity_figure(laboratory, runs) if len(runs) > 1 else "there are no two runs"

    def runs() -> Figure | str:
        families = {name: each for name, each in {"soup": plain, "ratatouille": inter}.items() if each}
        return runs_figure(laboratory, families) if families else "there are no runs"

    def auxiliaries() -> Figure | str:
        steps = by_auxiliaries(plain, inter)
        title = "The same number of runs with featurizers of more auxiliary tasks"
        return _steps(laboratory, "auxiliaries", title, "number of auxiliary tasks", steps)

    def mu() -> Figure | str:
        title = "The same number of runs with more that began at auxiliary tasks"
        return _steps(
            laboratory, "mu", title, "μ, share of runs that began at an auxiliary task", by_share(plain, inter)
        )

    made = (lmc_auxiliary, lmc_target, diversity_gain, runs, auxiliaries, mu)
    return dict(zip(NAMES, made, strict=True))


def _steps(laboratory: Laboratory, name: str, title: str, x_label: str, steps: Steps) -> Figure | str:
    if not steps:
        return "there are not both: runs that began at an auxiliary task, and runs that did not"
    return steps_figure(laboratory, name, f"{title} (M = {len(steps[0][1])})", x_label, steps)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise file_system_error(error, "write", folder) from error


def _write(found: RecipeFigures) -> None:
    """Write the numbers, then the pictures, so that what was measured is not lost with what cannot be drawn."""
    from mlgit.recipes.figures import draw  # noqa: PLC0415 - matplotlib takes half a second that only this needs

    document = json.dumps(found.to_json(), indent=1, allow_nan=False)
    write_file(found.folder / NUMBERS, document.encode("ascii") + b"\n", durable=False)
    for figure in found.figures:
        draw(figure, found.files[figure.name])
