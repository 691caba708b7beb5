from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from mlgit.errors import InvalidInputError
from mlgit.objects import Stage
from mlgit.porcelain.clone import clone
from mlgit.porcelain.commit import commit
from mlgit.porcelain.commit_weights import commit_weights
from mlgit.porcelain.config import set_setting, settings_path
from mlgit.porcelain.init import init
from mlgit.porcelain.open_model import Runtime, open_named_task
from mlgit.porcelain.task import add_task, show_task
from mlgit.porcelain.task_check import check_task
from mlgit.repository import Repository
from mlgit.tasks import decoding, file_index
from mlgit.tasks.examples import Differences


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return init(tmp_path / "repo").repository


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    root = tmp_path / "pets"
    for domain in range(2):
        for label, name in enumerate(("cat", "dog")):
            (root / f"d{domain}" / name).mkdir(parents=True)
            for number in range(6):
                paint(root / f"d{domain}" / name / f"{number}.png", (40 * label, 20 * number, 30 * domain))
    return root


def paint(path: Path, colour: tuple[int, int, int]) -> None:
    Image.new("RGB", (8, 8), colour).save(path, format="BMP")  # so that all have the same size
    os.utime(path, ns=(10**18, 10**18))


def added(repo: Repository, pets: Path) -> None:
    add_task(repo, "pets", data=pets, test_domain="d1", options={"image_size": 8})


def test_untouched_data_are_the_same(repo: Repository, pets: Path) -> None:
    added(repo, pets)
    found = check_task(repo, "pets")
    assert found.same
    assert found.examples == 24
    assert found.data_digest == found.expected == found.compared
    assert found.differences == Differences(changed=(), missing=(), new=())
    assert (found.unreadable, found.duplicates, found.recorded) == ({}, (), ())


def test_every_way_in_which_data_can_change_is_listed(repo: Repository, pets: Path) -> None:
    added(repo, pets)
    paint(pets / "d0/cat/0.png", (1, 2, 3))
    (pets / "d0/cat/1.png").unlink()
    (pets / "d0/cat/2.png").write_bytes(b"broken")
    truncated = pets / "d1/dog/4.png"
    truncated.write_bytes(truncated.read_bytes()[:-20])
    shutil.copy(pets / "d1/cat/3.png", pets / "d1/dog/new.png")
    (pets / "d1/cat/5.png").rename(pets / "d1/dog/moved.png")
    found = check_task(repo, "pets")
    assert not found.same
    assert found.data_digest is None
    assert found.differences == Differences(
        changed=("d0/cat/0.png",),
        missing=("d0/cat/1.png", "d1/cat/5.png"),
        new=("d1/dog/moved.png", "d1/dog/new.png"),
    )
    assert sorted(found.unreadable) == ["d0/cat/2.png", "d1/dog/4.png"]
    assert [[each.name for each in group] for group in found.duplicates] == [["d1/cat/3.png", "d1/dog/new.png"]]


def test_a_change_that_keeps_size_and_time_is_found(repo: Repository, pets: Path) -> None:
    added(repo, pets)
    path = pets / "d0/cat/0.png"
    content = path.read_bytes()
    paint(path, (40, 20, 60))
    assert path.stat().st_size == len(content)
    assert check_task(repo, "pets").differences == Differences(changed=("d0/cat/0.png",), missing=(), new=())


def test_record_takes_the_data_as_they_are_now(repo: Repository, pets: Path) -> None:
    added(repo, pets)
    paint(pets / "d0/cat/0.png", (1, 2, 3))
    assert not check_task(repo, "pets").same
    assert check_task(repo, "pets", record=True).same
    assert check_task(repo, "pets").same
    (pets / "d0/cat/2.png").write_bytes(b"broken")
    assert not check_task(repo, "pets", record=True).same
    assert check_task(repo, "pets").differences == Differences(changed=(), missing=(), new=())


def test_commits_name_the_data_they_were_made_with(repo: Repository, pets: Path) -> None:
    added(repo, pets)
    commit(repo, "define", allow_empty=True)
    first = commit_weights(repo, {"w": torch.zeros(2)}, "one", task="pets", stage=Stage.AUXILIARY).id
    paint(pets / "d0/cat/0.png", (1, 2, 3))
    second = commit_weights(repo, {"w": torch.ones(2)}, "two", task="pets", stage=Stage.AUXILIARY).id
    found = check_task(repo, "pets")
    assert [(state.commits, state.same) for state in found.recorded] == [((second,), True), ((first,), False)]
    assert found.recorded[1].digest == found.expected
    assert not found.same


