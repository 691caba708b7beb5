"""Figures on the real digits: their numbers against averages and accuracies computed by plain torch."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from mlgit.errors import InvalidInputError, NotFoundError
from mlgit.evaluation import evaluator as module
from mlgit.models.factories import build
from mlgit.objects import CommitId
from mlgit.porcelain.open_model import open_named_task
from mlgit.porcelain.predictions import forget_predictions
from mlgit.porcelain.probe import pretrained_commit, probe_ref
from mlgit.porcelain.recipe_figures import NAMES, NUMBERS, RecipeFigures, recipe_figures
from mlgit.porcelain.recipe_results import study_folder, write_study
from mlgit.porcelain.task import add_task
from mlgit.porcelain.train import TrainOptions
from mlgit.porcelain.train_onto import train_onto
from mlgit.recipes.recipe import Selection
from mlgit.recipes.results import Accuracy, Auxiliary, Outcome, Run, Study
from mlgit.repository import Repository
from mlgit.tasks.split import DomainData
from mlgit.training.hyper import HyperParameters
from mlgit.weights.stored import load

Weights = dict[str, torch.Tensor]
HYPER = HyperParameters(lr=1e-3, batch_per_domain=4, steps=6, eval_every=3, freeze_steps=2)


def a_run(repository: Repository, number: int, branch: str, start: str | None) -> Run:
    commit = repository.resolve(branch)
    return Run(number=number, trial=0, branch=branch, commit=commit, start=start, id_accuracy=0.5, test=Accuracy(1, 2))


def an_outcome(recipe: str, runs: Sequence[Run], commit: CommitId | None = None) -> Outcome:
    return Outcome(
        recipe=recipe,
        selection=Selection.UNIFORM if runs else Selection.BEST,
        trial=0,
        candidates=tuple(runs),
        members={},
        commit=commit,
        branch=None,
        id_accuracy=0.5,
        test=Accuracy(1, 2),
    )


@dataclass(frozen=True)
class Prepared:
    """A repository with a study, and its figures; nobody changes them."""

    root: Path
    study: Study
    drawn: RecipeFigures


@pytest.fixture(scope="module")
def prepared(trained_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Three plain runs; one from the pretrained featurizer that is shared, and two from auxiliary tasks."""
    root = tmp_path_factory.mktemp("figures") / "day"
    shutil.copytree(trained_once, root)
    repository = Repository(root)
    forget_predictions(repository)
    add_task(repository, "large", kind="digits", options={"labels": "large", "part": "auxiliary"})
    for task, branch, start, seed in (
        ("large", "aux/large", "main", 0),
        ("digit", "inter/2", "aux/large", 2),
        ("digit", "plain/2", "main", 2),
    ):
        train_onto(repository, task, branch, start=start, options=TrainOptions(hyper=HYPER, seed=seed))
    digit = open_named_task(repository, "digit")
    probe = repository.refs.read(probe_ref(digit, pretrained_commit(repository, repository.resolve("main")), 0))
    assert probe is not None
    plain = [a_run(repository, number, name, None) for number, name in enumerate(("digit/0", "digit/1", "plain/2"))]
    inter = [plain[0], a_run(repository, 1, "digit/2", "parity"), a_run(repository, 2, "inter/2", "large")]
    study = Study(
        task="digit",
        domain="rotate",
        name="main",
        outcomes=(
            an_outcome("probe", (), CommitId(probe)),
            an_outcome("soup", plain),
            an_outcome("ratatouille", inter),
        ),
        auxiliaries=tuple(
            Auxiliary(task=name, number=0, commit=repository.resolve(f"aux/{name}")) for name in ("large", "parity")
        ),
    )
    keep(repository, study)
    drawn = recipe_figures(repository, task="digit@rotate", folder=root.parent / "a" / "b")
    return Prepared(root, study, drawn)


@pytest.fixture
def repository(prepared: Prepared, tmp_path: Path) -> Repository:
    shutil.copytree(prepared.root, tmp_path / "day")
    return Repository(tmp_path / "day")


@pytest.fixture
def study(prepared: Prepared) -> Study:
    return prepared.study


@pytest.fixture
def drawn(prepared: Prepared) -> RecipeFigures:
    return prepared.drawn


def keep(repository: Repository, study: Study) -> None:
    folder = study_folder(repository, study.task, study.domain, study.name)
    folder.mkdir(parents=True, exist_ok=True)
    write_study(folder, study)


