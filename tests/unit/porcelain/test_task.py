from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mlgit.errors import AlreadyExistsError, InvalidInputError, MlgitError, NotFoundError
from mlgit.porcelain.clone import clone
from mlgit.porcelain.commit import commit
from mlgit.porcelain.init import init
from mlgit.porcelain.restore import restore
from mlgit.porcelain.switch import switch
from mlgit.porcelain.task import add_task, list_tasks, remove_task, show_task
from mlgit.repository import Repository

Fingerprint = Callable[[Path], dict[str, str]]


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return init(tmp_path / "repo").repository


def folder(root: Path, domains: int = 2, classes: tuple[str, ...] = ("cat", "dog"), images: int = 5) -> Path:
    for domain in range(domains):
        for label, name in enumerate(classes):
            place = root / f"d{domain}" / name
            place.mkdir(parents=True)
            for number in range(images):
                Image.new("RGB", (8, 8), (40 * label, 20 * number, 30 * domain)).save(place / f"{number}.png")
    return root


def test_a_task_is_listed_shown_and_removed(repo: Repository) -> None:
    pytest.importorskip("sklearn")
    made = add_task(repo, "digit", kind="digits", test_domain="rotate", options={"labels": "digit"})
    assert [each.name for each in list_tasks(repo)] == ["digit"]
    assert show_task(repo, "digit") == made
    assert sum(made.domains.values()) == 1000
    remove_task(repo, "digit")
    assert list_tasks(repo) == []
    with pytest.raises(NotFoundError):
        show_task(repo, "digit")


def test_the_place_of_data_stays_on_this_machine_and_the_definition_travels(repo: Repository, tmp_path: Path) -> None:
    data = folder(tmp_path / "images")
    made = add_task(repo, "pets", kind="imagefolder", data=data, test_domain="d1", options={"image_size": 8})
    assert str(tmp_path) not in (repo.root / "mlgit.toml").read_text()
    commit(repo, "define", allow_empty=True)
    copy = clone(repo.root, tmp_path / "copy").repository
    assert [each.name for each in list_tasks(copy)] == ["pets"]
    with pytest.raises(InvalidInputError, match="not known") as caught:
        show_task(copy, "pets")
    assert caught.value.kind == "missing-data"
    assert show_task(repo, "pets").digest == made.digest


def test_a_name_with_dots_finds_its_data(repo: Repository, tmp_path: Path) -> None:
    data = folder(tmp_path / "images")
    add_task(repo, "pets.v1.2", kind="imagefolder", data=data, options={"image_size": 8})
    assert show_task(repo, "pets.v1.2").data == data
    remove_task(repo, "pets.v1.2")
    assert repo.settings.get("tasks.pets.v1.2.data") is None


def test_removing_a_task_keeps_the_others_and_the_comments(repo: Repository) -> None:
    pytest.importorskip("sklearn")
    (repo.root / "mlgit.toml").write_text("# ours\n")
    for name in ("a", "b"):
        add_task(repo, name, kind="digits")
    remove_task(repo, "a")
    assert [each.name for each in list_tasks(repo)] == ["b"]
    assert (repo.root / "mlgit.toml").read_text().startswith("# ours\n")


def test_a_task_that_another_branch_defines_is_found_by_the_hint(repo: Repository) -> None:
    pytest.importorskip("sklearn")
    (repo.root / "notes.txt").write_text("first")
    commit(repo, "first")
    switch(repo, "other", create=True)
    add_task(repo, "digit", kind="digits")
    commit(repo, "define")
    switch(repo, "main")
    with pytest.raises(NotFoundError) as caught:
        show_task(repo, "digit")
    assert caught.value.hint == "branch 'other' defines it: take its file with `mlgit restore -s other mlgit.toml`"
    restore(repo, ["mlgit.toml"], source="other")
    assert show_task(repo, "digit").classes


def break_empty(root: Path) -> None:
    for path in root.rglob("*.png"):
        path.unlink()


def break_class(root: Path) -> None:
    for path in (root / "d1" / "dog").iterdir():
        path.unlink()
    (root / "d1" / "dog").rmdir()


