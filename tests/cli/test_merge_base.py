from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from mlgit.objects import Commit, CommitId, Identity, Manifest, Parent, Role, Stage, Timestamp
from mlgit.repository import HEADS, Repository

ADA = Identity("Ada", "ada@example.org")


@pytest.fixture
def ids(tmp_path, monkeypatch) -> list[CommitId]:
    """Stand in a repository with a criss-cross, 3 and 4, a branch behind it, 5, and a line of its own, 6.

    0 - 1 - 3 - 5
     \\   x
      2 - 4     6
    """
    repository = Repository.create(tmp_path / "model")
    made: list[CommitId] = []
    with repository.objects.transaction() as transaction:
        manifest = transaction.put_record(Manifest({}))
        for number, parents in enumerate([[], [0], [0], [1, 2], [2, 1], [3], []]):
            commit = Commit(
                manifest=manifest,
                parents=tuple(Parent(made[parent], Role.INIT) for parent in parents),
                stage=Stage.SNAPSHOT,
                author=ADA,
                time=Timestamp(1000 + number),
                message=f"commit {number}",
            )
            made.append(transaction.put_record(commit))
    for name, number in {"main": 5, "left": 3, "right": 4, "first": 0, "alone": 6}.items():
        repository.refs.update(HEADS + name, made[number], expected=None, who=ADA, when=Timestamp(2000), reason="built")
    monkeypatch.chdir(repository.root)
    return made


def test_merge_base_prints_the_newest_or_all(mlgit: Callable[..., Any], ids: list[CommitId]) -> None:
    ran = mlgit("merge-base", "left", "right")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, f"{ids[2]}\n", "")
    assert mlgit("merge-base", "--all", "left", "right").stdout == f"{ids[2]}\n{ids[1]}\n"
    assert mlgit("merge-base", "-a", "main", "left").stdout == f"{ids[3]}\n"
    assert mlgit("merge-base", "first", "left", "right").stdout == f"{ids[0]}\n"
    found = json.loads(mlgit("merge-base", "--all", "--json", "left", "right").stdout)
    assert found == {"schema": 1, "merge_bases": [ids[2], ids[1]]}


def test_merge_base_of_strangers_exits_with_one(mlgit: Callable[..., Any], ids: list[CommitId]) -> None:
    ran = mlgit("merge-base", "main", "alone")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (1, "", "")
    assert json.loads(mlgit("merge-base", "--json", "main", "alone").stdout)["merge_bases"] == []


def test_is_ancestor_answers_by_its_exit_code(mlgit: Callable[..., Any], ids: list[CommitId]) -> None:
    for old, new, code in (("first", "main", 0), ("main", "main", 0), ("main", "left", 1), ("alone", "main", 1)):
        ran = mlgit("merge-base", "--is-ancestor", old, new)
        assert (ran.exit_code, ran.stdout, ran.stderr) == (code, "", "")
    assert json.loads(mlgit("merge-base", "--is-ancestor", "--json", "first", "main").stdout)["is_ancestor"] is True


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["main"], 2, "error: two revisions are needed\nhint: see `mlgit merge-base --help`\n"),
        (
            ["--is-ancestor", "main", "left", "right"],
            2,
            "error: --is-ancestor takes two revisions and no --all\nhint: see `mlgit merge-base --help`\n",
        ),
        (["main", "rigth"], 10, "error: no branch, tag or commit is named 'rigth'\nhint: did you mean 'right'?\n"),
    ],
)
def test_merge_base_refuses(
    mlgit: Callable[..., Any], ids: list[CommitId], arguments: list[str], code: int, message: str
) -> None:
    ran = mlgit("merge-base", *arguments)
    assert (ran.exit_code, ran.stdout, ran.stderr) == (code, "", message)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--contains", "left"], "left main"),
        (["--contains", "first"], "first left main right"),
        (["--contains", "left", "--contains", "right"], "left main right"),
        (["--no-contains", "left"], "alone first right"),
        (["--merged", "left"], "first left"),
        (["--merged", "alone", "--merged", "first"], "alone first"),
        (["--no-merged", "left"], "alone main right"),
        (["--contains", "first", "--no-merged", "left"], "main right"),
        (["--contains", "left", "--no-contains", "main"], "left"),
        (["--contains", "alone", "--contains", "main~2"], "alone left main right"),
    ],
)
def test_branch_lists_those_that_fit(
    mlgit: Callable[..., Any], ids: list[CommitId], arguments: list[str], names: str
) -> None:
    rows = json.loads(mlgit("branch", "--json", *arguments).stdout)["branches"]
    assert [row["name"] for row in rows] == names.split()


def test_branch_does_not_list_and_change_at_once(mlgit: Callable[..., Any], ids: list[CommitId]) -> None:
    for arguments in (["new", "--contains", "main"], ["-d", "left", "--merged", "main"]):
        ran = mlgit("branch", *arguments)
        assert (ran.exit_code, ran.stdout) == (2, "")
        assert ran.stderr == "error: branches are either listed or changed\nhint: see `mlgit branch --help`\n"
    assert "left" in mlgit("branch").stdout
    assert "new" not in mlgit("branch").stdout
