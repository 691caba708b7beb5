"""A task by another test domain than its table's: ``NAME@DOMAIN`` wherever a task is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from mlgit.errors import AlreadyExistsError, InvalidInputError, NotFoundError
from mlgit.objects import Stage
from mlgit.objects.certificate import CertificateResult
from mlgit.porcelain.certify import certify
from mlgit.porcelain.commit import commit
from mlgit.porcelain.evaluate import evaluate
from mlgit.porcelain.init import init
from mlgit.porcelain.lmc import lmc
from mlgit.porcelain.merge import merge
from mlgit.porcelain.open_model import data_path, find_definition, open_named_task
from mlgit.porcelain.saved_runs import abandon_runs
from mlgit.porcelain.sweep import SweepOptions, SweepResult, sweep
from mlgit.porcelain.switch import switch
from mlgit.porcelain.task import add_task, list_tasks, remove_task, show_task
from mlgit.porcelain.task_check import check_task
from mlgit.porcelain.train import TrainOptions, train
from mlgit.repository import Repository
from mlgit.training.hyper import HyperParameters
from mlgit.worktree.model_file import MODEL_FILE

FEW = HyperParameters(lr=1e-3, steps=3, eval_every=2, freeze_steps=1)
HOW = TrainOptions(hyper=FEW, probe_hyper=FEW)


@pytest.fixture
def repo(day: Path) -> Repository:
    return Repository(day)


@pytest.fixture
def pacs(tmp_path: Path) -> Path:
    for domain in ("art", "photo", "real world"):
        for label, name in enumerate(("cat", "dog")):
            place = tmp_path / "images" / "PACS" / domain / name
            place.mkdir(parents=True)
            for number in range(5):
                Image.new("RGB", (8, 8), (40 * label, 20 * number, 30)).save(place / f"{number}.png")
    return tmp_path / "images"


def trained(repo: Repository, task: str, branch: str, seed: int = 0) -> str:
    switch(repo, branch, create=True, start="main")
    train(repo, task, options=replace(HOW, seed=seed))
    commit(repo, "a run", task=task)
    return branch


def planned(repo: Repository, task: str, runs: int = 3) -> SweepResult:
    return sweep(repo, task, ["main"], SweepOptions(runs=runs, training=TrainOptions(hyper=FEW)), dry_run=True)


def examined(repo: Repository, branch: str, task: str, *lines: str) -> CertificateResult:
    path = repo.root.parent / "certificate.toml"
    head = ['name = "c"', f'task = "{task}"', 'split = "test"', 'judge = "point"', *lines]
    path.write_text("\n".join([*head, "[[threshold]]", 'metric = "accuracy"', "at_least = 0.0"]))
    return certify(repo, branch, path).result


def test_a_name_with_a_domain_is_the_task_with_that_test_domain(repo: Repository) -> None:
    plain, other = open_named_task(repo, "digit"), open_named_task(repo, "digit@blur")
    assert (other.name, other.test_domain, other.definition.base_name) == ("digit@blur", "blur", "digit")
    assert other.data_digest == plain.data_digest
    assert other.digest != plain.digest
    add_task(repo, "other", kind="digits", test_domain="blur", options={"labels": "digit"})
    assert open_named_task(repo, "other").digest == other.digest


def test_a_task_with_its_own_test_domain_is_the_plain_one(repo: Repository) -> None:
    assert find_definition(repo, "digit@rotate") == find_definition(repo, "digit")
    assert find_definition(repo, "digit@rotate").name == "digit"


@pytest.mark.parametrize(
    ("name", "error", "kind", "message", "hint"),
    [
        ("digit@blurr", NotFoundError, "unknown-domain", "task 'digit' has no domain 'blurr'", "did you mean 'blur'?"),
        ("digti@blur", NotFoundError, "unknown-task", "no task is named 'digti'", "did you mean 'digit'?"),
        ("digit@", InvalidInputError, "bad-name", "'digit@' names no test domain", "write `digit@DOMAIN`"),
        ("@blur", NotFoundError, "unknown-task", "no task is named ''", "known: basics, digit, parity"),
        ("digit@a@b", NotFoundError, "unknown-domain", "task 'digit' has no domain 'a@b'", "known: "),
        ("digit@../x", InvalidInputError, "bad-name", "..", ""),
        ("digit@a/b", InvalidInputError, "bad-name", "slash", ""),
    ],
)
def test_a_name_that_means_no_task_is_refused_with_what_to_do(
    repo: Repository, name: str, error: type[Exception], kind: str, message: str, hint: str
) -> None:
    with pytest.raises(error) as caught:
        open_named_task(repo, name)
    found = caught.value
    assert isinstance(found, (InvalidInputError, NotFoundError))
    assert (found.kind, message in found.message, (found.hint or "").startswith(hint)) == (kind, True, True), found


def test_such_a_name_is_never_a_table_of_its_own(repo: Repository) -> None:
    for name in ("digit@blur", "new@blur"):
        with pytest.raises(InvalidInputError, match="cannot name a new task") as caught:
            add_task(repo, name, kind="digits", test_domain="blur")
        assert caught.value.kind == "bad-name"
    for name in ("digit@blur", "digit@rotate"):
        with pytest.raises(InvalidInputError, match="no table of its own"):
            remove_task(repo, name)
    assert [each.name for each in list_tasks(repo)] == ["basics", "digit", "parity"]
    file = repo.root / MODEL_FILE
    file.write_text(file.read_text() + '\n[tasks."digit@blur"]\nkind = "digits"\ntest_domain = "blur"\n')
    with pytest.raises(InvalidInputError, match="'digit@blur' cannot name a task"):
        list_tasks(repo)


def test_data_are_found_and_checked_by_the_plain_name(tmp_path: Path, pacs: Path) -> None:
    repo = init(tmp_path / "repo").repository
    made = add_task(repo, "PACS", kind="imagefolder", data=pacs, options={"image_size": 8})
    assert data_path(repo, "PACS@art") == data_path(repo, "PACS") == pacs
    shown = show_task(repo, "PACS@real world")
    assert (shown.definition.name, shown.domains, shown.data) == ("PACS@real world", made.domains, pacs)
    assert made.definition.test_domain is None
    assert shown.digest != made.digest
    assert check_task(repo, "PACS@art").same
    Image.new("RGB", (8, 8), (1, 2, 3)).save(pacs / "PACS" / "art" / "cat" / "0.png")
    found = check_task(repo, "PACS@photo")
    assert found.differences is not None
    assert (found.same, found.differences.changed) == (False, ("art/cat/0.png",))
    assert check_task(repo, "PACS@photo", record=True).same
    assert check_task(repo, "PACS").same


def test_a_check_knows_the_commits_of_all_test_domains(repo: Repository) -> None:
    trained(repo, "digit@blur", "new")
    (state,) = check_task(repo, "digit@noise").recorded
    assert repo.resolve("new") in state.commits
    assert repo.resolve("digit/0") in state.commits
    assert state.same


def test_runs_of_two_test_domains_are_trained_scored_merged_and_certified(repo: Repository) -> None:
    for domain in ("blur", "noise"):
        name = f"digit@{domain}"
        branches = [trained(repo, name, f"{name}/x-{seed}", seed) for seed in range(2)]
        made = repo.commit_of(repo.resolve(branches[0]))
        assert made.task is not None
        assert (made.task.name, made.stage) == (name, Stage.TARGET)
        assert not any(domain in key for key in made.metrics)
        (score, _) = evaluate(repo, [f"{name}/x-*"], task=name, split="test").scores.values()
        assert list(score.per_domain) == [domain]
        assert lmc(repo, branches, task=name, grid="chord").points
        switch(repo, f"{name}/average", create=True, start="main")
        merged = merge(repo, branches, "average", task=name).commit
        assert merged.task is not None
        assert merged.task.name == name
        digest = open_named_task(repo, name).digest
        found = examined(repo, branches[0], name, f'task_digest = "{digest}"')
        assert (found.task.name, found.passed) == (name, True)


def test_both_ways_of_writing_the_own_test_domain_make_one_task(repo: Repository) -> None:
    switch(repo, "new", create=True, start="main")
    train(repo, "digit@rotate", options=HOW)
    made = commit(repo, "a run", task="digit@rotate").commit
    assert made.task is not None
    assert made.task.name == "digit"
    assert examined(repo, "new", "digit@rotate").task.name == "digit"
    assert abandon_runs(repo, "digit@rotate") == []
    assert planned(repo, "digit@rotate").runs == planned(repo, "digit").runs


def test_a_commit_names_the_test_domain_its_run_had(repo: Repository) -> None:
    switch(repo, "new", create=True, start="main")
    train(repo, "digit@blur", options=HOW)
    for wrong in ("digit", "digit@noise"):
        with pytest.raises(InvalidInputError, match=f"no run on task '{wrong}' waits"):
            commit(repo, "a run", task=wrong)
    assert commit(repo, "a run", task="digit@blur").commit.task is not None


def test_a_model_that_trained_on_a_domain_is_not_tested_there(repo: Repository) -> None:
    branch = trained(repo, "digit@blur", "new")
    switch(repo, "again", create=True, start=branch)
    with pytest.raises(InvalidInputError) as caught:
        train(repo, "digit@noise", options=HOW)
    assert caught.value.kind == "trained-on-test-domain"
    assert "'digit@noise'" in caught.value.message
    assert "'digit@blur'" in caught.value.message
    switch(repo, "main")
    with pytest.raises(InvalidInputError) as caught:
        merge(repo, [branch, "digit/0"], "average", task="digit")
    assert "of task 'digit' as task 'digit@blur'" in caught.value.message


def test_a_task_without_test_domain_in_its_table_is_a_target_with_one(repo: Repository) -> None:
    add_task(repo, "PACS", kind="digits", options={"labels": "digit", "part": "target"})
    commit(repo, "define")
    for name, stage in (("PACS@blur", Stage.TARGET), ("PACS", Stage.AUXILIARY)):
        assert repo.commit_of(repo.resolve(trained(repo, name, stage.value))).stage is stage
    switch(repo, "no", create=True, start="auxiliary")
    with pytest.raises(InvalidInputError, match="of task 'PACS@blur' as task 'PACS'"):
        train(repo, "PACS@blur", options=HOW)


def test_a_sweep_has_the_seeds_of_a_task_defined_with_that_test_domain(repo: Repository) -> None:
    named = planned(repo, "digit@blur")
    file = repo.root / MODEL_FILE
    file.write_text(file.read_text().replace('test_domain = "rotate"', 'test_domain = "blur"'))
    plain = planned(repo, "digit")
    assert [each.run.seed for each in named.runs] == [each.run.seed for each in plain.runs]
    assert [each.run.hyper for each in named.runs] == [each.run.hyper for each in plain.runs]
    assert [each.run.branch for each in named.runs] == [f"digit@blur/sweep-{number}" for number in range(3)]


def test_a_sweep_of_a_test_domain_is_made_on_branches_of_its_own(repo: Repository) -> None:
    options = SweepOptions(runs=1, training=replace(HOW, given={"batch_per_domain": 4}))
    for name in ("digit@blur", "digit@noise"):
        (state,) = sweep(repo, name, ["main"], options).runs
        assert state.commit == repo.resolve(f"{name}/sweep-0")
        assert (repo.folder / "sweeps" / name / "sweep").is_dir()
        assert sweep(repo, name, ["main"], options).runs[0].attempts == 0


def test_a_domain_that_no_branch_can_be_called_by_has_a_branch(tmp_path: Path, pacs: Path, repo: Repository) -> None:
    add_task(repo, "PACS", kind="imagefolder", data=pacs, options={"image_size": 8})
    assert planned(repo, "PACS@real world", 1).runs[0].run.branch == "PACS@real_world/sweep-0"
    with pytest.raises(AlreadyExistsError):
        add_task(repo, "PACS", kind="digits")