@dataclass
class Oracle:
    """Averages and accuracies by plain torch."""

    repository: Repository

    def __post_init__(self) -> None:
        self.head = self.repository.manifest_of(self.repository.resolve("main")).head
        task = open_named_task(self.repository, "digit")
        self.test = list(task.test().domains)
        self.validation = list(task.validation(0).domains)

    def weights(self, commit: str) -> Weights:
        return dict(load(self.repository.objects, self.repository.manifest_of(CommitId(commit))))

    def mean(self, commits: Sequence[str], shares: Sequence[float] | None = None) -> Weights:
        models = [self.weights(commit) for commit in commits]
        coefficients = shares or [1 / len(models)] * len(models)
        return {
            name: sum(c * model[name].double() for c, model in zip(coefficients, models, strict=True)).to(first.dtype)  # type: ignore[union-attr]
            if first.is_floating_point()
            else first
            for name, first in models[0].items()
        }

    def probabilities(self, weights: Weights, domains: Sequence[DomainData]) -> list[torch.Tensor]:
        network = build("mlgit:digits-cnn", num_classes=10)
        network.load_state_dict(weights)
        network.eval()
        with torch.no_grad():
            return [network(each.images(torch.arange(len(each)))).softmax(1) for each in domains]

    def right(self, probabilities: Sequence[torch.Tensor], domains: Sequence[DomainData]) -> list[torch.Tensor]:
        return [p.argmax(1) == d.labels for p, d in zip(probabilities, domains, strict=True)]

    def correct(self, weights: Weights, where: str) -> list[torch.Tensor]:
        domains = self.test if where == "test" else self.validation
        return self.right(self.probabilities(weights, domains), domains)

    def accuracy(self, weights: Weights, where: str) -> float:
        return sum(float(part.float().mean()) for part in self.correct(weights, where)) / len(
            self.test if where == "test" else self.validation
        )


