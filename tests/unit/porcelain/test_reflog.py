from __future__ import annotations

from typing import Any

import pytest

from mlgit.errors import NotFoundError
from mlgit.porcelain.branch import create_branch, delete_branch
from mlgit.porcelain.reflog import reflog


def test_the_log_names_positions_that_resolve_to_where_the_branch_was(workshop: Any) -> None:
    ids = [workshop.commit(number) for number in range(4)]
    for name in ("HEAD", "main", "refs/heads/main"):
        found = reflog(workshop.repository, name)
        assert [item.entry.new for item in found] == ids[::-1]
        assert [workshop.repository.resolve(item.name) for item in found] == ids[::-1]
    assert [workshop.repository.resolve(f"@{{{back}}}") for back in range(4)] == ids[::-1]


def test_a_deleted_branch_has_a_log_and_can_be_brought_back(workshop: Any) -> None:
    workshop.commit(1)
    create_branch(workshop.repository, "side", actor=workshop.actor)
    delete_branch(workshop.repository, "side", force=True, actor=workshop.actor)
    found = reflog(workshop.repository, "side")
    assert [item.entry.new for item in found] == [None, workshop.repository.head]
    create_branch(workshop.repository, "side", found[1].name, actor=workshop.actor)
    assert workshop.repository.branches()["side"] == workshop.repository.head


def test_an_unknown_name_suggests_a_close_one(workshop: Any) -> None:
    workshop.commit(1)
    with pytest.raises(NotFoundError) as refused:
        reflog(workshop.repository, "mian")
    assert refused.value.hint == "did you mean 'main'?"
