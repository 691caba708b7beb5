from __future__ import annotations

import json

import pytest

from mlgit.errors import CorruptObjectError
from mlgit.objects import Commit, Identity, Manifest, Stage, Timestamp

COMMIT = Commit(
    manifest=Manifest({}).id, parents=(), stage=Stage.PRETRAIN, author=Identity("Ada", "ada@example.org"),
    time=Timestamp(1), message="one", made={"value": "PLACE"},
)  # fmt: skip


@pytest.mark.parametrize(
    "value", [b"9007199254740992", b"-9007199254740992", b"1e400", b"NaN", b'"\\ud800"', b'{"\\udc00":1}', b"9" * 5000]
)
def test_a_value_without_canonical_form_is_damage_and_not_found_when_it_is_written_again(value: bytes) -> None:
    with pytest.raises(CorruptObjectError, match="a commit is not readable"):
        Commit.decode(COMMIT.encode().replace(b'"PLACE"', value))


@pytest.mark.parametrize("value", [b"9007199254740991", b"1.5", b'"\\ud83d\\ude00"', b"null", b'"\\u00e9"'])
def test_a_value_with_one_comes_back(value: bytes) -> None:
    read = Commit.decode(COMMIT.encode().replace(b'"PLACE"', value))
    assert read.made == {"value": json.loads(value)}
    assert Commit.decode(read.encode()) == read


TENSOR = {"id": "ab" * 32, "dtype": "U8", "shape": [1]}
FILE = {"path": "a.txt", "blob": "cd" * 32, "size": 1}


def manifest(tensors: str = "{}", files: str = "[]", **fields: object) -> bytes:
    rest = json.dumps({"type": "manifest", "version": 1, "factory": None, "head": None, **fields})[:-1]
    return f'{rest}, "tensors": {tensors}, "files": {files}}}'.encode()


def test_a_manifest_of_this_form_is_read() -> None:
    read = Manifest.decode(manifest(json.dumps({"w": TENSOR}), json.dumps([FILE])))
    assert (list(read.tensors), [file.path for file in read.files]) == (["w"], ["a.txt"])


@pytest.mark.parametrize(
    "data",
    [
        manifest(f'{{"w": {json.dumps(TENSOR)}, "w": {json.dumps(TENSOR)}}}'),
        manifest(f'{{"w": {json.dumps(TENSOR)}, "\\u0077": {json.dumps(TENSOR)}}}'),
        manifest(files=json.dumps([FILE, FILE])),
        manifest(files=json.dumps([{**FILE, "path": "../a"}])),
        manifest(files=json.dumps([{**FILE, "path": "/a"}])),
        manifest(files=json.dumps([{**FILE, "path": ".mlgit/HEAD"}])),
        manifest(files=json.dumps([{**FILE, "path": "a\\b"}])),
        manifest(json.dumps({"../w": TENSOR})),
        manifest(json.dumps({"w\x1b[31m": TENSOR})),
        manifest(json.dumps({"w\u202e": TENSOR})),
        manifest(json.dumps({"w" * 5000: TENSOR})),
        manifest(json.dumps({"w": {**TENSOR, "shape": [2**60, 2**60]}})),
        manifest(json.dumps({"w": {**TENSOR, "shape": [-1]}})),
        manifest(json.dumps({"w": {**TENSOR, "shape": [True]}})),
        manifest(json.dumps({"w": {**TENSOR, "dtype": "U7"}})),
        manifest(json.dumps({"w": {**TENSOR, "id": "AB" * 32}})),
        manifest(version=2),
        b"[" * 100_000,
        b'{"type":' * 100_000,
    ],
    ids=lambda data: repr(data[-60:]),
)
def test_a_hostile_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptObjectError):
        Manifest.decode(data)


def test_a_hostile_manifest_is_refused_in_the_canonical_form_too() -> None:
    good = Manifest.decode(manifest(json.dumps({"v": TENSOR, "w": TENSOR}))).encode()
    assert Manifest.decode(good).encode() == good
    for old, new in ((b'"v":', b'"w":'), (b'"U8"', b'"U7"'), (b"[1]", b"[1e1]"), (b"[1]", b"[01]"), (b"ab", b"AB")):
        assert old in good
        with pytest.raises(CorruptObjectError):
            Manifest.decode(good.replace(old, new, 1))
