"""Nothing is computed twice by merge, lmc, certify, diversity or evaluate, and nothing is taken for something else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mlgit.errors import InvalidInputError, NotFoundError
from mlgit.evaluation import evaluator as module
from mlgit.evaluation.score import Predictions
from mlgit.evaluation.statistics import binomial_interval
from mlgit.porcelain.certify import certify
from mlgit.porcelain.config import set_setting, settings_path
from mlgit.porcelain.diversity import diversity
from mlgit.porcelain.evaluate import evaluate, intervals, predict_commits
from mlgit.porcelain.lmc import lmc
from mlgit.porcelain.merge import MergeOptions, merge
from mlgit.porcelain.open_model import open_named_task
from mlgit.porcelain.predictions import forget_predictions, prediction_cache, predictions_folder
from mlgit.porcelain.switch import switch
from mlgit.repository import Repository
from mlgit.tasks.arrays import ArrayDomain
from mlgit.tasks.split import ValidationSplit

MODELS = ["digit/0", "digit/1"]


@pytest.fixture
def repo(day: Path) -> Repository:
    repository = Repository(day)
    forget_predictions(repository)
    return repository


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grow by the number of domains whenever weights are passed through a network."""
    counted: list[int] = []
    real = module.predict

    def counting(forward: Callable, domains: list) -> tuple[Predictions, ...]:
        counted.append(len(domains))
        return real(forward, domains)

    monkeypatch.setattr(module, "predict", counting)
    return counted


def merged(repo: Repository, models: list[str] = MODELS, **options: object) -> object:
    switch(repo, "main")
    made = merge(repo, models, "merge", task="digit", options=MergeOptions(**options))
    return made.commit.made, made.commit.metrics, made.commit.manifest


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lmc": "full"},
        {"strategy": "greedy"},
        {"strategy": "greedy", "lmc": "off"},
        {"statistics": "recompute"},
        {"strategy": "greedy", "statistics": "recompute"},
    ],
    ids=str,
)
def test_a_second_merge_of_the_same_models_evaluates_nothing_and_is_the_same(
    repo: Repository, passes: list[int], options: dict[str, object]
) -> None:
    first = merged(repo, force=True, **options)
    assert passes
    passes.clear()
    assert merged(repo, force=True, **options) == first
    assert passes == []
    forget_predictions(repo)
    assert merged(repo, force=True, **options) == first
    assert passes


def test_a_merge_reuses_what_lmc_measured_and_the_other_way_round(repo: Repository, passes: list[int]) -> None:
    canonical = sorted(MODELS, key=lambda name: repo.manifest_of(repo.resolve(name)).id)
    lmc(repo, canonical, task="digit", grid="full")
    assert len(passes) == 11
    passes.clear()
    lmc(repo, canonical, task="digit", grid="full")
    lmc(repo, canonical[::-1], task="digit", grid="chord")
    assert passes == []
    merged(repo, lmc="full")
    assert passes == []  # the middle of the path is the mean of both


def test_a_merge_commit_is_not_evaluated_again_whoever_asks(repo: Repository, passes: list[int]) -> None:
    for options in ({}, {"statistics": "recompute"}, {"strategy": "greedy"}):
        switch(repo, "main")
        made = merge(repo, MODELS, "merge", task="digit", options=MergeOptions(force=True, **options))
        passes.clear()
        found = evaluate(repo, ["main"], task="digit")
        assert (passes, found.computed) == ([], 0)
        (score,) = found.scores.values()
        assert score.macro == pytest.approx(made.commit.metrics["id_accuracy"], abs=1e-12)
        forget_predictions(repo)
        again = evaluate(repo, ["main"], task="digit")
        assert again.computed == 1
        (computed,) = again.scores.values()
        assert torch.equal(computed.correct, score.correct)


