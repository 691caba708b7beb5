"""Merges against plain numpy, against a few lines of their own rule, and against everything that must stop them."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from mlgit.errors import (
    CheckFailedError,
    ConflictError,
    IncompatibleWeightsError,
    InvalidInputError,
    MlgitError,
    NotFoundError,
)
from mlgit.evaluation.evaluator import Evaluator
from mlgit.merging.criterion import Verdict
from mlgit.merging.curve import Curve
from mlgit.objects import Role, Stage, Timestamp
from mlgit.porcelain import export as exporting
from mlgit.porcelain import pool
from mlgit.porcelain import switch as switching
from mlgit.porcelain.commit import commit
from mlgit.porcelain.commit_weights import commit_weights
from mlgit.porcelain.evaluate import evaluate
from mlgit.porcelain.lmc import lmc
from mlgit.porcelain.merge import MergeOptions, criterion, merge
from mlgit.porcelain.merge_onto import merge_onto
from mlgit.porcelain.open_model import open_named_task, open_network
from mlgit.porcelain.probe import probe
from mlgit.porcelain.task import add_task
from mlgit.porcelain.train import TrainOptions, train
from mlgit.repository import Repository
from mlgit.storage.objects import ObjectDatabase
from mlgit.tasks.arrays import ArrayDomain
from mlgit.training.hyper import HyperParameters
from mlgit.weights.stored import StoredWeights, load

Fingerprint = Callable[[Path], dict[str, str]]
SOUP = ("digit/0", "digit/1", "digit/2")
FEW = HyperParameters(lr=1e-4, steps=2, eval_every=1, freeze_steps=0)


@pytest.fixture
def repo(day: Path) -> Repository:
    return Repository(day)


def weights_of(repository: Repository, revision: str) -> dict[str, torch.Tensor]:
    return load(repository.objects, repository.manifest_of(repository.resolve(revision)))


def branch(repository: Repository, name: str, start: str = "main") -> None:
    switching.switch(repository, name, create=True, start=start)


def short_run(repository: Repository, task: str, *, trial: int = 0, start: str = "HEAD") -> None:
    options = TrainOptions(hyper=FEW, probe_hyper=FEW, trial=trial)
    train(repository, task, start=start, options=options)
    commit(repository, f"short run on {task}", task=task)


def accuracy(repository: Repository, weights: Mapping[str, torch.Tensor]) -> float:
    """Share of all ID validation examples of task digit that are right, in plain torch."""
    network = open_network(repository, repository.manifest_of(repository.resolve("digit/0")))
    network.load(dict(weights)).eval()
    right, count = 0, 0
    with torch.no_grad():
        for domain in open_named_task(repository, "digit").validation().domains:
            outputs = network(domain.images(torch.arange(len(domain))))
            right += int((outputs.argmax(1) == domain.labels).sum())
            count += len(domain)
    return right / count


def numpy_mean(repository: Repository, revisions: list[str], folder: Path) -> dict[str, np.ndarray]:
    """The plain float64 mean of exported checkpoints, read by safetensors itself."""
    files = []
    for revision in sorted(revisions, key=repository.resolve):
        files.append(folder / f"{repository.resolve(revision)}.safetensors")
        exporting.export(repository, revision, files[-1], force=True)
    members = [load_file(path) for path in files]
    found = {}
    for name, first in members[0].items():
        total = np.zeros(first.shape, np.float64)
        for member in members:
            total += member[name].astype(np.float64)
        found[name] = (total / len(members)).astype(first.dtype) if first.dtype.kind == "f" else first
    return found


def test_a_uniform_merge_is_the_plain_float64_mean_of_the_exported_checkpoints(
    repo: Repository, tmp_path: Path
) -> None:
    made = merge(repo, SOUP, "soup")
    expected = numpy_mean(repo, list(SOUP), tmp_path)
    exporting.export(repo, "HEAD", tmp_path / "soup.safetensors")
    found = load_file(tmp_path / "soup.safetensors")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert np.allclose(found[name], value, rtol=2e-7, atol=0), name
    assert all(coefficient == 1 / 3 for coefficient in made.members.values())
    assert load_file(repo.root / "model.safetensors").keys() == expected.keys()


@pytest.mark.parametrize("strategy", ["uniform", "greedy"])
def test_order_and_repetition_of_arguments_change_nothing(repo: Repository, strategy: str) -> None:
    orders = [SOUP, SOUP[::-1], (SOUP[1], SOUP[0], SOUP[1], SOUP[2], SOUP[0]), ("digit/*",)]
    results = [merge(repo, order, "m", task="digit", options=MergeOptions(strategy=strategy)) for order in orders]
    for result in results[1:]:
        assert result.commit is not None
        assert results[0].commit is not None
        assert result.commit.manifest == results[0].commit.manifest
        assert result.commit.parents[1:] == results[0].commit.parents[1:]
        assert result.commit.made == results[0].commit.made
        assert result.commit.metrics == results[0].commit.metrics


def test_head_is_the_first_parent_and_takes_no_part(repo: Repository) -> None:
    before = repo.head
    made = merge(repo, ["digit/0", "digit/1"], "soup")
    assert made.commit is not None
    assert (made.commit.parents[0].id, made.commit.parents[0].role) == (before, Role.BASE)
    assert {parent.id for parent in made.commit.parents[1:]} == {repo.resolve("digit/0"), repo.resolve("digit/1")}
    assert {parent.role for parent in made.commit.parents[1:]} == {Role.MERGE}
    assert repo.head == made.id


def test_head_takes_part_when_it_is_named(repo: Repository) -> None:
    switching.switch(repo, "digit/0")
    made = merge(repo, ["HEAD", "digit/1"], "soup")
    assert made.commit is not None
    roles = [(parent.role, parent.id) for parent in made.commit.parents]
    assert roles.count((Role.BASE, repo.resolve("digit/0~1"))) == 1
    assert (Role.MERGE, repo.resolve("digit/0~1")) in roles


def test_greedy_is_its_few_line_rule(repo: Repository) -> None:
    branch(repo, "spoiled", "digit/0")
    spoiled = {
        name: -value if name.startswith("classifier") else value for name, value in weights_of(repo, "HEAD").items()
    }
    commit_weights(repo, spoiled, "the wrong way round", task="digit", metrics={"id_accuracy": 0.0})
    switching.switch(repo, "main")
    candidates = [*SOUP, "spoiled"]
    ids = sorted(map(repo.resolve, candidates), key=lambda one: repo.commit_of(one).manifest)
    ranking = sorted(ids, key=lambda one: -repo.commit_of(one).metrics["id_accuracy"])
    kept: list[str] = []
    best = -math.inf
    for one in ranking:
        members = [weights_of(repo, each) for each in [*kept, one]]
        mean = {
            name: (sum(member[name].double() for member in members) / len(members)).to(value.dtype)
            if value.is_floating_point()
            else value
            for name, value in members[0].items()
        }
        here = accuracy(repo, mean)
        if here >= best:
            kept, best = [*kept, one], here
    made = merge(repo, candidates, "greedy", task="digit", options=MergeOptions(strategy="greedy"))
    assert made.commit is not None
    assert {one for one, share in made.members.items() if share} == set(kept)
    assert made.commit.metrics["id_accuracy_micro"] == pytest.approx(best, abs=1e-12)
    assert repo.resolve("spoiled") not in kept
    assert kept, "something is kept"
    assert [parent.id for parent in made.commit.parents if parent.role is Role.MERGE] == sorted(kept)


def test_fusing_with_a_task_takes_the_linear_probe_as_head(repo: Repository) -> None:
    ids = sorted([repo.resolve("main"), repo.resolve("aux/parity")], key=lambda one: repo.commit_of(one).manifest)
    how = MergeOptions(strategy="fusing", parameters={"seed": 5})
    made = merge(repo, ["main", "aux/parity"], "fuse", task="digit", options=how)
    assert made.commit is not None
    shared = probe(repo, "digit").id
    heads = [parent.id for parent in made.commit.parents if parent.role is Role.HEAD]
    assert heads == [shared]
    draws = random.Random(5)
    kappas = [math.exp(draws.uniform(0, 4)) for _ in ids]
    shares = {one: kappa / sum(kappas) for one, kappa in zip(ids, kappas, strict=True)}
    assert made.members == pytest.approx(shares)
    fused, head = weights_of(repo, "HEAD"), weights_of(repo, shared)
    members = {one: weights_of(repo, one) for one in ids}
    for name, value in fused.items():
        if name.startswith("classifier."):
            assert torch.equal(value, head[name])
        elif value.is_floating_point():
            expected = sum(shares[one] * members[one][name].double() for one in ids)
            assert torch.allclose(value.double(), expected, rtol=1e-6)
    assert made.verdict == "unchecked"


def test_fusing_without_a_task_takes_the_head_of_the_pretrained_commit(repo: Repository) -> None:
    made = merge(repo, ["aux/parity", "main"], "fuse", options=MergeOptions(strategy="fusing"))
    assert made.commit is not None
    pretrained = repo.resolve("main~1")
    assert [parent.id for parent in made.commit.parents if parent.role is Role.HEAD] == [pretrained]
    assert torch.equal(weights_of(repo, "HEAD")["classifier.weight"], weights_of(repo, pretrained)["classifier.weight"])
    assert made.commit.task is None


def test_fusing_refuses_models_that_trained_on_the_task_itself(repo: Repository, fingerprint: Fingerprint) -> None:
    branch(repo, "edited", "digit/0")
    scaled = {
        name: value * 1.01 if value.is_floating_point() else value for name, value in weights_of(repo, "HEAD").items()
    }
    commit_weights(repo, scaled, "scaled by hand")  # another name and stage; the ancestry tells
    before = fingerprint(repo.root)
    with pytest.raises(InvalidInputError, match="was trained on task 'digit' itself") as caught:
        merge(repo, ["main", "edited"], "fuse", task="digit", options=MergeOptions(strategy="fusing"))
    assert caught.value.kind == "auxiliary-is-target"
    assert fingerprint(repo.root) == before


def test_a_violated_path_is_refused_and_nothing_is_written(repo: Repository, fingerprint: Fingerprint) -> None:
    before = fingerprint(repo.root)
    with pytest.raises(CheckFailedError) as caught:
        merge(repo, ["digit/0", "stranger"], "two strangers", task="digit")
    message = str(caught.value)
    assert caught.value.exit_code == 1
    assert repo.resolve("digit/0").short in message
    assert repo.resolve("stranger").short in message
    middle = lmc(repo, ["digit/0", "stranger"], task="digit", grid="chord").points[1]
    assert message.endswith(
        f"at λ = 0.5 the accuracy is {middle.accuracy:.4f}, the line between the ends has {middle.chord:.4f}"
    )
    assert middle.accuracy < middle.chord - 0.2
    assert caught.value.hint is not None
    assert "--force" in caught.value.hint
    assert fingerprint(repo.root) == before


def test_force_merges_and_the_record_says_so(repo: Repository) -> None:
    made = merge(repo, ["digit/0", "stranger"], "forced", task="digit", options=MergeOptions(force=True))
    assert made.commit is not None
    assert made.verdict == "violated"
    assert made.commit.made["lmc"]["forced"] is True  # type: ignore[call-overload, index]
    assert made.commit.made["lmc"]["verdict"] == "violated"  # type: ignore[call-overload, index]


def test_force_on_a_sound_merge_forces_nothing(repo: Repository) -> None:
    made = merge(repo, ["digit/0", "digit/1"], "sound", task="digit", options=MergeOptions(force=True))
    assert made.commit is not None
    assert made.verdict in {"holds", "undecided"}
    assert made.commit.made["lmc"]["forced"] is False  # type: ignore[call-overload, index]


def test_a_tolerance_decides_in_the_place_of_the_paired_test(repo: Repository) -> None:
    relaxed = MergeOptions(criterion=criterion(1.0))
    assert merge(repo, ["digit/0", "stranger"], "relaxed", task="digit", options=relaxed).verdict == "holds"


def test_an_undecided_path_is_merged_and_recorded(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Curve, "verdict", property(lambda _: Verdict.UNDECIDED))
    made = merge(repo, ["digit/0", "digit/1"], "undecided", task="digit")
    assert made.commit is not None
    assert made.commit.made["lmc"]["verdict"] == "undecided"  # type: ignore[call-overload, index]


def test_a_merge_of_one_is_that_one(repo: Repository) -> None:
    for strategy, task in (("uniform", None), ("greedy", "digit")):
        made = merge(repo, ["digit/1"], "one", task=task, options=MergeOptions(strategy=strategy))
        assert list(made.members.values()) == [1.0]
        for name, value in weights_of(repo, "digit/1").items():
            assert torch.equal(weights_of(repo, "HEAD")[name], value)


@pytest.mark.parametrize("dry_run", [False, True])
def test_models_that_do_not_fit_are_refused_with_the_list(
    repo: Repository, fingerprint: Fingerprint, dry_run: bool
) -> None:
    branch(repo, "wide")
    wide = weights_of(repo, "HEAD")
    wide["classifier.weight"] = torch.zeros(10, 99)
    wide["extra"] = torch.zeros(3)
    commit_weights(repo, wide, "another shape")
    before = fingerprint(repo.root)
    with pytest.raises(IncompatibleWeightsError, match=r"(?s)classifier\.weight.*extra|extra.*classifier\.weight"):
        merge(repo, ["wide", "digit/0"], "m", dry_run=dry_run)
    assert fingerprint(repo.root) == before


@pytest.mark.parametrize(
    ("options", "task", "error", "kind"),
    [
        (MergeOptions(strategy="unifrom"), None, NotFoundError, None),
        (MergeOptions(), "digits", NotFoundError, "unknown-task"),
        (MergeOptions(statistics="guess"), None, InvalidInputError, "bad-statistics"),
        (MergeOptions(lmc="half"), "digit", InvalidInputError, "bad-lmc-mode"),
        (MergeOptions(lmc="full"), None, InvalidInputError, "needs-evaluation"),
        (MergeOptions(strategy="greedy"), None, InvalidInputError, "needs-evaluation"),
        (MergeOptions(statistics="recompute"), None, InvalidInputError, "needs-evaluation"),
        (MergeOptions(parameters={"temperature": 1}), None, InvalidInputError, None),
        (MergeOptions(strategy="fusing", parameters={"seed": -1}), None, InvalidInputError, None),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_what_is_unknown_is_refused_before_anything_is_read(
    repo: Repository,
    fingerprint: Fingerprint,
    options: MergeOptions,
    task: str | None,
    error: type[MlgitError],
    kind: str | None,
    dry_run: bool,
) -> None:
    before = fingerprint(repo.root)
    with pytest.raises(error) as caught:
        merge(repo, ["digit/0", "digit/1"], "m", task=task, options=options, dry_run=dry_run)
    assert kind in (None, caught.value.kind)
    assert fingerprint(repo.root) == before


@pytest.mark.parametrize("strategy", ["uniform", "greedy", "fusing"])
def test_a_dry_run_reads_no_tensor_and_writes_nothing(
    repo: Repository, fingerprint: Fingerprint, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("a tensor was read")

    before = fingerprint(repo.root)
    monkeypatch.setattr(ObjectDatabase, "read_into", refuse)
    monkeypatch.setattr(ObjectDatabase, "stream", refuse)
    monkeypatch.setattr(ArrayDomain, "__init__", refuse)
    made = merge(repo, ["digit/0", "digit/1"], "m", task="digit", options=MergeOptions(strategy=strategy), dry_run=True)
    assert (made.id, made.commit, made.members) == (None, None, {})
    assert fingerprint(repo.root) == before


@pytest.mark.parametrize("message", ["", "  \n"])
def test_a_merge_needs_a_message(repo: Repository, message: str) -> None:
    with pytest.raises(InvalidInputError, match="needs a message"):
        merge(repo, ["digit/0"], message)


def test_uncommitted_weights_stop_a_merge_before_it_measures(
    repo: Repository, fingerprint: Fingerprint, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(repo, "digit", options=TrainOptions(hyper=FEW))
    before = fingerprint(repo.root)
    monkeypatch.setattr("mlgit.porcelain.averaging.open_pool", lambda *_, **__: pytest.fail("it went on"))
    with pytest.raises(ConflictError, match="not committed"):
        merge(repo, ["digit/0", "digit/1"], "m")
    assert fingerprint(repo.root) == before


def test_other_uncommitted_files_are_carried_over(repo: Repository) -> None:
    (repo.root / "README.md").write_text("mine")
    with (repo.root / "mlgit.toml").open("a") as file:
        file.write("# my comment\n")
    merge(repo, ["digit/0", "digit/1"], "m")
    assert (repo.root / "README.md").read_text() == "mine"
    assert "# my comment" in (repo.root / "mlgit.toml").read_text()
    assert "README.md" not in {file.path for file in repo.manifest_of(repo.resolve("HEAD")).files}


def test_a_merge_begins_a_branch_without_commits(repo: Repository) -> None:
    actor = repo.identity
    expected = repo.manifest_of(repo.resolve("digit/0"))
    (repo.root / "model.safetensors").unlink()
    repo.refs.set_head("refs/heads/new", who=actor, when=Timestamp.now(), reason="test")
    made = merge(repo, ["digit/0", "digit/1"], "first")
    assert made.commit is not None
    assert {parent.role for parent in made.commit.parents} == {Role.MERGE}
    assert repo.branches()["new"] == made.id
    assert (repo.root / "model.safetensors").exists()
    assert repo.manifest_of(repo.resolve("HEAD")).factory == expected.factory


def test_candidates_of_another_data_split_are_refused_whoever_descends_from_them(
    repo: Repository, fingerprint: Fingerprint
) -> None:
    branch(repo, "other-split")
    short_run(repo, "digit", trial=1)
    branch(repo, "edited", "other-split")
    edited = {k: v * 1.001 if v.is_floating_point() else v for k, v in weights_of(repo, "HEAD").items()}
    commit_weights(repo, edited, "edited by hand")
    before = fingerprint(repo.root)
    for culprit in ("other-split", "edited"):
        with pytest.raises(InvalidInputError, match="data split 1") as caught:
            merge(repo, ["digit/0", culprit], "m", task="digit")
        assert caught.value.kind == "other-split"
    with pytest.raises(InvalidInputError, match="data split 0"):
        merge(repo, ["digit/0", "other-split"], "m", task="digit", options=MergeOptions(trial=1))
    assert fingerprint(repo.root) == before
    assert merge(repo, ["digit/0", "other-split"], "without data").verdict == "unchecked"


def test_models_that_may_know_the_test_domain_are_refused(repo: Repository, fingerprint: Fingerprint) -> None:
    branch(repo, "leaky")
    add_task(repo, "other", kind="digits", test_domain="noise", options={"labels": "digit"})
    commit(repo, "define another task on the same data")
    short_run(repo, "other")
    before = fingerprint(repo.root)
    with pytest.raises(InvalidInputError, match="test domain 'rotate'") as caught:
        train(repo, "digit", options=TrainOptions(hyper=FEW))
    assert caught.value.kind == "trained-on-test-domain"
    with pytest.raises(InvalidInputError, match="test domain 'rotate'"):
        merge(repo, ["digit/0", "leaky"], "m", task="digit")
    assert fingerprint(repo.root) == before


def test_statistics_that_differ_are_measured_anew_with_a_task_and_refused_without(repo: Repository) -> None:
    branch(repo, "moved", "digit/0")
    weights = weights_of(repo, "HEAD")
    name = next(name for name in weights if name.endswith("running_mean"))
    weights[name] = weights[name] + 0.5
    commit_weights(repo, weights, "other statistics")
    pair = [repo.resolve("digit/1"), repo.resolve("moved")]
    with pytest.raises(IncompatibleWeightsError, match="running_mean"):
        merge(repo, pair, "m")
    made = merge(repo, pair, "m", task="digit")
    assert made.commit is not None
    assert made.commit.made["statistics"] == "recompute"
    assert any("batch-norm" in note for note in made.notes)
    merged = weights_of(repo, "HEAD")[name]
    assert not torch.equal(merged, weights[name])
    averaged = merge(repo, pair, "m", options=MergeOptions(statistics="average"))
    assert averaged.commit is not None
    expected = (weights[name].double() + weights_of(repo, "digit/1")[name].double()) / 2
    assert torch.allclose(weights_of(repo, "HEAD")[name].double(), expected)


def test_the_test_domain_is_never_read_by_anything_that_selects(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded: dict[str, Callable[..., object]] = {
        name: getattr(ArrayDomain, name) for name in ("images", "augmented", "subset")
    }

    def guard(name: str) -> Callable[..., object]:
        def method(self: ArrayDomain, *arguments: object) -> object:
            assert self.name != "rotate", f"{name} of the test domain was asked for"
            return guarded[name](self, *arguments)

        return method

    for name in guarded:
        monkeypatch.setattr(ArrayDomain, name, guard(name))
    with pytest.raises(AssertionError, match="of the test domain"):
        evaluate(repo, ["digit/0"], task="digit", split="test")  # the guard guards
    assert probe(repo, "digit", trial=3, hyper=FEW).created
    branch(repo, "guarded", "aux/parity")
    short_run(repo, "digit")
    lmc(repo, ["digit/0", "guarded"], task="digit")
    lmc(repo, ["main", "aux/parity"], task="digit", featurizers_only=True)
    merge(repo, ["digit/0", "guarded"], "m", task="digit")
    merge(repo, [*SOUP, "guarded"], "m", task="digit", options=MergeOptions(strategy="greedy", lmc="full"))
    merge(repo, ["main", "aux/parity"], "m", task="digit", options=MergeOptions(strategy="fusing"))
    ends = [probe(repo, "digit").id, "digit/0"]
    wise = MergeOptions(strategy="wise", parameters={"pretrained": ends[0]})
    merge(repo, ends, "m", task="digit", options=wise)
    merge_onto(repo, [*SOUP, "guarded"], "soup", "m", task="digit", options=MergeOptions(strategy="greedy"))
    evaluate(repo, ["digit/0"], task="digit", together=True)


def test_members_of_merges_are_the_same_for_every_set_of_candidates(repo: Repository) -> None:
    for chosen in itertools.combinations(SOUP, 2):
        made = merge(repo, chosen, "pair")
        assert made.commit is not None
        assert made.commit.stage is Stage.MERGE
        members = [parent for parent in made.commit.parents if parent.role is Role.MERGE]
        assert [parent.id for parent in members] == sorted(map(repo.resolve, chosen))
        assert [parent.coefficient for parent in members] == [0.5, 0.5]


# ----------------------------------------------------------------------- models that do not fit into memory together


@pytest.mark.parametrize("strategy", ["uniform", "greedy"])
def test_models_that_are_read_when_they_are_needed_give_the_commit_of_those_held_in_memory(
    repo: Repository, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    options = MergeOptions(strategy=strategy, lmc="full")
    held = merge(repo, SOUP, "m", task="digit", options=options)
    monkeypatch.setattr(pool, "HELD_BYTES", 0)
    monkeypatch.setattr(pool, "load", lambda *_: pytest.fail("a whole model was read"))
    read = merge(repo, SOUP, "m", task="digit", options=options)
    assert held.commit is not None
    assert read.commit is not None
    assert read.commit.manifest == held.commit.manifest
    assert read.commit.made == held.commit.made
    assert read.commit.metrics == held.commit.metrics


def test_greedy_evaluates_m_models_m_plus_one_times_and_reads_each_once(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: Counter[str] = Counter()
    evaluations: list[int] = []

    def read_into(weights: StoredWeights, name: str, target: memoryview) -> None:
        reads[weights.entries[name].id] += 1
        reading(weights, name, target)

    def predict(evaluator: Evaluator, *arguments: object, **options: object) -> object:
        evaluations.append(1)
        return predicting(evaluator, *arguments, **options)  # type: ignore[arg-type]  # handed through

    reading, predicting = StoredWeights.read_into, Evaluator.predict
    monkeypatch.setattr(StoredWeights, "read_into", read_into)
    monkeypatch.setattr(Evaluator, "predict", predict)
    monkeypatch.setattr(pool, "HELD_BYTES", 0)
    made = merge(repo, SOUP, "m", task="digit", options=MergeOptions(strategy="greedy", lmc="off"))
    assert made.commit is not None
    assert made.commit.made["ranking"] == "recorded scores"
    assert len(evaluations) == len(SOUP) + 1
    manifests = [repo.manifest_of(repo.resolve(name)) for name in SOUP]
    tensors = Counter(entry.id for manifest in manifests for entry in manifest.tensors.values())
    assert reads == tensors


def test_a_merge_without_data_reads_no_tensor_that_all_models_share(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []

    def read_into(weights: StoredWeights, name: str, target: memoryview) -> None:
        names.append(name)
        reading(weights, name, target)

    reading = StoredWeights.read_into
    branch(repo, "twin", "digit/0")
    weights = weights_of(repo, "digit/0")
    changed = next(name for name, tensor in sorted(weights.items()) if tensor.is_floating_point() and tensor.ndim > 1)
    weights[changed].add_(1)
    commit_weights(repo, weights, "one tensor is another one")
    monkeypatch.setattr(StoredWeights, "read_into", read_into)
    merge(repo, ("digit/0", "twin"), "m")
    assert names == [changed] * 2