def test_a_clone_compares_with_what_its_commits_name(repo: Repository, pets: Path, tmp_path: Path) -> None:
    added(repo, pets)
    commit(repo, "define", allow_empty=True)
    commit_weights(repo, {"w": torch.zeros(2)}, "one", task="pets", stage=Stage.AUXILIARY)
    copy = clone(repo.root, tmp_path / "copy").repository
    moved = shutil.move(pets, tmp_path / "elsewhere")
    set_setting(settings_path(copy), "tasks.pets.data", str(moved))
    found = check_task(copy, "pets")
    assert found.same
    assert found.expected is found.differences is None
    paint(moved / "d0/cat/0.png", (1, 2, 3))
    assert not check_task(copy, "pets").same


def test_data_that_are_twice_there_are_named_when_the_task_is_shown(repo: Repository, pets: Path) -> None:
    added(repo, pets)
    shutil.copy(pets / "d0/cat/3.png", pets / "d1/dog/again.png")
    assert show_task(repo, "pets").notes == ("equal content: d0/cat/3.png, d1/dog/again.png",)


def test_a_preset_is_taken_by_its_name_and_what_differs_is_said(repo: Repository, tmp_path: Path) -> None:
    root = tmp_path / "data" / "PACS"
    for number, domain in enumerate(("art_painting", "cartoon", "photo", "sketch", "scripts")):
        for label, name in enumerate(("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")):
            (root / domain / name).mkdir(parents=True)
            paint(root / domain / name / "0.png", (label, number, 0))
    made = add_task(repo, "PACS", data=tmp_path / "data", test_domain="sketch", options={"image_size": 16})
    assert made.definition.kind == "imagefolder"
    assert made.definition.preset == "PACS"
    assert made.definition.options["image_size"] == 16
    assert list(made.domains) == ["art_painting", "cartoon", "photo", "sketch"]
    assert made.ignored == ("scripts/",)
    assert len(made.notes) == 4
    assert "2,048" in made.notes[0]
    assert show_task(repo, "PACS") == made
    other = add_task(repo, "mine", preset="PACS", data=root)
    assert other.domains == made.domains


def test_an_explicit_kind_is_no_preset(repo: Repository, pets: Path) -> None:
    made = add_task(repo, "PACS", kind="imagefolder", data=pets, options={"image_size": 8})
    assert made.definition.preset is None
    assert list(made.domains) == ["d0", "d1"]


def test_a_second_run_neither_reads_nor_decodes_files(
    repo: Repository, pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added(repo, pets)
    before = [domain.images(torch.arange(12)) for domain in open_named_task(repo, "pets").data.domains]

    def refuse(*arguments: object) -> None:
        raise AssertionError(arguments)

    monkeypatch.setattr(file_index, "_digest", refuse)
    monkeypatch.setattr(decoding.Decoder, "decode", refuse)
    after = [domain.images(torch.arange(12)) for domain in open_named_task(repo, "pets").data.domains]
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("setting", ["off", "elsewhere", None])
def test_where_the_cache_lies_is_a_setting(repo: Repository, pets: Path, setting: str | None) -> None:
    if setting is not None:
        set_setting(settings_path(repo), "data.cache", setting)
    added(repo, pets)
    open_named_task(repo, "pets").data.domains[0].images(torch.arange(2))
    places = {"off": None, "elsewhere": repo.root / "elsewhere", None: repo.folder / "cache"}
    for name, place in places.items():
        assert place is None or place.exists() == (name == setting)


def test_only_the_domain_that_is_used_is_decoded(repo: Repository, pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    added(repo, pets)
    seen: list[str] = []
    decode = decoding.Decoder.decode
    monkeypatch.setattr(decoding.Decoder, "decode", lambda self, path: seen.append(path) or decode(self, path))
    task = open_named_task(repo, "pets")
    for split in (task.training(), task.validation()):
        for domain in split.domains:
            domain.images(torch.arange(len(domain)))
    assert len(seen) == 12
    assert all(path.startswith("d0/") for path in seen), "the test domain is not looked at"


def test_code_of_the_repository_is_run_only_when_it_is_trusted(repo: Repository) -> None:
    (repo.root / "some_numbers.py").write_text(
        "import torch\n"
        "def make(data):\n"
        "    pair = torch.eye(10), torch.arange(10) % 2\n"
        "    return {'domains': {'a': pair, 'b': pair}}\n"
    )
    trusting = Runtime(trust_code=True)
    with pytest.raises(InvalidInputError) as caught:
        add_task(repo, "numbers", kind="python:some_numbers:make")
    assert caught.value.kind == "untrusted-code"
    made = add_task(repo, "numbers", kind="python:some_numbers:make", test_domain="b", runtime=trusting)
    assert made.domains == {"a": 10, "b": 10}
    assert open_named_task(repo, "numbers", trusting).digest == made.digest
    assert check_task(repo, "numbers", runtime=trusting).same
    with pytest.raises(InvalidInputError):
        open_named_task(repo, "numbers")