def test_evaluate_diversity_certify_and_the_ends_of_a_path_share_one_evaluation(
    repo: Repository, passes: list[int]
) -> None:
    certificate = repo.root.parent / "certificate.toml"
    certificate.write_text(
        'name = "x"\ntask = "digit"\nsplit = "validation"\njudge = "point"\n'
        '[[threshold]]\nmetric = "accuracy"\nat_least = 0.01\n'
    )
    assert evaluate(repo, MODELS, task="digit").computed == 2
    passes.clear()
    assert evaluate(repo, MODELS, task="digit", together=True).computed == 0
    diversity(repo, MODELS, task="digit")
    certify(repo, "digit/0", certificate)
    assert passes == []
    lmc(repo, MODELS, task="digit", grid="chord")
    assert len(passes) == 1  # the midpoint


def test_equal_weights_of_another_commit_are_not_evaluated_again(repo: Repository, passes: list[int]) -> None:
    evaluate(repo, ["digit/0"], task="digit")
    switch(repo, "digit/0")
    (repo.root / "notes.txt").write_text("nothing but a file")
    from mlgit.porcelain.commit import commit

    made = commit(repo, "notes").id
    passes.clear()
    evaluate(repo, [made], task="digit")
    assert passes == []


def test_domains_and_splits_are_computed_once_each(repo: Repository, passes: list[int]) -> None:
    task = open_named_task(repo, "digit")
    assert task.test_domain == "rotate"
    inside = [name for name in task.domains if name != "rotate"]
    one = evaluate(repo, ["digit/0"], task="digit", domains=inside[:1])
    assert list(next(iter(one.scores.values())).per_domain) == inside[:1]
    whole = evaluate(repo, ["digit/0"], task="digit")
    both = evaluate(repo, ["digit/0"], task="digit", split="unseen")
    assert passes == [1, len(inside) - 1, 1]
    passes.clear()
    assert evaluate(repo, ["digit/0"], task="digit", split="test").computed == 0
    (validation,), (unseen,) = whole.scores.values(), both.scores.values()
    assert list(unseen.per_domain) == list(task.domains)
    assert {name: unseen.per_domain[name] for name in inside} == validation.per_domain


def test_another_trial_is_other_data(repo: Repository, passes: list[int]) -> None:
    first, second = (evaluate(repo, ["digit/0"], task="digit", trial=trial) for trial in (0, 1))
    assert (first.computed, second.computed) == (1, 1)


def test_data_that_changed_under_the_same_name_are_evaluated_anew(repo: Repository) -> None:
    ids = repo.resolve_many(["digit/0"])
    task = open_named_task(repo, "digit")
    before = task.validation()
    counts: list[int] = []
    predict_commits(repo, ids, before, task, counts=counts)
    first = before.domains[0]
    darker = ArrayDomain(first.name, first.pixels // 2, first.labels, mean=0.5, std=0.25)
    after = ValidationSplit((darker, *before.domains[1:]))
    found = predict_commits(repo, ids, after, task, counts=counts)[ids[0]]
    forget_predictions(repo)
    anew = predict_commits(repo, ids, after, task, counts=counts)[ids[0]]
    assert counts == [1, 1, 1]
    assert all(torch.equal(a.probabilities, b.probabilities) for a, b in zip(found, anew, strict=True))


def test_tampered_and_evicted_files_are_computed_again_to_the_same_numbers(repo: Repository) -> None:
    expected = evaluate(repo, ["digit/0"], task="digit")
    for break_one in (
        lambda path: path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 0x40])),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
    ):
        for path in predictions_folder(repo).iterdir():
            break_one(path)
        found = evaluate(repo, ["digit/0"], task="digit")
        assert found.computed == 1
        assert torch.equal(*(next(iter(each.scores.values())).correct for each in (found, expected)))


@pytest.mark.parametrize(("text", "size"), [("2GB", 2 * 10**9), ("500 MB", 5 * 10**8), ("7k", 7000), ("off", None)])
def test_the_setting_bounds_the_cache(repo: Repository, text: str, size: int | None) -> None:
    set_setting(settings_path(repo), "evaluation.cache", text)
    again = Repository(repo.root)
    cache = prediction_cache(again)
    assert (None if cache is None else cache.max_bytes) == size
    evaluate(again, ["digit/0"], task="digit")
    assert evaluate(again, ["digit/0"], task="digit").computed == (0 if size and size > 10**6 else 1)