def break_image(root: Path) -> None:
    (root / "d0" / "cat" / "0.png").write_bytes(b"no image")


def break_level(root: Path) -> None:
    (root / "d0" / "cat" / "inner").mkdir()


def break_name(root: Path) -> None:
    os.rename(root / "d0", root / "d0\x1b[2J")  # noqa: PTH104 - the name is not one to handle gently


def break_bidi(root: Path) -> None:
    for domain in ("d0", "d1"):
        (root / domain / "cat").rename(root / domain / "c\u202eat")


def break_link(root: Path) -> None:
    (root / "d0" / "cat" / "9.png").symlink_to("/etc/hostname")


@pytest.mark.parametrize(
    ("harm", "kind"),
    [
        (break_empty, "empty-domain"),
        (break_class, "missing-class"),
        (break_image, None),
        (break_level, "bad-layout"),
        (break_name, None),
        (break_bidi, None),
        (break_link, None),
    ],
)
def test_data_that_cannot_be_used_are_refused_and_nothing_is_written(
    repo: Repository, tmp_path: Path, fingerprint: Fingerprint, harm: Callable[[Path], None], kind: str | None
) -> None:
    data = folder(tmp_path / "images")
    harm(data)
    before = fingerprint(repo.root)
    with pytest.raises(InvalidInputError) as caught:
        add_task(repo, "pets", kind="imagefolder", data=data, options={"image_size": 8})
    assert kind in (None, caught.value.kind)
    assert fingerprint(repo.root) == before


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"name": "x", "kind": "nothing"}, NotFoundError),
        ({"name": "x", "kind": "digits", "test_domain": "moon"}, NotFoundError),
        ({"name": "x", "kind": "digits", "options": {"labels": "colour"}}, InvalidInputError),
        ({"name": "x", "kind": "digits", "options": {"labbels": "digit"}}, InvalidInputError),
        ({"name": "x", "kind": "digits", "options": {"domains": []}}, InvalidInputError),
        ({"name": "x", "kind": "digits", "options": {"part": "/etc"}}, InvalidInputError),
        ({"name": "x\x1b[2J", "kind": "digits"}, InvalidInputError),
        ({"name": "../x", "kind": "digits"}, InvalidInputError),
        ({"name": "\u202ex", "kind": "digits"}, InvalidInputError),
        ({"name": "", "kind": "digits"}, InvalidInputError),
        ({"name": "x", "kind": "digits", "test_domain": "a\nb"}, InvalidInputError),
        ({"name": "x", "kind": "imagefolder"}, InvalidInputError),
        ({"name": "x", "kind": "imagefolder", "data": Path("/no/such/place")}, NotFoundError),
        ({"name": "x", "kind": "digits", "data": Path("somewhere")}, InvalidInputError),
    ],
)
def test_definitions_that_cannot_be_used_are_refused_and_nothing_is_written(
    repo: Repository, fingerprint: Fingerprint, arguments: dict[str, object], error: type[MlgitError]
) -> None:
    pytest.importorskip("sklearn")
    before = fingerprint(repo.root)
    with pytest.raises(error):
        add_task(repo, **arguments)  # type: ignore[arg-type]
    assert fingerprint(repo.root) == before


def test_a_name_that_is_taken_is_refused(repo: Repository, fingerprint: Fingerprint) -> None:
    pytest.importorskip("sklearn")
    add_task(repo, "x", kind="digits")
    before = fingerprint(repo.root)
    with pytest.raises(AlreadyExistsError):
        add_task(repo, "x", kind="digits", test_domain="rotate")
    assert fingerprint(repo.root) == before


@pytest.mark.parametrize(
    "text", ["tasks = 3\n", "[tasks]\nx = 1\n", "[tasks.x]\nkind = 3\n", "[tasks.x]\n", "[tasks\n", "\xff"]
)
def test_a_model_file_that_says_nonsense_is_one_clear_error(repo: Repository, text: str) -> None:
    (repo.root / "mlgit.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidInputError, match=r"."):
        list_tasks(repo)
