"""The day of ``day.sh`` in Python: every verb of the command line is a method of ``Repository``.

Usage: ``python examples/day.py DIR``. DIR must not exist yet. Needs ``mlgit[demo]`` and no network.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from mlgit import Repository, clone
from mlgit.errors import CheckFailedError
from mlgit.objects import Stage
from mlgit.porcelain.import_ import ImportOptions
from mlgit.porcelain.train import TrainOptions, fitted_hyper

CERTIFICATE = """\
name = "rotated-digits"
task = "digit"
split = "test"

[[threshold]]
metric = "accuracy"
at_least = 0.5
"""


def fine_tune(repo: Repository, task: str, message: str, *, seed: int = 0, stage: Stage | None = None) -> str:
    """Train on a task from HEAD, commit, and return the new commit's id."""
    hyper = fitted_hyper({"lr": 1e-3, "steps": 120 if stage is Stage.PRETRAIN else 60})
    repo.train(task, options=TrainOptions(hyper=hyper, seed=seed, stage=stage))
    return repo.commit(task=task, message=message)


def define(repo: Repository) -> None:
    """Add three tasks that share no image; the rotated ones of ``digit`` are kept out of training and selection."""
    repo.add_task("basics", kind="digits", options={"labels": "digit", "part": "pretrain"})
    repo.add_task("parity", kind="digits", options={"labels": "parity", "part": "auxiliary"})
    repo.add_task("digit", kind="digits", test_domain="rotate", options={"labels": "digit", "part": "target"})


def grow(repo: Repository) -> None:
    """Pretrain, learn an auxiliary task, and fine-tune from both on the target task."""
    repo.import_model("mlgit:digits-cnn", "untrained network")
    fine_tune(repo, "basics", "pretrain on plain digits", stage=Stage.PRETRAIN)
    repo.tag("pretrained")
    repo.switch("aux/parity", create=True)
    fine_tune(repo, "parity", "auxiliary task parity")
    for number, start in enumerate(["main", "aux/parity"]):
        repo.switch(f"digit/{number}", create=True, start=start)
        fine_tune(repo, "digit", f"from {start}", seed=number)


def average(repo: Repository) -> None:
    """Merge the two, and fail to merge one with a model of other random weights."""
    path = repo.lmc("digit/0", "digit/1", task="digit")
    print(f"path between the two: {path.verdict.value}")
    repo.switch("soup", create=True, start="main")
    merged = repo.merge(["digit/*"], "soup of both", task="digit")
    print("soup:", {commit.short: coefficient for commit, coefficient in merged.members.items()})
    repo.switch("stranger", create=True, start="main")
    repo.import_model("mlgit:digits-cnn", options=ImportOptions(seed=1))
    fine_tune(repo, "digit", "a model with other random weights")
    try:
        repo.merge(["stranger", "digit/0"], "two strangers", task="digit")
    except CheckFailedError as error:
        print("refused:", error)
    else:
        raise SystemExit("the merge of two strangers should have been refused")


def judge(repo: Repository) -> None:
    """Look at the test domain for the first time: evaluate all, and certify the soup."""
    repo.switch("soup")
    scores = repo.evaluate("digit/*", "soup", task="digit", split="test", together=True)
    for commit, score in scores.scores.items():
        print(f"{commit.short} {score.accuracy:.1%} on the test domain")
    file = repo.root / "rotated.toml"
    file.write_text(CERTIFICATE)
    found = repo.certify("soup", file).result
    print(f"certificate {found.certificate}: {'passed' if found.passed else 'failed'}")
    repo.commit(message="keep the certificate beside the model")


def share(repo: Repository) -> None:
    """Clone, and use the weights like any state dict."""
    copy = clone(repo.root, repo.root.with_name(repo.root.name + "-copy"))
    weights, original = copy.load("soup"), repo.load("soup")
    print("the clone's weights are the same:", all(torch.equal(original[name], weights[name]) for name in original))
    half = {name: tensor / 2 if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    copy.commit(half, message="half of everything", made={"how": "by hand"})
    print("relative change:", {row.name: row.relative_l2 for row in copy.diff("HEAD~1", "HEAD").tensors[:2]})
    print("the clone is sound:", copy.fsck().sound)


def main() -> None:
    """Spend the day in the directory that the command line names."""
    torch.set_num_threads(1)
    repo = Repository.init(Path(sys.argv[1]))
    define(repo)
    grow(repo)
    average(repo)
    judge(repo)
    share(repo)
    for entry in repo.log(everything=True):
        print(entry.id.short, entry.commit.stage.value, entry.commit.subject)


if __name__ == "__main__":
    main()
