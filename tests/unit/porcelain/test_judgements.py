"""Evaluation, connectivity, diversity and certificates: numbers against plain torch, and what is refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mlgit.errors import CheckFailedError, InvalidInputError, MlgitError, NotFoundError
from mlgit.evaluation.evaluator import selection_evaluator
from mlgit.porcelain.certify import certify
from mlgit.porcelain.clone import clone
from mlgit.porcelain.commit_weights import commit_weights
from mlgit.porcelain.diversity import diversity
from mlgit.porcelain.evaluate import evaluate
from mlgit.porcelain.lmc import lmc, plot
from mlgit.porcelain.log import log
from mlgit.porcelain.open_model import open_named_task, open_network
from mlgit.porcelain.pool import Pool, open_pool
from mlgit.porcelain.probe import probe
from mlgit.porcelain.report_pool import ReportPool, open_report
from mlgit.porcelain.show import show
from mlgit.porcelain.switch import switch
from mlgit.repository import Repository
from mlgit.tasks.split import DomainData
from mlgit.weights.stored import load

Fingerprint = Callable[[Path], dict[str, str]]
CERTIFICATE = """\
name = "rotate"
task = "digit"
split = "test"
judge = "point"
[[threshold]]
metric = "accuracy"
domain = "rotate"
at_least = {limit}
"""


@pytest.fixture
def repo(day: Path) -> Repository:
    return Repository(day)


def weights_of(repo: Repository, revision: str) -> dict[str, torch.Tensor]:
    return load(repo.objects, repo.manifest_of(repo.resolve(revision)))


def outputs(repo: Repository, weights: dict[str, torch.Tensor], domain: DomainData) -> torch.Tensor:
    network = open_network(repo, repo.manifest_of(repo.resolve("digit/0")))
    network.load(weights).eval()
    with torch.no_grad():
        found: torch.Tensor = network(domain.images(torch.arange(len(domain))))
    return found


def right(repo: Repository, weights: dict[str, torch.Tensor], split: str = "validation") -> torch.Tensor:
    task = open_named_task(repo, "digit")
    domains = (task.validation() if split == "validation" else task.test()).domains
    return torch.cat([outputs(repo, weights, each).argmax(1) == each.labels for each in domains])


def certificate(repo: Repository, limit: float = 0.5, text: str = CERTIFICATE) -> Path:
    path = repo.root.parent / "certificate.toml"
    path.write_text(text.format(limit=limit))
    return path


@pytest.mark.parametrize("split", ["validation", "test"])
def test_accuracy_is_that_of_plain_torch(repo: Repository, split: str) -> None:
    found = evaluate(repo, ["digit/*"], task="digit", split=split)
    assert len(found.scores) == 3
    for commit_id, score in found.scores.items():
        expected = right(repo, weights_of(repo, commit_id), split)
        assert torch.equal(score.correct, expected)
        assert score.accuracy == pytest.approx(expected.double().mean().item())


def test_an_ensemble_is_the_mean_of_probabilities(repo: Repository) -> None:
    found = evaluate(repo, ["digit/0", "digit/1"], task="digit", split="test", together=True).ensemble
    domain = open_named_task(repo, "digit").test().domains[0]
    mean = sum(outputs(repo, weights_of(repo, name), domain).softmax(1) for name in ("digit/0", "digit/1"))
    assert isinstance(mean, torch.Tensor)
    assert found is not None
    assert found.accuracy == pytest.approx((mean.argmax(1) == domain.labels).double().mean().item())


def test_a_models_recorded_metric_is_what_evaluation_finds(repo: Repository) -> None:
    commit_id = repo.resolve("digit/1")
    recorded = repo.commit_of(commit_id).metrics
    score = evaluate(repo, ["digit/1"], task="digit").scores[commit_id]
    assert score.accuracy == pytest.approx(recorded["id_accuracy_micro"])
    assert score.macro == pytest.approx(recorded["id_accuracy"])


def test_models_with_other_classes_than_the_task_are_not_judged_by_it(repo: Repository) -> None:
    for revision, task in (("digit/0", "parity"), ("aux/parity", "digit")):
        for judge in (
            lambda r=revision, t=task: evaluate(repo, [r], task=t),
            lambda r=revision, t=task: diversity(repo, [r, r + "~1"], task=t),
            lambda r=revision, t=task: lmc(repo, [r, r + "~1"], task=t),
        ):
            with pytest.raises(InvalidInputError):
                judge()
    text = (
        CERTIFICATE.replace('"digit"', '"parity"').replace('"test"', '"validation"').replace('domain = "rotate"\n', "")
    )
    with pytest.raises(InvalidInputError) as caught:
        certify(repo, "digit/0", certificate(repo, text=text))
    assert caught.value.kind == "class-count"


def test_the_path_between_two_models_is_that_of_plain_torch(repo: Repository) -> None:
    curve = lmc(repo, ["digit/0", "digit/1"], task="digit")
    a, b = weights_of(repo, "digit/0"), weights_of(repo, "digit/1")
    ends = [right(repo, each).double().mean().item() for each in (a, b)]
    assert [point.lam for point in curve.points] == pytest.approx([step / 10 for step in range(11)])
    for point in curve.points:
        weights = {
            name: ((1 - point.lam) * value.double() + point.lam * b[name].double()).to(value.dtype)
            if value.is_floating_point()
            else value
            for name, value in a.items()
        }
        accuracy = right(repo, weights).double().mean().item()
        chord = (1 - point.lam) * ends[0] + point.lam * ends[1]
        assert point.accuracy == pytest.approx(accuracy, abs=1 / 165)
        assert point.gap == pytest.approx(point.accuracy - chord, abs=1e-9)


def test_a_path_backwards_is_the_same_path(repo: Repository) -> None:
    there, back = (lmc(repo, names, task="digit") for names in (["digit/0", "digit/2"], ["digit/2", "digit/0"]))
    assert [point.accuracy for point in there.points] == [point.accuracy for point in reversed(back.points)]
    assert there.verdict == back.verdict


def test_a_path_of_three_begins_at_the_mean_of_the_first_two(repo: Repository) -> None:
    curve = lmc(repo, ["digit/0", "digit/1", "digit/2"], task="digit", grid="chord")
    a, b, c = (weights_of(repo, name) for name in ("digit/0", "digit/1", "digit/2"))
    mean = {
        name: ((value.double() + b[name].double()) / 2).to(value.dtype) if value.is_floating_point() else value
        for name, value in a.items()
    }
    assert curve.points[0].accuracy == pytest.approx(right(repo, mean).double().mean().item(), abs=1 / 165)
    assert curve.points[-1].accuracy == pytest.approx(right(repo, c).double().mean().item())


def test_featurizers_of_different_tasks_are_compared_under_the_probe(repo: Repository) -> None:
    curve = lmc(repo, ["main", "aux/parity"], task="digit", featurizers_only=True, grid="chord")
    assert curve.points[0].accuracy > 0.5


@pytest.mark.parametrize(
    ("revisions", "arguments", "error"),
    [
        (["digit/0"], {}, InvalidInputError),
        (["digit/0", "digit/0"], {}, InvalidInputError),
        (["digit/0", "digit/1", "digit/2", "main"], {}, InvalidInputError),
        (["digit/0", "digit/1"], {"grid": "half"}, InvalidInputError),
        (["digit/0", "nowhere"], {}, NotFoundError),
        (["digit/0", "digit/1"], {"task": "nothing"}, NotFoundError),
    ],
)
def test_a_path_that_cannot_be_measured_is_refused(
    repo: Repository, revisions: list[str], arguments: dict[str, str], error: type[MlgitError]
) -> None:
    with pytest.raises(error):
        lmc(repo, revisions, **{"task": "digit", **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "magic"), [("curve.png", b"\x89PNG"), ("curve.svg", b"<?xml")])
def test_a_curve_is_drawn(repo: Repository, tmp_path: Path, name: str, magic: bytes) -> None:
    plot(lmc(repo, ["digit/0", "digit/1"], task="digit", grid="chord"), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(magic)


def test_diversity_counts_who_is_right_where(repo: Repository) -> None:
    found = diversity(repo, ["digit/0", "stranger"], task="digit", split="test")
    one, other = (right(repo, weights_of(repo, name), "test") for name in ("digit/0", "stranger"))
    pair = found.pairs[0]
    if pair.labels[0] != repo.resolve("digit/0"):
        one, other = other, one
    both, neither = int((one & other).sum()), int((~one & ~other).sum())
    first, second = int((one & ~other).sum()), int((~one & other).sum())
    assert (pair.n11, pair.n10, pair.n01, pair.n00) == (both, first, second, neither)
    q = (both * neither - first * second) / (both * neither + first * second)
    assert pair.q == pytest.approx(1 - q)
    assert pair.r == pytest.approx((first + second) / neither)


def test_diversity_needs_two_models(repo: Repository) -> None:
    with pytest.raises(InvalidInputError, match="1 given"):
        diversity(repo, ["digit/0"], task="digit")


def test_splits_that_do_not_exist_are_refused(repo: Repository) -> None:
    with pytest.raises(InvalidInputError, match="no split is named 'tset'"):
        evaluate(repo, ["digit/0"], task="digit", split="tset")
    with pytest.raises(InvalidInputError, match="no test domain"):
        evaluate(repo, ["aux/parity"], task="parity", split="test")


@pytest.mark.parametrize(("limit", "passed"), [(0.05, True), (1.0, False)])
def test_a_verdict_is_stored_shown_and_travels_with_a_clone(
    repo: Repository, tmp_path: Path, limit: float, passed: bool
) -> None:
    found = certify(repo, "digit/0", certificate(repo, limit))
    expected = right(repo, weights_of(repo, "digit/0"), "test").double().mean().item()
    check = found.result.checks[0]
    assert (found.result.passed, check.value) == (passed, pytest.approx(expected))
    assert check.low <= check.value <= check.high
    copy = clone(repo.root, tmp_path / "copy").repository
    for place, name in ((repo, "digit/0"), (copy, "origin/digit/0")):
        assert [result.passed for result in log(place, [name], limit=1).entries[0].certificates] == [passed]
        assert [result.id for result in show(place, name).entry.certificates] == [found.id]


def test_certifying_again_replaces_the_result_of_the_same_certificate(repo: Repository) -> None:
    for _ in range(2):
        certify(repo, "digit/0", certificate(repo))
    certify(repo, "digit/0", certificate(repo, 0.9999))
    results = show(repo, "digit/0").entry.certificates
    assert sorted(result.checks[0].threshold for result in results) == [0.5, 0.9999]


def test_certifying_moves_no_branch(repo: Repository) -> None:
    before = repo.branches(), repo.refs.head()
    certify(repo, "digit/0", certificate(repo))
    assert (repo.branches(), repo.refs.head()) == before


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ('task = "digit"', 'task = "nothing"', NotFoundError),
        ('metric = "accuracy"', 'metric = "acuracy"', NotFoundError),
        ('domain = "rotate"', 'domain = "moon"', NotFoundError),
        ('split = "test"', 'split = "train"', InvalidInputError),
        ('name = "rotate"', 'name = "../rotate"', InvalidInputError),
        ('name = "rotate"', 'name = "a\\u001b[2J"', InvalidInputError),
        ('name = "rotate"', 'name = "\\u202eetator"', InvalidInputError),
        ('task = "digit"', 'task = "digit"\ntask_digest = "' + "0" * 64 + '"', InvalidInputError),
        ("at_least = {limit}", "at_least = 7", InvalidInputError),
        ("at_least = {limit}", "", InvalidInputError),
    ],
)
def test_a_certificate_that_cannot_be_used_leaves_nothing(
    repo: Repository, fingerprint: Fingerprint, old: str, new: str, error: type[MlgitError]
) -> None:
    assert old in CERTIFICATE
    path = certificate(repo, text=CERTIFICATE.replace(old, new))
    before = fingerprint(repo.root)
    with pytest.raises(error):
        certify(repo, "digit/0", path)
    assert fingerprint(repo.root) == before


def test_a_model_whose_output_is_not_finite_reaches_no_certificate(repo: Repository, fingerprint: Fingerprint) -> None:
    switch(repo, "broken", create=True, start="digit/0")
    weights = weights_of(repo, "HEAD")
    weights["classifier.bias"] = torch.full_like(weights["classifier.bias"], float("nan"))
    commit_weights(repo, weights, "broken")
    before = fingerprint(repo.root)
    with pytest.raises(CheckFailedError, match="NaN or infinite"):
        certify(repo, "broken", certificate(repo))
    assert fingerprint(repo.root) == before


def test_a_path_on_the_test_domain_is_that_of_plain_torch_and_says_so(repo: Repository) -> None:
    curve = lmc(repo, ["digit/0", "digit/1"], task="digit", split="test", grid="chord")
    ends = [right(repo, weights_of(repo, name), "test").double().mean().item() for name in ("digit/0", "digit/1")]
    assert (curve.points[0].accuracy, curve.points[-1].accuracy) == pytest.approx(tuple(ends))
    assert curve.examples == len(right(repo, weights_of(repo, "digit/0"), "test"))
    assert (curve.split, curve.to_json()["split"]) == ("test", "test")
    ours = lmc(repo, ["digit/0", "digit/1"], task="digit", grid="chord")
    assert (ours.split, ours.to_json()["split"]) == ("validation", "validation")
    assert [point.accuracy for point in ours.points] != [point.accuracy for point in curve.points]


def test_featurizers_are_compared_on_the_test_domain(repo: Repository) -> None:
    curve = lmc(repo, ["main", "aux/parity"], task="digit", featurizers_only=True, grid="chord", split="test")
    network = right(repo, weights_of(repo, probe(repo, "digit", start="main").id), "test")
    ends = dict(zip(curve.labels, (curve.points[0], curve.points[-1]), strict=True))
    assert ends[repo.resolve("main")].accuracy == pytest.approx(network.double().mean().item())


@pytest.mark.parametrize("split", ["unseen", "training", ""])
def test_a_path_is_measured_on_no_other_split(repo: Repository, split: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        lmc(repo, ["digit/0", "digit/1"], task="digit", split=split)
    assert caught.value.kind == "unknown-split"


def test_a_path_on_the_test_domain_needs_one(repo: Repository) -> None:
    with pytest.raises(InvalidInputError):
        lmc(repo, ["aux/parity", "aux/parity~1"], task="parity", split="test")


def test_nothing_that_selects_can_be_given_the_test_domain(repo: Repository) -> None:
    pool = open_pool(repo, sorted(map(repo.resolve, ("digit/0", "digit/1"))), task="digit")
    assert "split" not in inspect.signature(open_pool).parameters
    assert isinstance(pool, Pool)
    assert not issubclass(ReportPool, Pool)
    report = open_report(repo, pool.ids, task="digit", split="test")
    assert isinstance(report, ReportPool)
    with pytest.raises(InvalidInputError, match="selection was handed a TestSplit"):
        selection_evaluator(
            open_network(repo, pool.manifests[0]),
            open_named_task(repo, "digit").test(),  # type: ignore[arg-type]  # on purpose
            torch.device("cpu"),
        )