@pytest.mark.parametrize("text", ["much", "-1GB", "1.5GB", ""])
def test_a_setting_that_is_no_size_is_refused(repo: Repository, text: str) -> None:
    set_setting(settings_path(repo), "evaluation.cache", text)
    with pytest.raises(InvalidInputError) as caught:
        evaluate(Repository(repo.root), ["digit/0"], task="digit")
    assert caught.value.kind == "bad-setting"


def test_models_of_code_that_cannot_be_found_are_computed_each_time(repo: Repository) -> None:
    from dataclasses import replace

    from mlgit.models.factories import build
    from mlgit.models.network import Network
    from mlgit.porcelain.predictions import remembered

    network = Network(build("mlgit:digits-cnn", num_classes=3))
    manifest = repo.manifest_of(repo.resolve("digit/0"))
    assert remembered(repo, manifest, network) is not None
    assert remembered(repo, replace(manifest, factory="python:mine:model"), network) is None


def test_a_configuration_in_the_model_directory_is_part_of_what_is_remembered(repo: Repository) -> None:
    from dataclasses import replace

    from mlgit.models.factories import build
    from mlgit.models.network import Network
    from mlgit.porcelain.predictions import remembered

    network = Network(build("mlgit:digits-cnn", num_classes=3))
    manifest = replace(repo.manifest_of(repo.resolve("digit/0")), factory="transformers:.")
    found = []
    for text in ('{"a": 1}', '{"a": 2}'):
        (repo.root / "config.json").write_text(text)
        found.append(remembered(repo, manifest, network).module)
    assert found[0] != found[1]


def test_intervals_are_the_exact_ones_certificates_use(repo: Repository) -> None:
    found = evaluate(repo, ["digit/0"], task="digit")
    (score,) = found.scores.values()
    sure = intervals(score, found.sizes)
    n = len(score.correct)
    assert sure.accuracy == binomial_interval(int(score.correct.sum()), n, 0.95)
    assert sum(found.sizes.values()) == n
    for name, share in score.per_domain.items():
        size = found.sizes[name]
        assert sure.per_domain[name] == binomial_interval(round(share * size), size, 0.95)
        assert sure.per_domain[name].low <= share <= sure.per_domain[name].high


@pytest.mark.parametrize(
    ("split", "domains", "error", "kind"),
    [
        ("validation", ["rotate"], InvalidInputError, "domain-not-in-split"),
        ("test", ["plain"], (InvalidInputError, NotFoundError), None),
        ("unseen", ["moon"], NotFoundError, "unknown-domain"),
        ("training", [], InvalidInputError, "unknown-split"),
    ],
)
def test_what_is_not_in_a_split_is_refused(
    repo: Repository, split: str, domains: list[str], error: type[Exception], kind: str | None
) -> None:
    with pytest.raises(error) as caught:
        evaluate(repo, ["digit/0"], task="digit", split=split, domains=domains)
    assert kind in (None, caught.value.kind)


def test_twenty_weight_sets_are_decoded_for_once(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    task = open_named_task(repo, "digit")
    split = task.validation()
    calls: list[int] = []
    for domain in split.domains:
        real = domain.images
        monkeypatch.setattr(domain, "images", lambda *a, real=real: calls.append(1) or real(*a))
    ids = repository_ids(repo)
    predict_commits(repo, ids[:1], split, task)
    once = len(calls)
    calls.clear()
    forget_predictions(repo)
    predict_commits(repo, ids, split, task)
    assert len(ids) >= 3
    assert len(calls) == once
    calls.clear()
    predict_commits(repo, ids, split, task)
    assert calls == []


def repository_ids(repo: Repository) -> list[object]:
    return repo.resolve_many(["digit/*"])
