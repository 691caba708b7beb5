"""Runs and their commits: what is recorded, where weights came from, and what leaves everything as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mlgit.errors import AlreadyExistsError, ConflictError, InvalidInputError, JobFailedError, NotFoundError
from mlgit.objects import Role, Stage
from mlgit.porcelain.commit import commit
from mlgit.porcelain.import_ import ImportOptions, import_model
from mlgit.porcelain.open_model import open_named_task
from mlgit.porcelain.pending_run import load_run
from mlgit.porcelain.probe import probe
from mlgit.porcelain.restore import restore
from mlgit.porcelain.status import status
from mlgit.porcelain.switch import switch
from mlgit.porcelain.train import TrainOptions, fitted_hyper, train
from mlgit.porcelain.train_onto import train_onto
from mlgit.repository import Repository
from mlgit.training.hyper import HyperParameters
from mlgit.training.record import package_versions
from mlgit.weights.stored import load

Fingerprint = Callable[[Path], dict[str, str]]
FEW = HyperParameters(lr=1e-3, steps=3, eval_every=2, freeze_steps=1)


@pytest.fixture
def repo(day: Path) -> Repository:
    return Repository(day)


def options(**values: object) -> TrainOptions:
    return TrainOptions(**{"hyper": FEW, "probe_hyper": FEW, **values})  # type: ignore[arg-type]


def test_the_commit_of_a_run_records_all_that_is_needed_to_repeat_it(repo: Repository) -> None:
    switch(repo, "new", create=True, start="aux/parity")
    result = train(repo, "digit", options=options(seed=7))
    made = commit(repo, "a run", task="digit").commit
    task = open_named_task(repo, "digit")
    assert made.stage is Stage.TARGET
    assert made.task is not None
    assert (made.task.name, made.task.digest) == ("digit", task.digest)
    assert made.made["hyper_parameters"] == FEW.to_json()
    assert (made.made["seed"], made.made["trial"], made.made["command"]) == (7, 0, "train")
    assert made.made["data_digest"] == task.data_digest
    assert made.made["packages"]["torch"] == torch.__version__  # type: ignore[call-overload, index]
    assert made.made["device"]["type"] == result.run.made["device"]["type"]  # type: ignore[call-overload, index]
    assert isinstance(made.made["duration_s"], float)
    assert made.made["duration_s"] > 0
    assert made.made["head_only_steps"] == 1, "the featurizer comes from an auxiliary task"
    assert 0 <= made.metrics["id_accuracy"] <= 1
    assert {f"id_accuracy/{name}" for name in task.domains if name != "rotate"} <= made.metrics.keys()
    assert not any("rotate" in name for name in made.metrics)


def test_a_run_from_the_pretrained_commit_freezes_nothing(repo: Repository) -> None:
    train(repo, "digit", options=options())
    run = load_run(repo)
    assert run is not None
    assert run.made["head_only_steps"] == 0


def test_a_run_from_head_has_it_as_init_and_the_probe_as_head(repo: Repository) -> None:
    start = repo.head
    train(repo, "digit", options=options())
    made = commit(repo, "run", task="digit").commit
    assert [(parent.role, parent.id) for parent in made.parents] == [
        (Role.INIT, start),
        (Role.HEAD, probe(repo, "digit").id),
    ]


def test_a_run_from_elsewhere_has_head_as_base_first(repo: Repository) -> None:
    head, start = repo.head, repo.resolve("aux/parity")
    train(repo, "digit", start="aux/parity", options=options())
    made = commit(repo, "run", task="digit").commit
    assert [(parent.role, parent.id) for parent in made.parents] == [
        (Role.BASE, head),
        (Role.INIT, start),
        (Role.HEAD, probe(repo, "digit").id),
    ]


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(repo: Repository) -> None:
    found = []
    for seed in (1, 1, 2):
        found.append(train(repo, "digit", options=options(seed=seed)).run.weights)
        restore(repo, ["."])
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_the_probe_is_shared_by_runs_from_all_initialisations(repo: Repository) -> None:
    first = train(repo, "digit", options=options()).probe
    restore(repo, ["."])
    second = train(repo, "digit", start="aux/parity", options=options(seed=4)).probe
    assert first is not None
    assert second is not None
    assert (first.id, first.created, second.created) == (second.id, False, False)


def test_weights_edited_after_a_run_are_committed_without_it_or_not_at_all(repo: Repository) -> None:
    train(repo, "digit", options=options())
    path = repo.root / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert status(repo).run is None
    with pytest.raises(InvalidInputError, match="no run on task 'digit' waits") as caught:
        commit(repo, "edited", task="digit")
    assert caught.value.kind == "no-run"
    made = commit(repo, "edited").commit
    assert (made.stage, made.task, dict(made.made), dict(made.metrics)) == (Stage.SNAPSHOT, None, {}, {})
    assert load_run(repo) is None


def test_a_run_is_not_committed_as_one_on_another_task(repo: Repository, fingerprint: Fingerprint) -> None:
    train(repo, "digit", options=options())
    before = fingerprint(repo.root)
    with pytest.raises(InvalidInputError, match="no run on task 'parity'"):
        commit(repo, "wrong", task="parity")
    assert fingerprint(repo.root) == before


def test_a_second_run_before_the_commit_is_refused(repo: Repository, fingerprint: Fingerprint) -> None:
    train(repo, "digit", options=options())
    before = fingerprint(repo.root)
    with pytest.raises(ConflictError, match="not committed"):
        train(repo, "parity", options=options())
    assert fingerprint(repo.root) == before
    restore(repo, ["."])
    train(repo, "parity", options=options())


def test_weights_of_a_run_are_not_lost_by_a_switch(repo: Repository, fingerprint: Fingerprint) -> None:
    train(repo, "digit", options=options())
    before = fingerprint(repo.root)
    with pytest.raises(ConflictError, match=r"model\.safetensors"):
        switch(repo, "digit/0")
    assert fingerprint(repo.root) == before
    switch(repo, "other", create=True)
    assert commit(repo, "on a new branch", task="digit").commit.stage is Stage.TARGET


@pytest.mark.parametrize("name", ["digit", "parity"])
def test_a_run_that_diverges_changes_nothing(repo: Repository, fingerprint: Fingerprint, name: str) -> None:
    before = fingerprint(repo.root)
    with pytest.raises(JobFailedError, match="diverged") as caught:
        train(repo, name, options=options(hyper=HyperParameters(lr=1e30, steps=5, eval_every=1, freeze_steps=0)))
    assert caught.value.exit_code == 15
    assert fingerprint(repo.root) == before


def test_a_probe_that_was_finished_before_a_run_failed_stays_and_nothing_else(
    repo: Repository, fingerprint: Fingerprint
) -> None:
    before = fingerprint(repo.root)
    bad = HyperParameters(lr=1e30, steps=5, eval_every=1, freeze_steps=0)
    with pytest.raises(JobFailedError):
        train(repo, "digit", options=options(hyper=bad, trial=5))
    after = fingerprint(repo.root)
    new = {path for path in after if before.get(path) != after[path]}
    assert all(path.startswith((".mlgit/objects/", ".mlgit/refs/probes/", ".mlgit/logs/refs/probes/")) for path in new)
    assert not before.keys() - after.keys()
    assert not probe(repo, "digit", trial=5).created


def test_another_model_is_not_put_into_the_files_of_this_one(repo: Repository, fingerprint: Fingerprint) -> None:
    (repo.root / "net.py").write_text(
        "from torch import nn\n"
        "def create(num_classes=10):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, num_classes))\n"
    )
    switch(repo, "other", create=True)
    import_model(repo, "python:net:create", options=ImportOptions(trust_code=True))
    switch(repo, "main")
    before = fingerprint(repo.root)
    with pytest.raises(InvalidInputError, match="python:net:create") as caught:
        train(repo, "digit", start="other", options=options())
    assert caught.value.kind == "other-model"
    assert fingerprint(repo.root) == before


def test_untracked_weights_are_not_overwritten_before_the_first_commit(repo: Repository) -> None:
    from mlgit.objects import Timestamp

    path = repo.root / "model.safetensors"
    precious = path.read_bytes()
    repo.refs.set_head("refs/heads/new", who=repo.identity, when=Timestamp.now(), reason="test")
    with pytest.raises(ConflictError, match="not committed"):
        train(repo, "digit", start="digit/0", options=options())
    assert path.read_bytes() == precious


@pytest.mark.parametrize("stage", [Stage.MERGE, Stage.PROBE, Stage.SNAPSHOT])
def test_training_makes_no_commit_of_a_stage_it_is_not(repo: Repository, stage: Stage) -> None:
    with pytest.raises(InvalidInputError, match=f"stage '{stage}'"):
        train(repo, "digit", options=options(stage=stage))


def test_what_does_not_exist_is_not_trained_on(repo: Repository) -> None:
    with pytest.raises(NotFoundError, match="no task is named 'digits'") as caught:
        train(repo, "digits", options=options())
    assert caught.value.hint == "did you mean 'digit'?"
    with pytest.raises(NotFoundError):
        train(repo, "digit", start="nowhere", options=options())


def test_pretraining_uses_no_probe_and_trains_statistics(repo: Repository) -> None:
    result = train(repo, "basics", options=options(stage=Stage.PRETRAIN))
    assert result.probe is None
    weights = load(repo.objects, repo.manifest_of(repo.resolve("main")))
    commit(repo, "more pretraining", task="basics")
    after = load(repo.objects, repo.manifest_of(repo.resolve("main")))
    name = next(name for name in weights if name.endswith("running_mean"))
    assert not torch.equal(weights[name], after[name])


def test_fine_tuning_leaves_statistics_as_they_were(repo: Repository) -> None:
    before = repo.manifest_of(repo.resolve("main")).tensors
    run = train(repo, "digit", options=options()).run
    for name, entry in before.items():
        if name.rpartition(".")[2] in {"running_mean", "running_var", "num_batches_tracked"}:
            assert run.weights[name] == entry.id
    assert any(run.weights[name] != entry.id for name, entry in before.items())


def test_a_short_run_fits_evaluations_and_frozen_steps_to_its_length() -> None:
    assert fitted_hyper({"steps": 50}).freeze_steps == 10
    assert fitted_hyper({"steps": 50}).eval_every == 5
    assert fitted_hyper({"steps": 1}).freeze_steps == 0
    assert fitted_hyper({}) == HyperParameters()
    assert fitted_hyper({"steps": 50, "eval_every": 50, "freeze_steps": 0}).eval_every == 50
    with pytest.raises(InvalidInputError):
        fitted_hyper({"steps": 0})


def test_a_run_whose_file_is_damaged_is_reported(repo: Repository) -> None:
    train(repo, "digit", options=options())
    (repo.folder / "run.json").write_text('{"stage": 3}')
    with pytest.raises(InvalidInputError, match="cannot be read") as caught:
        commit(repo, "m", task="digit")
    assert caught.value.kind == "bad-run"


def test_a_task_is_not_added_twice(repo: Repository) -> None:
    from mlgit.porcelain.task import add_task

    with pytest.raises(AlreadyExistsError, match="a task 'digit' exists"):
        add_task(repo, "digit", kind="digits")


def test_the_library_that_a_model_comes_from_is_recorded_and_part_of_the_run(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = train_onto(repo, "digit", "new/plain", start="main", options=options())
    assert plain.commit.made["packages"] == package_versions()
    monkeypatch.setattr("mlgit.porcelain.train.library_versions", lambda factory: {"timm": f"of {factory}"})
    made = train_onto(repo, "digit", "new/timm", start="main", options=options())
    assert made.commit.made["packages"] == {**package_versions(), "timm": "of mlgit:digits-cnn"}
    assert made.done.key != plain.done.key
