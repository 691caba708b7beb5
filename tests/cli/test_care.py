"""The verbs that take care of a repository: gc, du, reflog, reset, undo, stash."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file


@pytest.fixture
def model(tmp_path: Path, mlgit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[[float], bytes]:
    """Make a repository to stand in; return a function that writes its model and returns the bytes."""
    monkeypatch.setenv("HOME", str(tmp_path))
    place = tmp_path / "model"
    assert mlgit("init", str(place)).exit_code == 0
    monkeypatch.chdir(place)

    def write(value: float) -> bytes:
        save_file({"w": np.full((64, 64), value, np.float32)}, "model.safetensors")
        return Path("model.safetensors").read_bytes()

    return write


def ok(ran: Any) -> Any:
    assert ran.exit_code == 0, ran.stderr
    return json.loads(ran.stdout) if ran.stdout.startswith("{") else ran


def test_a_day_with_a_mistake(model: Callable[[float], bytes], mlgit: Callable[..., Any]) -> None:
    first = model(1)
    ok(mlgit("commit", "-m", "one"))
    second = model(2)
    ok(mlgit("commit", "-m", "two"))
    changes = ok(mlgit("reflog", "--json"))["changes"]
    assert [(item["name"], item["reason"]) for item in changes] == [
        ("HEAD@{0}", "commit: two"),
        ("HEAD@{1}", "commit: one"),
    ]
    assert "main is now at" in ok(mlgit("reset", "main@{1}")).stderr
    assert Path("model.safetensors").read_bytes() == first
    assert "undid 'reset: to main@{1}'" in ok(mlgit("undo")).stderr
    assert Path("model.safetensors").read_bytes() == second
    work = model(3)
    assert mlgit("reset", "HEAD~1").exit_code != 0
    ok(mlgit("stash", "-m", "half done"))
    assert "half done" in ok(mlgit("stash", "list")).stdout
    assert ok(mlgit("stash", "list", "--json"))["stashes"][0]["message"] == "half done"
    ok(mlgit("reset", "HEAD~1"))
    ok(mlgit("undo"))
    ok(mlgit("stash", "pop"))
    assert Path("model.safetensors").read_bytes() == work
    ok(mlgit("reset", "--hard", "HEAD"))
    assert Path("model.safetensors").read_bytes() == second
    assert "sound" in ok(mlgit("fsck")).stdout


def test_gc_frees_what_du_calls_own(model: Callable[[float], bytes], mlgit: Callable[..., Any]) -> None:
    model(1)
    ok(mlgit("commit", "-m", "one"))
    ok(mlgit("switch", "-c", "side"))
    np.save("random.npy", np.random.default_rng(0).standard_normal(5000))
    ok(mlgit("commit", "-m", "two"))
    used = ok(mlgit("du", "--json"))
    assert "2 commits" in ok(mlgit("du")).stdout
    own = used["commits"][0]["own_bytes"]
    assert own > 30_000
    ok(mlgit("switch", "main"))
    ok(mlgit("branch", "-D", "side"))
    kept = ok(mlgit("gc", "--json"))
    assert (kept["freed_bytes"], kept["young_packs"]) == (0, 2)
    promised = ok(mlgit("gc", "--dry-run", "--grace", "0", "--expire-reflog", "0", "--json"))
    freed = ok(mlgit("gc", "--grace", "0", "--expire-reflog", "0", "--json"))
    assert promised["freed_bytes"] == freed["freed_bytes"] >= own
    assert (promised["dry_run"], freed["dry_run"]) == (True, False)
    assert "freed 0 bytes" in ok(mlgit("gc", "--grace", "0")).stdout
    assert "side" in mlgit("reflog", "side").stderr


def test_many_packs_become_one(model: Callable[[float], bytes], mlgit: Callable[..., Any]) -> None:
    bodies = []
    for value in (1, 2, 3):
        bodies.append(model(value))
        ok(mlgit("commit", "-m", str(value)))
    promised = ok(mlgit("repack", "--dry-run", "--json"))
    assert (promised["dry_run"], promised["packs_before"], promised["packs_after"]) == (True, 3, 1)
    assert "would become about" in ok(mlgit("repack", "-n")).stdout
    done = ok(mlgit("repack", "--depth", "2", "--json"))
    assert (done["dry_run"], done["packs_before"], done["packs_after"]) == (False, 3, 1)
    assert done["after_bytes"] < done["before_bytes"] == promised["before_bytes"]
    assert "in 1 packs" in ok(mlgit("repack")).stdout
    assert "sound" in ok(mlgit("fsck")).stdout
    ok(mlgit("reset", "--hard", "HEAD~2"))
    assert Path("model.safetensors").read_bytes() == bodies[0]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["gc", "--grace", "-1"], 2),
        (["repack", "--depth", "0"], 2),
        (["repack", "--depth", "9"], 2),
        (["reset", "--keep", "--hard", "HEAD"], 2),
        (["reset", "nobody"], 10),
        (["stash", "push", "1"], 2),
        (["stash", "pop", "-m", "x"], 2),
        (["stash", "pop"], 10),
        (["stash", "sort"], 2),
        (["undo"], 1),
        (["reflog", "nobody"], 10),
    ],
)
def test_what_makes_no_sense_is_refused(
    model: Callable[[float], bytes], mlgit: Callable[..., Any], arguments: list[str], code: int
) -> None:
    model(1)
    ok(mlgit("commit", "-m", "one"))
    ran = mlgit(*arguments)
    assert (ran.exit_code, ran.stdout) == (code, "")
    assert ran.stderr.startswith(("error", "usage", "mlgit"))
