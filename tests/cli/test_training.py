"""`train`, `probe`, `commit --train`, `import` and `demo` as a user meets them."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from mlgit.porcelain import demo as day_of_demo
from mlgit.porcelain.train import fitted_hyper
from mlgit.tasks.kinds import digits
from mlgit.training.hyper import HyperParameters

Fingerprint = Callable[[Path], dict[str, str]]
SHORT = ["--steps", "2", "--eval-every", "1", "--lr", "1e-3"]


def test_a_run_and_its_commit(mlgit: Callable, day: Path) -> None:
    ran = mlgit("train", "--task", "digit", *SHORT, "--seed", "3")
    assert ran.exit_code == 0
    assert "2 steps on task 'digit'" in ran.stdout
    assert "mlgit commit --task digit" in ran.stderr
    assert "a run on task 'digit' waits" in mlgit("status").stdout
    assert mlgit("commit", "--task", "parity", "-m", "m").exit_code == 2
    assert mlgit("commit", "--task", "digit", "-m", "m").exit_code == 0
    made = json.loads(mlgit("show", "--json").stdout)["commit"]["made"]
    assert {"hyper_parameters", "seed", "data_digest", "packages", "device", "duration_s"} <= made.keys()
    assert made["seed"] == 3


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--task", "digits"], 10),
        (["--task", "digit", "--from", "nowhere"], 10),
        (["--task", "digit", "--lr", "0"], 2),
        (["--task", "digit", "--lr", "nan"], 2),
        (["--task", "digit", "--steps", "0"], 2),
        (["--task", "digit", "--steps", "x"], 2),
        (["--task", "digit", "--dropout", "1"], 2),
        (["--task", "digit", "--seed", "-1", "--steps", "1"], 2),
        (["--task", "digit", "--trial", "-1"], 2),
        (["--task", "digit", "--stage", "merge"], 2),
        (["--task", "digit", "--stage", "tarjet"], 2),
        (["--task", "digit", "--device", "abacus"], 2),
        (["--task", "digit", "--preset", "papers"], 10),
        (["--task", "digit", "--average", "swat"], 10),
        (["--task", "digit", "--loss", "coal"], 10),
        (["--task", "digit", "--keep", "all"], 2),
        (["--task", "digit", "--precision", "float8"], 2),
        (["--task", "digit", "--compile", "inducter", *SHORT], 2),
        (["--task", "digit", "--save-every", "5m"], 2),
        (["--task", "digit", "--from", "digit/1"], 2),
        (["--task", "digit", "--lr", "1e30", *SHORT[:4]], 15),
        ([], 2),
    ],
)
def test_a_run_that_cannot_be_leaves_everything_as_it_was(
    mlgit: Callable, day: Path, fingerprint: Fingerprint, arguments: list[str], code: int
) -> None:
    before = fingerprint(day)
    ran = mlgit("train", *arguments)
    assert ran.exit_code == code, ran
    assert sum(line.startswith("error: ") for line in ran.stderr.splitlines()) == 1
    assert fingerprint(day) == before


def test_a_run_by_the_papers_numbers_records_them(mlgit: Callable, day: Path) -> None:
    short = ["--steps", "3", "--eval-every", "2"]
    ran = mlgit("train", "--task", "digit", "--preset", "paper", "--trial", "2", *short, "--average", "moving")
    assert ran.exit_code == 0, ran
    assert "trained the linear probe" in ran.stderr
    assert mlgit("commit", "--task", "digit", "-m", "m").exit_code == 0
    made = json.loads(mlgit("show", "--json").stdout)["commit"]["made"]
    assert made["preset"] == "paper"
    assert (made["hyper_parameters"]["lr"], made["hyper_parameters"]["freeze_steps"]) == (5e-5, 200)
    assert made["method"]["average"] == "moving"
    probe = json.loads(mlgit("show", "HEAD^2", "--json").stdout)["commit"]["made"]["hyper_parameters"]
    assert (probe["lr"], probe["steps"], probe["eval_every"]) == (5e-5, 3, 2)


def test_ways_to_train_become_part_of_the_record(mlgit: Callable, day: Path) -> None:
    given = ["--loss", "coral", "--coral-weight", "2", "--average", "swad", "--swad-converge", "1", "--keep", "last"]
    how = ["--precision", "bfloat16", "--channels-last", "--save-every", "1"]
    assert mlgit("train", "--task", "digit", *SHORT, *given, *how).exit_code == 0
    assert mlgit("commit", "--task", "digit", "-m", "m").exit_code == 0
    made = json.loads(mlgit("show", "--json").stdout)["commit"]["made"]
    assert {"loss": "coral", "coral_weight": 2, "average": "swad", "swad_converge": 1}.items() <= made["method"].items()
    assert made["execution"] == {"precision": "bfloat16", "channels_last": True, "compile": None, "accumulate": 1}
    assert made["keep"] == "last"


def test_without_an_unfinished_run_there_is_none_to_give_up(mlgit: Callable, day: Path) -> None:
    ran = mlgit("train", "--task", "digit", "--abandon")
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert "no unfinished run on task 'digit'" in ran.stderr


WITH_SIGN = """\
from mlgit.training.loop import Loop
from mlgit.cli.main import run

