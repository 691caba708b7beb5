"""``mlgit demo``: the whole day on real handwritten digits, in a repository to play with afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlgit.errors import AlreadyExistsError, CheckFailedError
from mlgit.evaluation.score import Score
from mlgit.fileio import write_file
from mlgit.models.device import threads
from mlgit.objects import CertificateResult, CommitId, JsonValue, Stage
from mlgit.porcelain.actor import ANYONE, Actor
from mlgit.porcelain.certify import certify
from mlgit.porcelain.commit import commit
from mlgit.porcelain.evaluate import evaluate
from mlgit.porcelain.import_ import ImportOptions, import_model
from mlgit.porcelain.init import init
from mlgit.porcelain.merge import MergeOptions, merge
from mlgit.porcelain.repository_size import RepositorySize, repository_size
from mlgit.porcelain.switch import switch
from mlgit.porcelain.tag import create_tag
from mlgit.porcelain.task import add_task
from mlgit.porcelain.train import TrainOptions, fitted_hyper, train
from mlgit.progress import NoProgress, Progress
from mlgit.repository import Repository
from mlgit.tasks.definition import TaskDefinition
from mlgit.tasks.kinds import open_task
from mlgit.training.draws import draw
from mlgit.training.hyper import HyperParameters

MODEL = "mlgit:digits-cnn"
TARGET = "digit"
TEST_DOMAIN = "rotate"
CERTIFICATE = "certificates/digit-rotate.toml"
TASKS: Mapping[str, Mapping[str, JsonValue]] = {
    "basics": {"labels": "digit", "part": "pretrain"},
    "parity": {"labels": "parity", "part": "auxiliary"},
    "large": {"labels": "large", "part": "auxiliary"},
    TARGET: {"labels": "digit", "part": "target"},
}
"""Pretraining, two auxiliary tasks and the target; the three parts share no image."""

PRETRAINING = HyperParameters(lr=1e-3, weight_decay=1e-4, steps=300, eval_every=50)
AUXILIARY = HyperParameters(lr=5e-4, steps=150, eval_every=50)
LR_SCALE = 20
"""The paper's mild rates fit ResNet-50 and 5,000 steps; this network has 200 steps and takes rates 20 times that."""

CERTIFICATE_TEXT = f"""\
# What a model for the shifted digits must reach; run it with
#   mlgit certify HEAD --certificate {CERTIFICATE}
name = "digit-rotate"
issuer = "mlgit demo"
task = "{TARGET}"
split = "test"
judge = "lower-bound"
confidence = 0.95

[[threshold]]
metric = "accuracy"
domain = "{TEST_DOMAIN}"
at_least = 0.5

[[threshold]]
metric = "worst-domain-accuracy"
at_least = 0.5

[[threshold]]
metric = "calibration-error"
at_most = 0.25
"""


