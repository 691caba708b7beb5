from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mlgit.errors import InvalidInputError
from mlgit.progress import NoProgress
from mlgit.tasks import decoding
from mlgit.tasks.decoding import Decoder, Picture
from mlgit.tasks.file_index import FileIndex
from mlgit.tasks.pixel_cache import PixelCache

SIZES = [(9, 12), (1, 1), (40, 7), (16, 16), (9, 12)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "images"
    place.mkdir()
    for number, (height, width) in enumerate(SIZES):
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png")
    (place / "again.png").write_bytes((place / "2.png").read_bytes())
    return place


def pictures(root: Path) -> list[Picture]:
    names = sorted(path.name for path in root.iterdir())
    files = FileIndex(root).read(names)
    return [Picture(name, 0, file.digest) for name, file in zip(names, files, strict=True)]


def cache(root: Path, folder: Path, decode_size: int = 0) -> PixelCache:
    return PixelCache(folder, pictures(root), Decoder(root, decode_size), progress=NoProgress(), title="decoding")


def all_equal(source: PixelCache, root: Path, decode_size: int = 0) -> bool:
    decoder = Decoder(root, decode_size)
    return all(np.array_equal(source.pixels(each), decoder.decode(each.path)) for each in pictures(root))


def forbid_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Decoder, path: str) -> None:
        raise AssertionError(f"{path} was decoded")

    monkeypatch.setattr(decoding.Decoder, "decode", refuse)


def test_images_of_all_sizes_come_back_as_they_are_decoded(root: Path, tmp_path: Path) -> None:
    assert all_equal(cache(root, tmp_path / "cache"), root)
    assert all_equal(cache(root, tmp_path / "cache", 8), root, 8)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_second_run_decodes_nothing(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {each.path: Decoder(root).decode(each.path) for each in pictures(root)}
    assert all_equal(cache(root, tmp_path / "cache"), root)
    second = cache(root, tmp_path / "cache")
    forbid_decoding(monkeypatch)
    for each in pictures(root):
        assert np.array_equal(second.pixels(each), expected[each.path])


def test_equal_images_are_kept_once(root: Path, tmp_path: Path) -> None:
    made = cache(root, tmp_path / "cache")
    made.pixels(pictures(root)[0])
    pixels = sum(3 * height * width for height, width in SIZES)
    assert made.path.stat().st_size - pixels < 32 * len(SIZES) + 200


def test_nothing_is_written_before_an_image_is_asked_for(root: Path, tmp_path: Path) -> None:
    cache(root, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_pixels_cannot_be_changed(root: Path, tmp_path: Path) -> None:
    pixels = cache(root, tmp_path / "cache").pixels(pictures(root)[0])
    with pytest.raises(ValueError, match="read-only"):
        pixels[0, 0, 0] = 1


def test_changed_content_is_another_file(root: Path, tmp_path: Path) -> None:
    cache(root, tmp_path / "cache").pixels(pictures(root)[0])
    Image.new("RGB", (5, 5), (1, 2, 3)).save(root / "0.png")
    assert all_equal(cache(root, tmp_path / "cache"), root)
    assert len(list((tmp_path / "cache").iterdir())) == 2


@settings(max_examples=40, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_changed_byte_anywhere_is_found_and_the_file_made_anew(root: Path, place: float, flip: int) -> None:
    folder = root.parent / "cache"
    made = cache(root, folder)
    made.pixels(pictures(root)[0])
    good = made.path.read_bytes()
    bad = bytearray(good)
    bad[int(place * len(bad))] ^= flip
    made.path.unlink()
    made.path.write_bytes(bad)
    assert all_equal(cache(root, folder), root)
    assert made.path.read_bytes() == good


@pytest.mark.parametrize("length", [0, 1, 50, 300, -1, -40])
def test_a_file_cut_short_or_too_long_is_made_anew(root: Path, tmp_path: Path, length: int) -> None:
    made = cache(root, tmp_path / "cache")
    made.pixels(pictures(root)[0])
    good = made.path.read_bytes()
    for bad in (good[:length], good + b"x" * (abs(length) + 1)):
        made.path.unlink()
        made.path.write_bytes(bad)
        assert all_equal(cache(root, tmp_path / "cache"), root)
        assert made.path.read_bytes() == good


def test_the_file_of_other_images_under_this_name_is_not_believed(root: Path, tmp_path: Path) -> None:
    first = cache(root, tmp_path / "cache")
    first.pixels(pictures(root)[0])
    other = cache(root, tmp_path / "cache", 8)
    other.path.write_bytes(first.path.read_bytes())
    assert all_equal(other, root, 8)


@pytest.mark.parametrize("harm", ["file", "read-only"])
def test_without_a_place_to_write_images_are_decoded_as_they_are_asked_for(
    root: Path, tmp_path: Path, harm: str
) -> None:
    if harm == "file":
        (tmp_path / "cache").write_text("in the way")
    else:
        (tmp_path / "cache").mkdir(mode=0o500)
        if os.access(tmp_path / "cache", os.W_OK):
            pytest.skip("this user may write everywhere")
    assert all_equal(cache(root, tmp_path / "cache"), root)


def test_an_image_that_cannot_be_decoded_leaves_no_file(root: Path, tmp_path: Path) -> None:
    path = root / "3.png"
    path.write_bytes(path.read_bytes()[:-40])
    made = cache(root, tmp_path / "cache")
    with pytest.raises(InvalidInputError, match=r"3\.png"):
        made.pixels(pictures(root)[0])
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_a_killed_process_left_is_removed(root: Path, tmp_path: Path) -> None:
    made = cache(root, tmp_path / "cache")
    made.path.parent.mkdir()
    left = made.path.with_name(f".{made.path.name}.0123456789ab.tmp")
    left.write_bytes(b"half of it")
    assert all_equal(made, root)
    assert list(made.path.parent.iterdir()) == [made.path]


def _use(root: Path, folder: Path, log: Path, ready: object) -> None:
    decode = Decoder.decode

    def counted(self: Decoder, path: str) -> object:
        with log.open("a") as stream:
            stream.write(json.dumps(path) + "\n")
        return decode(self, path)

    Decoder.decode = counted  # type: ignore[method-assign]
    ready.wait()  # type: ignore[attr-defined]
    source = cache(root, folder)
    for each in pictures(root):
        source.pixels(each)


def test_processes_that_start_together_decode_each_image_once(root: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready, log = context.Barrier(4), tmp_path / "log"
    runs = [context.Process(target=_use, args=(root, tmp_path / "cache", log, ready)) for _ in range(4)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0] * 4
    assert len(log.read_text().splitlines()) == len(SIZES)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".pixels"]
