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
