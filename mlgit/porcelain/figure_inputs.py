"""What a study has to show in figures, found without training anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlgit.errors import NotFoundError
from mlgit.objects import CommitId
from mlgit.porcelain.probe import pretrained_commit, probe_ref
from mlgit.recipes.figure_inputs import runs_of
from mlgit.recipes.results import Auxiliary, Run, Study
from mlgit.repository import Repository
from mlgit.tasks.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureInputs:
    """What figures are made of.

    Attributes:
        plain: Runs from the pretrained featurizer.
        inter: Runs from auxiliary ones.
        auxiliaries: Runs on auxiliary tasks.
        probe: The target's linear probe, if there is one.
        like: A commit with the architecture of all.
    """

    plain: tuple[Run, ...]
    inter: tuple[Run, ...]
    auxiliaries: tuple[Auxiliary, ...]
    probe: CommitId | None
    like: CommitId


def figure_inputs(repository: Repository, study: Study, task: Task, trial: int) -> FigureInputs:
    """Return what figures of a study are made of.

    Args:
        repository: Where.
        study: The study.
        task: Its target.
        trial: Number of the data split.

    Raises:
        NotFoundError: There is nothing on this data split.
    """
    plain, inter = (runs_of(study, family, trial) for family in ("plain", "inter"))
    found = [run.commit for run in (*plain, *inter)]
    probe = _find_probe(repository, study, task, trial, found)
    like = next(iter(found), probe)
    if like is None:
        known = sorted({each.trial for each in study.outcomes if each.trial is not None})
        raise NotFoundError(
            f"no recipe has come to a result on data split {trial} of '{study.target}'",
            kind="no-recipe-results",
            hint="there are results on data split " + ", ".join(map(str, known)) if known else None,
        )
    return FigureInputs(plain=plain, inter=inter, auxiliaries=study.auxiliaries, probe=probe, like=like)


def _find_probe(
    repository: Repository, study: Study, task: Task, trial: int, runs: Sequence[CommitId]
) -> CommitId | None:
    """Return the linear probe that runs began with, or None; nothing is trained."""
    probes = (each.commit for each in study.outcomes if each.recipe == "probe" and each.trial == trial)
    known = next((commit_id for commit_id in probes if commit_id is not None), None)
    if known is not None or not runs:
        return known
    found = repository.refs.read(probe_ref(task, pretrained_commit(repository, runs[0]), trial))
    return None if found is None else CommitId(found)
