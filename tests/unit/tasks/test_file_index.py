from __future__ import annotations

import os
from pathlib import Path

import pytest
from blake3 import blake3
from PIL import Image

from mlgit.tasks import file_index
from mlgit.tasks.file_index import FileIndex

NAMES = ["a/x.png", "a/ü y.png", "b.png"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "data"
    for number, name in enumerate(NAMES):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (3, 4), (number, 0, 0)).save(place / name)
        os.utime(place / name, ns=(10**18, 10**18))
    return place


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read."""
    seen: list[str] = []
    digest = file_index._digest

    def watched(path: Path) -> str:
        seen.append(path.name)
        return digest(path)

    monkeypatch.setattr(file_index, "_digest", watched)
    return seen


def digests(root: Path, memory: Path | None, names: list[str] = NAMES, **how: bool) -> list[str]:
    return [file.digest for file in FileIndex(root, memory).read(names, **how)]


def expected(root: Path) -> list[str]:
    return [blake3((root / name).read_bytes()).hexdigest() for name in NAMES]


def test_digests_are_those_of_the_bytes_and_a_second_opening_reads_nothing(
    root: Path, tmp_path: Path, read: list[str]
) -> None:
    assert digests(root, tmp_path / "memory") == expected(root)
    assert len(read) == 3
    assert digests(root, tmp_path / "memory") == expected(root)
    assert len(read) == 3
    assert digests(root, tmp_path / "memory", afresh=True) == expected(root)
    assert len(read) == 6
    assert digests(root, None) == expected(root)
    assert len(read) == 9


def test_a_changed_file_alone_is_read_again_also_when_size_and_time_are_as_before(
    root: Path, tmp_path: Path, read: list[str]
) -> None:
    digests(root, tmp_path / "memory")
    read.clear()
    path = root / NAMES[0]
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert digests(root, tmp_path / "memory") == expected(root)
    assert read == ["x.png"]


def test_a_file_that_took_the_place_of_another_is_read_again(root: Path, tmp_path: Path, read: list[str]) -> None:
    digests(root, tmp_path / "memory")
    read.clear()
    (root / NAMES[0]).rename(root / "spare.png")
    (root / NAMES[2]).rename(root / NAMES[0])
    (root / "spare.png").rename(root / NAMES[2])
    assert digests(root, tmp_path / "memory") == expected(root)
    assert sorted(read) == ["b.png", "x.png"]


def test_a_file_changed_just_now_is_not_remembered(root: Path, tmp_path: Path, read: list[str]) -> None:
    os.utime(root / NAMES[0])
    digests(root, tmp_path / "memory")
    read.clear()
    digests(root, tmp_path / "memory")
    assert read == ["x.png"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 rubbish", b"x" * 1000])
def test_a_damaged_memory_is_forgotten(root: Path, tmp_path: Path, content: bytes) -> None:
    digests(root, tmp_path / "memory")
    (file,) = (tmp_path / "memory").iterdir()
    file.write_bytes(content)
    assert digests(root, tmp_path / "memory") == expected(root)
    file.write_bytes(file.read_bytes()[:-30])
    assert digests(root, tmp_path / "memory") == expected(root)


def test_a_memory_that_cannot_be_written_costs_only_time(root: Path, tmp_path: Path) -> None:
    (tmp_path / "memory").write_text("in the way")
    assert digests(root, tmp_path / "memory") == expected(root)


def test_what_is_no_image_or_not_there_has_a_problem_and_is_not_remembered(root: Path, tmp_path: Path) -> None:
    (root / "b.png").write_bytes(b"no image")
    os.utime(root / "b.png", ns=(10**18, 10**18))
    for _ in range(2):
        good, bad, gone = FileIndex(root, tmp_path / "memory").read(["a/x.png", "b.png", "gone.png"])
        assert good.problem is None
        assert "b.png" in str(bad.problem)
        assert "gone.png" in str(gone.problem)
        assert gone.digest == ""


def test_two_roots_do_not_share_what_is_remembered(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (3, 4), (9, 9, 9)).save(other / "b.png")
    digests(root, tmp_path / "memory")
    assert digests(other, tmp_path / "memory", ["b.png"]) == [blake3((other / "b.png").read_bytes()).hexdigest()]
    assert digests(root, tmp_path / "memory") == expected(root)
