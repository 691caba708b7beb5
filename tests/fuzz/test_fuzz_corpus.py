"""Inputs that fuzzing has found worth keeping, and some near them; fuzzing itself is done by ``fuzz_readers.py``."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from fuzz_targets import TARGETS, BrokenReaderError, mutated, pack, record, seeds

CORPUS = Path(__file__).parent / "corpus"


def kept(name: str) -> list[Path]:
    return sorted((CORPUS / name).iterdir())


@pytest.mark.parametrize("name", TARGETS)
def test_every_kept_input_is_read_or_refused_as_it_should_be(name: str) -> None:
    paths = kept(name)
    assert paths
    for path in paths:
        data = path.read_bytes()
        assert len(data) < 4096, path
        try:
            TARGETS[name](data)
        except BaseException as error:
            error.add_note(str(path))
            raise


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_near_the_kept_ones_are_read_or_refused_too(name: str, count: Callable[[int, int], int]) -> None:
    source = random.Random(0)
    good = [*seeds(name), *(path.read_bytes() for path in kept(name))]
    for _ in range(count(150, 20_000)):
        data = mutated(source.choice(good), source)
        try:
            TARGETS[name](data)
        except BaseException as error:
            error.add_note(repr(data))
            raise


def test_a_target_notices_a_reader_that_gives_out_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    (data, *_) = [data for data in seeds("record") if b'"commit"' in data]
    other = data[1:].replace(b"one", b"two")
    monkeypatch.setattr("mlgit.objects.commit.Commit.encode", lambda *_: other)
    with pytest.raises(BrokenReaderError):
        record(data)
    monkeypatch.setattr("mlgit.storage.objects.ObjectDatabase.read", lambda *_: b"other bytes")
    with pytest.raises(BrokenReaderError):
        pack(next(seeds("pack")))