train = Loop.run

def tell(loop, bar):
    print("training", flush=True)
    return train(loop, bar)

Loop.run = tell
run()
"""
"""mlgit, saying when it begins to train."""


def test_an_interrupted_run_leaves_everything_as_it_was(day: Path, fingerprint: Fingerprint) -> None:
    before = fingerprint(day)
    command = [sys.executable, "-c", WITH_SIGN, "-C", str(day), "train", "--task", "digit", "--steps", "10000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "training\n"
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "error: interrupted" in errors
    assert "Traceback" not in errors
    assert fingerprint(day) == before


def test_a_probe_is_trained_once(mlgit: Callable, day: Path) -> None:
    first = mlgit("probe", "--task", "digit", "--trial", "1", "--steps", "2")
    second = mlgit("probe", "--task", "digit", "--trial", "1")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.stdout.split()[0] == second.stdout.split()[0]


def test_code_needs_trust_at_every_verb(mlgit: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    assert mlgit("init", str(tmp_path / "r")).exit_code == 0
    monkeypatch.chdir(tmp_path / "r")
    Path("net.py").write_text(
        "from torch import nn\n"
        "def create(num_classes=10):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.ReLU(), nn.Linear(4, num_classes))\n"
    )
    Path("../c.toml").write_text(
        'name = "c"\ntask = "d"\nsplit = "test"\n[[threshold]]\nmetric = "accuracy"\nat_least = 0.0\n'
    )
    assert mlgit("task", "add", "d", "--kind", "digits", "--test-domain", "rotate").exit_code == 0
    verbs = [
        ["import", "python:net:create"],
        ["probe", "--task", "d", "--steps", "2"],
        ["train", "--task", "d", *SHORT],
        ["commit", "--task", "d", "-m", "one"],
        ["commit", "--task", "d", "--train", *SHORT, "--again", "-m", "two"],
        ["evaluate", "HEAD", "--task", "d"],
        ["lmc", "HEAD", "HEAD~1", "--task", "d", "--grid", "chord"],
        ["diversity", "HEAD", "HEAD~1", "--task", "d"],
        ["certify", "HEAD", "-c", "../c.toml"],
        ["merge", "HEAD", "HEAD~1", "--task", "d", "-m", "soup"],
        ["clone", ".", "../copy", "--task", "d", "--train", *SHORT, "--again"],
    ]
    for verb in verbs:
        if verb[:4] != ["commit", "--task", "d", "-m"] and verb[0] != "clone":
            ran = mlgit(*verb)
            assert ran.exit_code == 2, (verb, ran)
            assert "--trust-code" in ran.stderr
        ran = mlgit(*verb, "--trust-code")
        assert ran.exit_code == 0, (verb, ran)


@pytest.mark.parametrize("number", range(8))
def test_the_commands_that_the_demo_shows_ask_for_what_it_does(number: int) -> None:
    hyper = day_of_demo.target_hyper(number)
    words = shlex.split(day_of_demo.hyper_words(hyper))
    names = {"batch-size": "batch_per_domain"}
    given = {
        names.get(key[2:], key[2:].replace("-", "_")): value for key, value in zip(words[::2], words[1::2], strict=True)
    }
    whole = {field.name for field in fields(HyperParameters) if field.type == "int"}
    assert fitted_hyper({name: int(value) if name in whole else float(value) for name, value in given.items()}) == hyper


def test_a_demo_leaves_a_repository_to_play_with(
    mlgit: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn")
    short = HyperParameters(lr=1e-3, steps=3, eval_every=2, freeze_steps=1)
    monkeypatch.setattr(day_of_demo, "PRETRAINING", HyperParameters(lr=3e-3, steps=60, eval_every=30))
    monkeypatch.setattr(day_of_demo, "AUXILIARY", short)
    monkeypatch.setattr(day_of_demo, "target_hyper", lambda _: short)
    monkeypatch.chdir(tmp_path)
    ran = mlgit("demo", "play")
    assert ran.exit_code == 0
    for text in ("ensemble of all", "uniform merge", "greedy merge", "OOD accuracy (rotate)", "22 commits"):
        assert text in ran.stdout
    assert str(tmp_path) not in ran.stdout + ran.stderr
    assert mlgit("-C", "play", "status").stdout.startswith("on branch soup/greedy\n")
    assert mlgit("-C", "play", "fsck").exit_code == 0
    ran = mlgit("demo", "play")
    assert ran.exit_code == 11


def test_a_demo_without_its_data_begins_nothing(
    mlgit: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    digits._source.cache_clear()
    ran = mlgit("demo", str(tmp_path / "play"))
    assert ran.exit_code == 2
    assert "mlgit[demo]" in ran.stderr
    assert not (tmp_path / "play").exists()


def test_options_of_a_training_that_is_not_asked_for_are_refused(
    mlgit: Callable, day: Path, tmp_path: Path, fingerprint: Fingerprint
) -> None:
    before = fingerprint(day)
    ran = mlgit("-C", str(day), "commit", "-m", "x", "--lr", "1e-3", "--from", "main~1")
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert ran.stderr.startswith("error: without `--train` there is nothing to use --lr, --from for\n")
    ran = mlgit("clone", str(day), str(tmp_path / "copy"), "--steps", "3")
    assert ran.exit_code == 2
    assert "--steps" in ran.stderr
    assert not (tmp_path / "copy").exists()
    assert fingerprint(day) == before


def test_averages_of_one_run_are_collected_onto_branches_of_their_own(mlgit: Callable, day: Path) -> None:
    collect = ["--collect", "moving", "--collect", "swad"]
    ran = mlgit("train", "--task", "digit", "--from", "main", "--onto", "d/run", *collect, *SHORT)
    assert ran.exit_code == 0, ran
    for branch in ("d/run", "d/moving/run", "d/swad/run"):
        made = json.loads(mlgit("show", branch, "--json").stdout)["commit"]["made"]
        assert f"[{branch} " in ran.stdout
        assert made["arguments"][-len(SHORT) - 4 : -len(SHORT)] == collect
    assert mlgit("train", "--task", "digit", "--from", "main", "--onto", "d/two", *SHORT).exit_code == 0


def test_nothing_is_collected_without_branches(mlgit: Callable, day: Path, fingerprint: Fingerprint) -> None:
    before = fingerprint(day)
    for verb in (["train"], ["commit", "--train", "-m", "x"], ["commit", "-m", "x"]):
        ran = mlgit(
            *verb, "--task", "digit", *(SHORT if verb[-1] != "x" or "--train" in verb else []), "--collect", "moving"
        )
        assert (ran.exit_code, ran.stdout) == (2, ""), ran
        assert "--collect" in ran.stderr
    for average in ("none", "moving"):
        ran = mlgit("train", "--task", "digit", "--onto", "d/x", "--average", "moving", "--collect", average)
        assert ran.exit_code == 2
    assert mlgit("train", "--task", "digit", "--onto", "d/x", "--collect", "swat").exit_code == 10
    assert fingerprint(day) == before
