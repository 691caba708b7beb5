from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

VERBS = {
    "init": ("Make a directory an empty repository", ["directory", "-b, --initial-branch"]),
    "clone": ("Copy a repository with its history and check out its current branch", ["PATH", "directory", "--train"]),
    "import": ("Bring a model in from outside, as a pretrained commit", ["source", "--factory", "-m, --message"]),
    "export": ("Write a commit's weights for other tools", ["REV", "destination", "--format", "-f, --force"]),
    "status": ("Show what the next commit would record", ["--json"]),
    "commit": ("Record the working files on the current branch", ["-m, --message", "--allow-empty", "--task"]),
    "log": ("Show the history, newest first", ["--graph", "--oneline", "-n, --max-count", "--all", "--json"]),
    "show": ("Show everything a commit records", ["revision", "--json"]),
    "diff": ("Show what changed between two states, tensor by tensor", ["A", "B", "--exit-code", "--json"]),
    "branch": ("List, create, rename or delete branches", ["-d, --delete", "-D", "-m, --move", "--json"]),
    "switch": ("Put another branch into the working directory", ["name", "-c, --create", "--detach"]),
    "tag": ("List, create or delete tags; a tag never moves", ["-m, --message", "-d, --delete", "--json"]),
    "restore": ("Give up uncommitted changes of files", ["PATH", "-s, --source"]),
    "ls-tree": ("List the tensors and files of a commit", ["revision", "--json"]),
    "cat-file": ("Print a stored object's bytes", ["ID", "-t", "-s", "--json"]),
    "fsck": ("Read back everything that a branch, tag or reflog reaches", ["--repair-from", "--json"]),
    "config": ("Show or change settings of this repository", ["--unset", "--global", "--json"]),
}


@pytest.mark.parametrize("verb", VERBS)
def test_help_says_what_the_verb_does_and_what_it_takes(mlgit: Callable[..., Any], verb: str) -> None:
    ran = mlgit(verb, "--help")
    assert (ran.exit_code, ran.stderr) == (0, "")
    summary, parts = VERBS[verb]
    assert ran.stdout.startswith(f"Usage: mlgit {verb} [OPTIONS]")
    assert summary in " ".join(ran.stdout.split())
    for part in [*parts, "-q, --quiet", "-v, --verbose", "-h, --help"]:
        assert part in ran.stdout
    assert max(map(len, ran.stdout.splitlines())) <= 80


@pytest.mark.parametrize("verb", VERBS)
def test_an_unknown_option_is_a_usage_error(mlgit: Callable[..., Any], verb: str) -> None:
    ran = mlgit(verb, "--no-such-option")
    assert ran.exit_code == 2
    assert ran.stdout == ""
    assert ran.stderr.startswith("error: no such option")
    assert ran.stderr.splitlines()[-1].startswith("hint: ")