@pytest.fixture
def oracle(repository: Repository) -> Oracle:
    return Oracle(repository)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grow whenever weights are passed through a network."""
    counted: list[int] = []
    real = module.predict

    def counting(forward: Callable, domains: list) -> object:
        counted.append(len(domains))
        return real(forward, domains)

    monkeypatch.setattr(module, "predict", counting)
    return counted


def numbers(found: RecipeFigures, name: str) -> dict:
    document = json.loads((found.folder / NUMBERS).read_text())
    (figure,) = [each for each in document["figures"] if each["name"] == name]
    return figure


PLACES = ("test", "validation")


def test_all_figures_are_drawn_and_every_number_is_beside_them(drawn: RecipeFigures) -> None:
    assert [figure.name for figure in drawn.figures] == list(NAMES)
    assert drawn.skipped == {}
    assert sorted(path.name for path in drawn.folder.iterdir()) == sorted([NUMBERS, *(f"{name}.svg" for name in NAMES)])
    for path in drawn.files.values():
        assert ET.fromstring(path.read_text("utf-8")).tag.endswith("svg")  # noqa: S314 - written by the test
    document = json.loads((drawn.folder / NUMBERS).read_text())
    assert document == drawn.to_json()
    assert (document["task"], document["domain"], document["name"], document["trial"]) == ("digit", "rotate", "main", 0)


def test_a_second_call_computes_nothing_and_draws_the_same(
    repository: Repository, drawn: RecipeFigures, passes: list[int], tmp_path: Path
) -> None:
    assert drawn.computed > 0
    again = recipe_figures(repository, task="digit", folder=tmp_path / "again")
    assert (passes, again.computed) == ([], 0)
    for path in drawn.folder.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()
    as_png = recipe_figures(repository, task="digit", folder=tmp_path / "png", image_format="png", only=["runs"])
    assert as_png.files["runs"].read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert [figure.name for figure in as_png.figures] == ["runs"]
    assert passes == []


def test_paths_between_featurizers_have_the_head_of_the_probe(
    study: Study, drawn: RecipeFigures, oracle: Oracle
) -> None:
    curves = numbers(drawn, "lmc-auxiliary")["facts"]["curves"]
    assert [(each["names"], each["split"]) for each in curves] == [
        (names, where)
        for names in (["large", "parity"], ["large", "pretrained"], ["parity", "pretrained"])
        for where in PLACES
    ]
    probe = oracle.weights(str(study.outcomes[0].commit))
    large = oracle.weights(study.auxiliaries[0].commit)
    head = {name for name in probe if name.rpartition(".")[0] == oracle.head}
    assert len(head) == 2
    for curve in curves[2:4]:
        for point in curve["points"]:
            share = point["lambda"]
            mixed = {
                name: tensor
                if name in head or not tensor.is_floating_point()
                else ((1 - share) * large[name].double() + share * tensor.double()).float()
                for name, tensor in probe.items()
            }
            correct = torch.cat(oracle.correct(mixed, curve["split"]))
            assert point["accuracy"] == pytest.approx(float(correct.float().mean()), abs=1e-6)
        assert len(curve["points"]) == 11


def test_paths_between_target_runs_join_different_starts(study: Study, drawn: RecipeFigures, oracle: Oracle) -> None:
    figure = numbers(drawn, "lmc-target")
    curves = figure["facts"]["curves"]
    assert [each["names"] for each in curves[::2]] == [
        ["large", "parity"],
        ["large", "pretrained"],
        ["parity", "pretrained"],
    ]
    _, parity, large = (run.commit for run in study.outcomes[2].candidates)
    for where, panel in zip(PLACES, figure["panels"], strict=True):
        line, chord = panel["series"][:2]
        assert line["label"].endswith((": holds", ": undecided", ": violated"))
        for share, accuracy in list(zip(line["x"], line["y"], strict=True))[::5]:
            correct = torch.cat(oracle.correct(oracle.mean([large, parity], [1 - share, share]), where))
            assert accuracy == pytest.approx(float(correct.float().mean()), abs=1e-6)
        assert chord["y"][5] == pytest.approx((line["y"][0] + line["y"][-1]) / 2)


def test_fewer_paths_can_be_asked_for(repository: Repository, study: Study, tmp_path: Path) -> None:
    found = recipe_figures(repository, task="digit", folder=tmp_path / "one", most_paths=1, only=["lmc-target"])
    assert len(numbers(found, "lmc-target")["facts"]["curves"]) == 2


def test_pairs_have_diversity_and_the_gain_of_their_average(study: Study, drawn: RecipeFigures, oracle: Oracle) -> None:
    facts = numbers(drawn, "diversity-gain")["facts"]
    assert len(facts["pairs"]) == 10  # five runs: one stands in both families
    assert sum(pair["same_start"] for pair in facts["pairs"]) == 3
    for pair in facts["pairs"]:
        for where in PLACES:
            a, b = (torch.cat(oracle.correct(oracle.weights(each), where)) for each in pair["commits"])
            n11, n10, n01, n00 = (int((x & y).sum()) for x, y in ((a, b), (a, ~b), (~a, b), (~a, ~b)))
            same, apart = n11 * n00, n01 * n10
            expected = 1 - (same - apart) / (same + apart) if same + apart else None
            assert pair[where]["q_diversity"] == pytest.approx(expected)
            assert pair[where]["r_diversity"] == (pytest.approx((n01 + n10) / n00) if n00 else None)
            single = [oracle.accuracy(oracle.weights(each), where) for each in pair["commits"]]
            gain = oracle.accuracy(oracle.mean(pair["commits"]), where) - sum(single) / 2
            assert pair[where]["gain"] == pytest.approx(gain, abs=1e-6)
    same_q = [pair["test"]["q_diversity"] for pair in facts["pairs"] if pair["same_start"]]
    assert facts["mean_diversity"]["test"]["same_start"]["q"] == pytest.approx(sum(same_q) / len(same_q))
    scipy = pytest.importorskip("scipy.stats")
    q, gains = ([pair["test"][name] for pair in facts["pairs"]] for name in ("q_diversity", "gain"))
    assert facts["spearman"]["all"] == pytest.approx(scipy.spearmanr(q, gains).statistic)
    same, different = numbers(drawn, "diversity-gain")["panels"][0]["series"]
    assert f"mean q {facts['mean_diversity']['test']['same_start']['q']:.3f} on test" in same["label"]
    assert sorted(same["x"] + different["x"]) == pytest.approx(sorted(q))


def test_averages_and_ensembles_of_the_first_runs(study: Study, drawn: RecipeFigures, oracle: Oracle) -> None:
    for where, panel in zip(PLACES, numbers(drawn, "runs")["panels"], strict=True):
        domains = oracle.test if where == "test" else oracle.validation
        soup, soup_ensemble, ratatouille, _ = panel["series"]
        for series, outcome in ((soup, study.outcomes[1]), (ratatouille, study.outcomes[2])):
            ids = [run.commit for run in outcome.candidates]
            expected = [oracle.accuracy(oracle.mean(ids[:count]), where) for count in (1, 2, 3)]
            assert series["x"] == [1, 2, 3]
            assert series["y"] == pytest.approx(expected, abs=1e-6)
        each = [oracle.probabilities(oracle.weights(run.commit), domains) for run in study.outcomes[1].candidates]
        mean = [sum(parts) / 3 for parts in zip(*each, strict=True)]
        right = [float(part.float().mean()) for part in oracle.right(mean, domains)]
        assert soup_ensemble["y"][-1] == pytest.approx(sum(right) / len(right), abs=2e-3)


def test_more_auxiliary_tasks_and_a_larger_share_replace_plain_runs(
    study: Study, drawn: RecipeFigures, oracle: Oracle
) -> None:
    plain, inter = ([run.commit for run in study.outcomes[place].candidates] for place in (1, 2))
    expected = {
        "auxiliaries": [(0, plain), (1, [plain[0], plain[1], inter[2]]), (2, inter)],
        "mu": [(0, plain[:2]), (0.5, [inter[1], plain[0]]), (1, inter[1:])],
    }
    for name, steps in expected.items():
        for where, panel in zip(PLACES, numbers(drawn, name)["panels"], strict=True):
            (series,) = panel["series"]
            assert series["x"] == [x for x, _ in steps]
            accuracies = [oracle.accuracy(oracle.mean(ids), where) for _, ids in steps]
            assert series["y"] == pytest.approx(accuracies, abs=1e-6)


def test_what_cannot_be_drawn_is_skipped_with_a_word(repository: Repository, study: Study, tmp_path: Path) -> None:
    probe, soup, _ = study.outcomes
    keep(repository, replace(study, outcomes=(probe, soup), auxiliaries=()))
    found = recipe_figures(repository, task="digit", folder=tmp_path / "f")
    assert [figure.name for figure in found.figures] == ["diversity-gain", "runs"]
    assert set(found.skipped) == {"lmc-auxiliary", "lmc-target", "auxiliaries", "mu"}
    assert all(found.skipped.values())
    assert json.loads((found.folder / NUMBERS).read_text())["skipped"] == dict(found.skipped)


def test_a_probe_that_is_in_no_outcome_is_found_and_none_is_trained(
    repository: Repository, study: Study, tmp_path: Path
) -> None:
    keep(repository, replace(study, outcomes=study.outcomes[1:]))
    found = recipe_figures(repository, task="digit", folder=tmp_path / "f", only=["lmc-auxiliary"])
    assert [figure.name for figure in found.figures] == ["lmc-auxiliary"]
    name = probe_ref(open_named_task(repository, "digit"), pretrained_commit(repository, repository.resolve("main")), 0)
    known = repository.refs.read(name)
    repository.refs.update(
        name,
        None,
        expected=known,
        who=repository.identity,
        when=repository.commit_of(repository.resolve("main")).time,
        reason="test",
    )
    found = recipe_figures(repository, task="digit", folder=tmp_path / "f", only=["lmc-auxiliary"])
    assert "linear probe" in found.skipped["lmc-auxiliary"]


def test_averages_of_runs_with_different_statistics_have_them_measured_anew(
    repository: Repository, study: Study, tmp_path: Path, passes: list[int]
) -> None:
    from mlgit.porcelain.merge import MergeOptions, merge
    from mlgit.porcelain.switch import switch

    stranger = a_run(repository, 1, "stranger", None)
    pair = [study.outcomes[1].candidates[0], stranger]
    keep(repository, replace(study, outcomes=(an_outcome("soup", pair),)))
    found = recipe_figures(repository, task="digit", folder=tmp_path / "f", only=["runs"])
    switch(repository, "main")
    options = MergeOptions(force=True, lmc="off")
    merged = merge(repository, ["digit/0", "stranger"], "merge", task="digit", options=options).commit
    assert merged is not None
    on_validation = numbers(found, "runs")["panels"][1]["series"][0]["y"]
    assert on_validation[1] == pytest.approx(merged.metrics["id_accuracy"], abs=1e-9)
    passes.clear()
    recipe_figures(repository, task="digit", folder=tmp_path / "f", only=["runs"])
    assert passes == []


@pytest.mark.parametrize(
    ("options", "error", "kind"),
    [
        ({"only": ["rums"]}, InvalidInputError, "unknown-figure"),
        ({"image_format": "pdf"}, InvalidInputError, "bad-plot-format"),
        ({"most_paths": 0}, InvalidInputError, "bad-parameter"),
        ({"trial": 4}, NotFoundError, "no-recipe-results"),
        ({"name": "other"}, NotFoundError, "no-recipe-results"),
        ({"task": "digit@blur"}, NotFoundError, "no-recipe-results"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_written(
    repository: Repository, study: Study, tmp_path: Path, options: dict, error: type[Exception], kind: str
) -> None:
    with pytest.raises(error) as caught:
        recipe_figures(repository, **{"task": "digit", "folder": tmp_path / "f", **options})
    assert caught.value.kind == kind  # type: ignore[attr-defined]
    assert not (tmp_path / "f").exists()


def test_of_several_studies_one_has_to_be_named(repository: Repository, study: Study, tmp_path: Path) -> None:
    keep(repository, replace(study, name="second"))
    with pytest.raises(InvalidInputError, match="2 studies") as caught:
        recipe_figures(repository, task="digit", folder=tmp_path / "f")
    assert "--name second" in str(caught.value.hint)
    found = recipe_figures(repository, task="digit", folder=tmp_path / "f", name="second", only=["mu"])
    assert found.study.name == "second"
