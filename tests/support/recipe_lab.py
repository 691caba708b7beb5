"""A small repository in which recipes can be made in seconds, and what was read of its data."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import watched_task

from mlgit.objects import CommitId
from mlgit.porcelain.import_ import import_model
from mlgit.porcelain.init import init
from mlgit.porcelain.open_model import Runtime
from mlgit.porcelain.recipe import RecipeOptions, RecipeResult, TrainOptions, recipe
from mlgit.porcelain.task import add_task
from mlgit.repository import Repository
from mlgit.training.hyper import HyperParameters
from mlgit.training.method import Method

TRUSTED = Runtime(device="cpu", trust_code=True)
TASK, TEST = "shapes", "c"
HYPER = HyperParameters(steps=6, eval_every=2, freeze_steps=1)
PROBE = HyperParameters(lr=1e-2, steps=6, eval_every=3, batch_per_domain=8)
TRAINING = TrainOptions(
    hyper=HYPER, probe_hyper=PROBE, given={"batch_per_domain": 4}, method=Method(average_from=2, swad_converge=1)
)
OPTIONS = RecipeOptions(
    runs=3, auxiliaries=("dots", "lines"), auxiliary_runs=2, hparams="domainbed-small", training=TRAINING
)
"""Learning rates from 3e-5 to 3e-3; runs 0, 1 and 2 begin at the pretrained featurizer and one of each task."""


def build(root: Path) -> Repository:
    """Make the repository: an untrained network on main, a target and two auxiliary tasks."""
    repository = init(root).repository
    shutil.copy(watched_task.__file__, root / "watched_task.py")
    kind = "python:watched_task:make"
    add_task(repository, TASK, kind=kind, test_domain=TEST, runtime=TRUSTED)
    for seed, name in enumerate(("dots", "lines"), 1):
        options = {"called": name, "seed": seed, "names": ["a", "b"], "size": 20}
        add_task(repository, name, kind=kind, options=options, runtime=TRUSTED)
    import_model(repository, "mlgit:digits-cnn", "untrained")
    return repository


def go(repository: Repository, *names: str, **values: object) -> RecipeResult:
    """Make recipes; fields of ``RecipeOptions`` and arguments of ``recipe`` may be given by name."""
    fields = RecipeOptions.__dataclass_fields__
    options = replace(OPTIONS, **{key: value for key, value in values.items() if key in fields})  # type: ignore[arg-type]
    others = {key: value for key, value in values.items() if key not in fields}
    return recipe(repository, names, str(others.pop("task", TASK)), options, runtime=TRUSTED, **others)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Read:
    """One line of what was read."""

    task: str
    domain: str
    what: str
    by: str
    refs: str


def reads(root: Path) -> list[Read]:
    """Return what was read of the data, and forget it."""
    path = root / ".mlgit/reads.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return [Read(**json.loads(line)) for line in lines]


def trained(repository: Repository) -> dict[str, CommitId]:
    """Return branches whose commit a run left, averages along it left out."""
    return {
        name: commit_id
        for name, commit_id in repository.branches().items()
        for made in [repository.commit_of(commit_id).made]
        if made.get("command") == "train" and "collected" not in made and "-best" not in name
    }
