"""A day on the command line: pretrain, auxiliary, target, merge, certify, and what the history then says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CERTIFICATE = """\
name = "easy"
task = "digit"
split = "test"
judge = "point"
[[threshold]]
metric = "accuracy"
at_least = 0.01
"""
SHORT = ("--lr", "1e-3", "--eval-every", "5")


@pytest.fixture
def run(mlgit: Callable) -> Callable:
    """Run mlgit and demand an exit code, 0 unless told."""

    def command(*arguments: object, code: int = 0) -> Any:
        ran = mlgit(*arguments)
        assert ran.exit_code == code, f"{arguments}: {ran}"
        return ran

    return command


def test_a_whole_day(run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    run("init", "soup")
    monkeypatch.chdir(tmp_path / "soup")
    run("task", "add", "basics", "--kind", "digits", "--set", "labels=digit", "--set", "part=pretrain")
    run("task", "add", "parity", "--kind", "digits", "--set", "labels=parity")
    run("task", "add", "digit", "--kind", "digits", "--test-domain", "rotate")
    run("import", "mlgit:digits-cnn", "-m", "untrained")
    run("commit", "--task", "basics", "--train", "--stage", "pretrain", "--steps", "60", *SHORT, "-m", "pretrain")
    run("tag", "pretrained")
    run("switch", "-c", "aux/parity")
    run("train", "--task", "parity", "--steps", "10", *SHORT)
    run("commit", "--task", "parity", "-m", "auxiliary")
    run("switch", "-c", "fused", "main")
    run("merge", "main", "aux/parity", "--strategy", "fusing", "--task", "digit", "-m", "fused")
    for number, start in enumerate(("main", "aux/parity", "fused")):
        run("switch", "-c", f"digit/{number}", start)
        run("commit", "--task", "digit", "--train", "--steps", "20", "--seed", number, *SHORT, "-m", f"run {number}")
    run("switch", "main")
    run("merge", "digit/*", "--strategy", "greedy", "--task", "digit", "--force", "-m", "soup")
    (tmp_path / "easy.toml").write_text(CERTIFICATE)
    run("certify", "HEAD", "--certificate", tmp_path / "easy.toml")
    (tmp_path / "hard.toml").write_text(CERTIFICATE.replace("easy", "hard").replace("0.01", "1.0"))
    run("certify", "HEAD", "--certificate", tmp_path / "hard.toml", code=1)

    graph = run("log", "--graph", "--oneline", "--all").stdout
    for word in ("merge digit", "target digit", "auxiliary parity", "pretrain basics", "probe", "tag: pretrained"):
        assert word in graph
    assert "<easy: passed>" in graph
    assert "<hard: failed>" in graph

    commits = json.loads(run("log", "--all", "--json").stdout)["commits"]
    by_message = {commit["message"]: commit for commit in commits}
    stages = {message: by_message[message]["stage"] for message in ("pretrain", "auxiliary", "run 0", "soup", "fused")}
    assert stages == {
        "pretrain": "pretrain",
        "auxiliary": "auxiliary",
        "run 0": "target",
        "soup": "merge",
        "fused": "merge",
    }
    probes = {
        parent["id"]
        for number in range(3)
        for parent in by_message[f"run {number}"]["parents"]
        if parent["role"] == "head"
    }
    assert len(probes) == 1, "all runs on a task share one linear probe"
    fused = by_message["fused"]["parents"]
    assert [parent["role"] for parent in fused] == ["base", "merge", "merge", "head"]
    assert sum(parent["coefficient"] or 0 for parent in fused) == pytest.approx(1)
    run("fsck")

    run("clone", tmp_path / "soup", tmp_path / "copy")
    assert "<easy: passed>" in run("-C", tmp_path / "copy", "log", "-n", "1").stdout
    shown = json.loads(run("-C", tmp_path / "copy", "show", "--json").stdout)["commit"]
    assert sorted(result["certificate"] for result in shown["certificates"]) == ["easy", "hard"]

    run("clone", tmp_path / "soup", tmp_path / "third", "--task", "parity", "--train", "--steps", "3", *SHORT)
    last = json.loads(run("-C", tmp_path / "third", "log", "-n", "1", "--json").stdout)["commits"][0]
    assert (last["stage"], last["task"]["name"], last["message"]) == ("auxiliary", "parity", "fine-tune on parity")
