"""`sweep` and `train --onto` as a user meets them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mlgit.porcelain import train_onto

HOW = ["--lr", "1e-3", "--batch-size", "4", "--steps", "2", "--eval-every", "1", "--freeze-steps", "1"]
SWEEP = ["sweep", "--task", "digit", "--from", "main", "--from", "aux/*", *HOW]


def test_a_run_onto_a_branch(mlgit: Callable, day: Path) -> None:
    ran = mlgit("train", "--task", "digit", "--from", "main", "--onto", "digit/new", "-m", "why", *HOW)
    assert ran.exit_code == 0, ran
    assert ran.stdout.splitlines()[-1].startswith("[digit/new ")
    made = json.loads(mlgit("show", "digit/new", "--json").stdout)["commit"]
    assert made["message"] == "why"
    assert made["made"]["arguments"][:3] == ["train", "--task", "digit"]
    assert mlgit("status").stdout.startswith("on branch main\n")
    assert mlgit("train", "--task", "digit", "--from", "main", "--onto", "digit/new", *HOW).exit_code == 11
    ran = mlgit("train", "--task", "digit", "-m", "why", *HOW)
    assert (ran.exit_code, "--onto" in ran.stderr) == (2, True)


def test_a_sweep_prints_its_plan_and_then_what_it_made(mlgit: Callable, day: Path) -> None:
    plan = mlgit(*SWEEP, "--runs", "2", "--dry-run")
    assert plan.exit_code == 0, plan
    head, *rows = plan.stdout.splitlines()
    assert head.split()[:4] == ["run", "branch", "start", "lr"]
    assert [row.split()[1] for row in rows] == ["digit/sweep-0", "digit/sweep-1"]
    assert all("waiting" in row for row in rows)
    assert "parity" in rows[1]
    ran = mlgit(*SWEEP, "--runs", "2")
    assert ran.exit_code == 0, ran
    assert [line.split(" after ")[0] for line in ran.stderr.splitlines()] == [
        "run 0 of 2 finished",
        "run 1 of 2 finished",
    ]
    assert all("finished" in row for row in ran.stdout.splitlines()[1:])
    again = mlgit(*SWEEP, "--runs", "2", "--json")
    document = json.loads(again.stdout)
    assert again.stderr == ""
    assert [run["attempts"] for run in document["runs"]] == [0, 0]
    assert [run["state"] for run in document["runs"]] == ["finished", "finished"]


def test_a_sweep_on_a_terminal_shows_a_table_that_lives(terminal: Callable, day: Path) -> None:
    code, seen = terminal(*SWEEP, "--runs", "2")
    assert code == 0, seen
    assert "running" in seen
    assert "of 2 runs finished" in seen
    assert seen.rindex("digit/sweep-1") > seen.rindex("running")


def test_a_sweep_with_a_failing_run_names_its_log(mlgit: Callable, day: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_onto, "train_onto", None)
    ran = mlgit(*SWEEP, "--runs", "1", "--retries", "0")
    assert ran.exit_code == 15
    assert "failed" in ran.stdout
    assert "error: 1 of 1 runs failed" in ran.stderr
    (log,) = (day / ".mlgit/sweeps/digit/sweep").glob("*.log")
    assert str(log) in ran.stderr
    assert "not callable" in log.read_text()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--runs", "0"], 2),
        (["--name", "a/b"], 2),
        (["--hparams", "mildest"], 10),
        (["--hparams", "none.toml"], 16),
        (["--executor", "inlin"], 10),
        (["--executor", "inline", "--jobs", "2"], 2),
        (["--jobs", "0"], 2),
        (["--retries", "-1"], 2),
        (["--from", "digit/0"], 2),
        (["--from", "nowhere"], 10),
        (["--trial", "-1"], 2),
        (["--preset", "papers"], 10),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(
    mlgit: Callable, day: Path, fingerprint: Callable, arguments: list[str], code: int
) -> None:
    before = fingerprint(day)
    ran = mlgit(*SWEEP, "--runs", "1", *arguments)
    assert ran.exit_code == code, ran
    assert sum(line.startswith("error: ") for line in ran.stderr.splitlines()) == 1
    assert fingerprint(day) == before
