"""The plan of a sweep against the published one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mlgit.cli.training_options import TrainingFlags
from mlgit.errors import InvalidInputError, NotFoundError
from mlgit.objects import Commit, CommitId, Parent, Role, Stage, TaskRef, Timestamp
from mlgit.porcelain.open_model import Runtime, open_named_task
from mlgit.porcelain.sweep import sweep
from mlgit.porcelain.sweep_plan import SweepOptions, training_arguments
from mlgit.porcelain.task import add_task
from mlgit.porcelain.train import Execution, Method, SaveEvery, TrainOptions
from mlgit.repository import HEADS, Repository
from mlgit.training.hyper import HyperParameters

GOLDEN = json.loads((Path(__file__).parents[1] / "training" / "golden.json").read_text())
AUXILIARIES = ["DomainNet_notest", "OfficeHome_notest", "TerraIncognita_notest", "VLCS_notest"]


def grow(repository: Repository, branch: str, task: str, parent: str = "main", stage: Stage = Stage.AUXILIARY) -> str:
    """Add a branch with a commit that says it was trained on a task; return its name."""
    start = repository.resolve(parent)
    who, when = repository.identity, Timestamp(1_700_000_000, 0)
    with repository.transaction() as transaction:
        commit_id = transaction.put_record(
            Commit(
                manifest=repository.commit_of(start).manifest,
                parents=(Parent(start, Role.INIT),),
                stage=stage,
                task=TaskRef(task, "d" * 64),
                author=who,
                time=when,
                message=branch,
            )
        )
    repository.refs.update(HEADS + branch, commit_id, expected=None, who=who, when=when, reason="test")
    return branch


@pytest.fixture
def repo(day: Path) -> Repository:
    found = Repository(day)
    add_task(found, "PACS", kind="digits", test_domain="blur", options={"labels": "digit"})
    return found


def planned(repository: Repository, revisions: list[str], runs: int = 20, **values: object) -> list:
    options = SweepOptions(runs=runs, training=TrainOptions(**values))  # type: ignore[arg-type]
    return [state.run for state in sweep(repository, "PACS", revisions, options, dry_run=True).runs]


def test_runs_start_where_the_published_ones_do(repo: Repository) -> None:
    branches = [grow(repo, f"aux/{task}-{number}", task) for task in reversed(AUXILIARIES) for number in range(4)]
    runs = planned(repo, ["aux/DomainNet*", *branches, "main"])
    for run, (name, sub_run) in zip(runs, GOLDEN["aux_for_PACS"], strict=True):
        revision = "main" if name == "imagenet" else f"aux/{name}-{sub_run}"
        assert run.start == repo.resolve(revision), run.number
        assert (run.initialisation.auxiliary or "imagenet", run.initialisation.sub_run) == (name, sub_run)


@pytest.mark.parametrize("trial", [0, 1, 2])
def test_runs_have_the_published_hyper_parameters(repo: Repository, trial: int) -> None:
    runs = planned(repo, ["main"], trial=trial)
    for run, golden in zip(runs, GOLDEN["hparams"][str(trial)], strict=True):
        found = {"resnet_dropout": run.hyper.dropout, "lr": run.hyper.lr, "weight_decay": run.hyper.weight_decay}
        assert found == golden


def test_runs_have_the_published_seeds(repo: Repository) -> None:
    golden = GOLDEN["run_seed_example"]["seed_hash('PACS','ERM',[0],1,0)"]
    assert open_named_task(repo, "PACS").domains.index("blur") == 0
    assert planned(repo, ["main"], 2)[1].seed == golden
    others = [planned(repo, ["main"], 2, **values)[1].seed for values in ({"seed": 1}, {"trial": 1})]
    assert len({golden, *others}) == 3


def test_more_runs_leave_the_first_ones_as_they_are(repo: Repository) -> None:
    grow(repo, "aux/a", "a")
    few, many = planned(repo, ["main", "aux/a"], 3), planned(repo, ["main", "aux/a"], 8)
    assert few == many[:3]
    assert len({run.job.identity for run in many}) == 8


def test_without_a_pretrained_commit_auxiliary_ones_take_turns(repo: Repository) -> None:
    names = [grow(repo, "aux/a0", "a"), grow(repo, "aux/a1", "a"), grow(repo, "aux/b0", "b")]
    runs = planned(repo, names, 5)
    expected = ("aux/a0", "aux/b0", "aux/a1", "aux/b0", "aux/a0")
    assert [run.start for run in runs] == [repo.resolve(name) for name in expected]


def test_what_was_trained_on_the_task_itself_is_refused_whatever_it_is_called(repo: Repository, day: Path) -> None:
    with pytest.raises(InvalidInputError, match="trained on task 'digit' itself"):
        sweep(repo, "digit", ["main", "digit/0"], SweepOptions(runs=2), dry_run=True)
    grow(repo, "innocent", "another", parent="digit/0")
    with pytest.raises(InvalidInputError, match="descends from"):
        sweep(repo, "digit", ["main", "innocent"], SweepOptions(runs=2), dry_run=True)
    with pytest.raises(InvalidInputError, match="both pretrained"):
        sweep(repo, "digit", ["main", "main~1"], SweepOptions(runs=2), dry_run=True)


def test_what_is_given_goes_before_what_is_drawn(repo: Repository) -> None:
    runs = planned(repo, ["main"], 5, given={"lr": 0.25}, hyper=HyperParameters(steps=7, eval_every=3, freeze_steps=1))
    assert {(run.hyper.lr, run.hyper.steps, run.hyper.eval_every) for run in runs} == {(0.25, 7, 3)}
    assert len({run.hyper.dropout for run in runs}) > 1


def test_a_plan_changes_nothing(repo: Repository, fingerprint) -> None:  # type: ignore[no-untyped-def]
    planned(repo, ["main"], 1)  # fills the cache of the data
    before = fingerprint(repo.root)
    planned(repo, ["main"])
    assert fingerprint(repo.root) == before


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"runs": 0}, InvalidInputError),
        ({"runs": 1, "name": "a/b"}, InvalidInputError),
        ({"runs": 1, "name": "-x"}, InvalidInputError),
        ({"runs": 1, "hparams": "mildest"}, NotFoundError),
    ],
)
def test_what_is_no_sweep_is_refused(repo: Repository, values: dict, error: type[Exception]) -> None:
    with pytest.raises(error):
        sweep(repo, "PACS", ["main"], SweepOptions(**values), dry_run=True)


@pytest.mark.parametrize(
    ("options", "runtime"),
    [
        (TrainOptions(hyper=HyperParameters(lr=1 / 3, weight_decay=1e-17, steps=7, freeze_steps=2)), Runtime()),
        (TrainOptions(seed=2**31, trial=4, stage=Stage.AUXILIARY, keep="best", again=True), Runtime(trust_code=True)),
        (TrainOptions(save_every=SaveEvery(steps=9)), Runtime(device="cpu")),
        (TrainOptions(save_every=SaveEvery(seconds=0.1)), Runtime()),
        (TrainOptions(save_every=SaveEvery()), Runtime()),
        (TrainOptions(method=Method(loss="coral", coral_weight=0.1, average="swad", swad_tolerance=0.2)), Runtime()),
        (TrainOptions(method=Method(average="moving", average_from=3)), Runtime()),
        (TrainOptions(execution=Execution(precision="bfloat16", channels_last=True, accumulate=2)), Runtime()),
        (TrainOptions(execution=Execution(compile="inductor"), preset="paper"), Runtime()),
    ],
)
def test_a_job_says_in_words_how_a_run_is_made(options: TrainOptions, runtime: Runtime) -> None:
    words, given = list(training_arguments(options, runtime)), {}
    while words:
        name = words.pop(0).removeprefix("--").replace("-", "_")
        flag = name in ("again", "trust_code", "channels_last")
        kind = type(getattr(TrainingFlags(), name))
        text = True if flag else words.pop(0)
        if name in ("lr", "dropout", "weight_decay"):
            kind = float
        elif name in ("steps", "batch_size", "eval_every", "freeze_steps"):
            kind = int
        given[name] = text if flag or kind is type(None) else kind(text)
    flags = TrainingFlags(**given)
    found = flags.options()
    assert replace(found, given={}) == options
    assert found.given.keys() == {
        "lr",
        "dropout",
        "weight_decay",
        "batch_per_domain",
        "steps",
        "eval_every",
        "freeze_steps",
    }
    assert flags.runtime() == runtime


def test_starts_are_commits_and_not_names(repo: Repository) -> None:
    (run,) = planned(repo, ["main"], 1)
    assert run.start == CommitId(repo.resolve("main"))
    assert run.job.arguments[:5] == ("train", "--task", "PACS", "--from", run.start)