@dataclass(frozen=True, slots=True)
class DemoRow:
    """One line of the table.

    Attributes:
        name: What was evaluated.
        models: How many models stand behind it.
        in_domain: Accuracy on ID validation: all examples of the training domains' validation parts.
        out_of_domain: Accuracy on the test domain.
    """

    name: str
    models: int
    in_domain: float
    out_of_domain: float


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the day brought.

    Attributes:
        repository: Where it all lies.
        rows: Single best, ensemble, uniform and greedy.
        refused: What was said of the merge of two models that share no initialisation.
        certificate: What the certificate said of the greedy merge.
        size: Bytes on disk against the checkpoints.
    """

    repository: Repository
    rows: tuple[DemoRow, ...]
    refused: str | None
    certificate: CertificateResult
    size: RepositorySize


Say = Callable[[str], None]


def _unheard(text: str) -> None:
    """Take a line that nobody wants."""
    del text


def demo(
    directory: Path,
    *,
    say: Say | None = None,
    author: Callable[[Repository], Actor] | None = None,
    progress: Progress | None = None,
    user_settings: Path | None = None,
) -> DemoResult:
    """Pretrain, fine-tune, merge and certify on scikit-learn's digits; nothing is downloaded.

    Args:
        directory: A new or empty directory; it stays, as a normal repository.
        say: Is told each step in a line, as the command a user would type.
        author: Says who acts in the new repository, and when.
        progress: Is told of steps.
        user_settings: The user's own settings file.

    Returns:
        What was measured, whatever it is.

    Raises:
        AlreadyExistsError: The directory is not empty.
        InvalidInputError: scikit-learn is not installed.
    """
    if directory.exists() and any(directory.iterdir()):
        raise AlreadyExistsError(
            f"'{directory}' is not empty", kind="path-exists", hint="name a new directory: `mlgit demo DIR`"
        )
    open_task(TaskDefinition(name=TARGET, kind="digits"))  # without the data there is nothing to begin
    repository = init(directory, user_settings=user_settings).repository
    actor = ANYONE if author is None else author(repository)
    day = _Day(repository, say or _unheard, actor, progress or NoProgress())
    day.say(f"mlgit init {directory.name} && cd {directory.name}")
    with threads(1):
        day.define()
        day.pretrain()
        targets = day.fine_tune()
        uniform = day.merge("uniform")
        greedy = day.merge("greedy")
        refused = day.refuse()
        certificate = day.certify()
        rows = day.table(targets, uniform, greedy)
    return DemoResult(day.repository, rows, refused, certificate, repository_size(day.repository))


class _Day:
    """The steps, in a repository."""

    def __init__(self, repository: Repository, say: Say, actor: Actor, progress: Progress) -> None:
        self.repository = repository
        self.say = say
        self.actor = actor
        self.progress = progress

    def define(self) -> None:
        """Add the tasks, the certificate and an untrained network."""
        for name, options in TASKS.items():
            test_domain = TEST_DOMAIN if name == TARGET else None
            words = " ".join(f"--set {key}={value}" for key, value in options.items())
            held_out = f" --test-domain {test_domain}" if test_domain else ""
            self.say(f"mlgit task add {name} --kind digits {words}{held_out}")
            add_task(self.repository, name, kind="digits", test_domain=test_domain, options=options)
        (self.repository.root / CERTIFICATE).parent.mkdir()
        write_file(self.repository.root / CERTIFICATE, CERTIFICATE_TEXT.encode())
        self.say(f'mlgit import {MODEL} -m "untrained network"')
        import_model(self.repository, MODEL, "untrained network", actor=self.actor)

    def pretrain(self) -> None:
        """Make the pretrained commit, two auxiliary ones and a fused initialisation."""
        self.run("basics", PRETRAINING, 0, "pretrain on plain digits", stage=Stage.PRETRAIN)
        create_tag(self.repository, "pretrained", actor=self.actor)
        for name in ("parity", "large"):
            self.go(f"aux/{name}", "main")
            self.run(name, AUXILIARY, 0, f"auxiliary task {name}")
        self.go("aux/fused", "main")
        options = MergeOptions(strategy="fusing", parameters={"seed": 0})
        self.say('mlgit merge main aux/parity aux/large --strategy fusing --task digit -m "fused initialisation"')
        names = ["main", "aux/parity", "aux/large"]
        merge(self.repository, names, "fused initialisation", task=TARGET, options=options, actor=self.actor)

    def fine_tune(self) -> list[str]:
        """Make eight target commits: two draws of hyper-parameters from each of four initialisations."""
        starts = ["main", "aux/parity", "aux/large", "aux/fused"]
        branches = []
        for number in range(2 * len(starts)):
            branches.append(f"{TARGET}/{number}")
            self.go(branches[-1], starts[number % len(starts)])
            self.run(TARGET, target_hyper(number), number, f"fine-tune on {TARGET}, draw {number}")
        return branches

    def merge(self, strategy: str) -> str:
        """Average the eight, with every path between them checked."""
        self.go(f"soup/{strategy}", "main")
        self.say(f"mlgit merge '{TARGET}/*' --strategy {strategy} --task {TARGET} --lmc chord -m \"{strategy} soup\"")
        options = MergeOptions(strategy=strategy, lmc="chord")
        merge(
            self.repository,
            [f"{TARGET}/*"],
            f"{strategy} soup",
            task=TARGET,
            options=options,
            actor=self.actor,
            progress=self.progress,
        )
        return f"soup/{strategy}"

    def refuse(self) -> str | None:
        """Train another network from other random weights and try to average it with one of the eight."""
        self.go("other", "main")
        self.say(f'mlgit import {MODEL} --seed 1 -m "another untrained network"')
        other = ImportOptions(seed=1)
        import_model(self.repository, MODEL, "another untrained network", options=other, actor=self.actor)
        self.run("basics", PRETRAINING, 1, "pretrain the other network", stage=Stage.PRETRAIN)
        self.run(TARGET, target_hyper(0), 0, f"fine-tune the other network on {TARGET}")
        self.say(f'mlgit merge other {TARGET}/0 --task {TARGET} -m "two strangers"')
        try:
            merge(self.repository, ["other", f"{TARGET}/0"], "two strangers", task=TARGET, actor=self.actor)
        except CheckFailedError as error:
            return error.message
        return None

    def certify(self) -> CertificateResult:
        """Judge the greedy merge and bring it to main."""
        self.go("soup/greedy")
        self.say(f"mlgit certify soup/greedy --certificate {CERTIFICATE}")
        return certify(self.repository, "soup/greedy", self.repository.root / CERTIFICATE, actor=self.actor).result

    def table(self, targets: list[str], uniform: str, greedy: str) -> tuple[DemoRow, ...]:
        """Evaluate on ID validation and, now that nothing is selected any more, on the test domain."""
        scores: dict[str, dict[CommitId, Score]] = {}
        together: dict[str, Score | None] = {}
        for split in ("validation", "test"):
            found = evaluate(
                self.repository, [*targets, uniform, greedy], task=TARGET, split=split, progress=self.progress
            )
            scores[split] = found.scores
            together[split] = evaluate(self.repository, targets, task=TARGET, split=split, together=True).ensemble
        ids = [self.repository.resolve(name) for name in targets]
        best = max(ids, key=lambda commit_id: self.repository.commit_of(commit_id).metrics["id_accuracy"])

        def row(name: str, models: int, commit_id: CommitId) -> DemoRow:
            return DemoRow(name, models, scores["validation"][commit_id].accuracy, scores["test"][commit_id].accuracy)

        rows = [row("single best by ID validation", 1, best)]
        inside, outside = together["validation"], together["test"]
        if inside is not None and outside is not None:
            rows.append(DemoRow("ensemble of all", len(ids), inside.accuracy, outside.accuracy))
        rows.append(row("uniform merge", len(ids), self.repository.resolve(uniform)))
        greedy_id = self.repository.resolve(greedy)
        members = sum(parent.coefficient is not None for parent in self.repository.commit_of(greedy_id).parents)
        return (*rows, row("greedy merge", members, greedy_id))

    def go(self, branch: str, start: str | None = None) -> None:
        """Switch to a branch, creating it when ``start`` is given."""
        self.say(f"mlgit switch -c {branch} {start}" if start else f"mlgit switch {branch}")
        switch(self.repository, branch, create=start is not None, start=start, actor=self.actor)

    def run(self, task: str, hyper: HyperParameters, seed: int, message: str, stage: Stage | None = None) -> None:
        """Train on a task and commit."""
        words = f"{hyper_words(hyper)} --seed {seed}" + (f" --stage {stage}" if stage else "")
        self.say(f'mlgit commit --task {task} --train {words} -m "{message}"')
        options = TrainOptions(hyper=hyper, seed=seed, stage=stage)
        train(self.repository, task, options=options, actor=self.actor, progress=self.progress)
        commit(self.repository, message, task=task, actor=self.actor)


def hyper_words(hyper: HyperParameters) -> str:
    """Return the options that ask ``mlgit train`` for these hyper-parameters; what it would choose is left out."""
    given = {"lr": hyper.lr, "steps": hyper.steps}
    usual = fitted_hyper(given)
    names = ("batch_per_domain", "dropout", "weight_decay", "eval_every", "freeze_steps")
    given |= {name: getattr(hyper, name) for name in names if getattr(hyper, name) != getattr(usual, name)}
    options = {"batch_per_domain": "batch-size"}
    return " ".join(f"--{options.get(name, name.replace('_', '-'))} {value:g}" for name, value in given.items())


def target_hyper(number: int) -> HyperParameters:
    """Return the hyper-parameters of one target run: the paper's mild draws, with rates that fit this network."""
    drawn = draw("mild", number)
    rate = round(drawn.lr * LR_SCALE, 6)
    return drawn.with_overrides({"lr": rate, "steps": 200, "eval_every": 25, "freeze_steps": 40})
