"""The examples of ``docs/format.md`` give the ids it states, by its own program and by mlgit."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlgit.objects import (
    BITS,
    CertificateResult,
    CheckResult,
    Commit,
    Identity,
    Manifest,
    ManifestId,
    Role,
    Stage,
    Tag,
    TaskRef,
    TensorEntry,
    TensorFile,
    Timestamp,
    blob_id,
    tensor_id,
)
from mlgit.objects.record import RECORDS, record_type

DOCUMENT = Path(__file__).parents[2] / "docs" / "format.md"
GOLDEN = {
    "tensor": "67b7c3530040b4b965febb0b25f1bab9257bdfa23832405da37792c96de9796f",
    "blob": "64f8c938581bd4ed67223186969efa73f14b43f7e2007ff72d4f46cd4dd14b80",
    "manifest": "6ef78c6a07b599dd8b22603c2ea5d4d0d86b85d3524b63e00433bb4d197face4",
    "commit": "9917ed315bc9ea41e2e84110cfd11444d3038a057ec2093f92aec9f4813bf3b4",
    "tag": "072f5275151061d1be8c561ba30bf72e0e333774bdae5c7d14b1e1ba51b94d98",
    "certificate": "39cdf1ea48d9cebc3db8925dd931f585ab7c965038781332abff971b6735036d",
}
"""Ids of version 1; they hold for ever. What needs other ids needs another version."""

ADA = Identity("Ada", "ada@example.org")


def program() -> str:
    """Return the document's blocks as the one program they are said to be."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text("utf-8"), re.DOTALL | re.MULTILINE))


def stated() -> dict[str, str]:
    return dict(re.findall(r'^assert (\w+) == "([0-9a-f]{64})"$', DOCUMENT.read_text("utf-8"), re.MULTILINE))


def mlgit_ids() -> dict[str, str]:
    """Build the objects of the examples with mlgit's own classes."""
    tensor = tensor_id("F32", [2], [struct.pack("<2f", 1.0, -2.0)])
    header = blob_id([b'{"weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}     '])
    manifest = Manifest({"weight": TensorEntry(tensor, "F32", (2,))}, (TensorFile("model.safetensors", header),))
    commit = Commit(
        manifest=manifest.id,
        stage=Stage.PRETRAIN,
        made={"command": "import", "source": "model.safetensors"},
        metrics={"id_accuracy": 0.975},
        author=ADA,
        time=Timestamp(1767268800, 60),
        message="first weights",
    )
    tag = Tag(commit=commit.id, name="v1", tagger=ADA, time=Timestamp(1767268860, 60), message="the first release")
    check = CheckResult(
        metric="accuracy",
        domain=None,
        value=0.9,
        low=0.84,
        high=0.94,
        examples=166,
        direction="at_least",
        threshold=0.75,
        passed=True,
    )
    certificate = CertificateResult(
        commit=commit.id,
        manifest=manifest.id,
        certificate="demo",
        definition=blob_id([b'name = "demo"\n']),
        issuer="",
        task=TaskRef("digit", "0" * 64),
        split="test",
        judge="lower-bound",
        confidence=0.95,
        checks=(check,),
        passed=True,
        code_version="0.1.0",
        examiner=ADA,
        time=Timestamp(1767268920, 60),
    )
    return {
        "tensor": tensor,
        "blob": header,
        "manifest": manifest.id,
        "commit": commit.id,
        "tag": tag.id,
        "certificate": certificate.id,
    }


def test_the_document_states_the_ids_of_version_1() -> None:
    assert stated() == GOLDEN


def test_the_document_s_own_program_computes_them() -> None:
    names: dict[str, Any] = {}
    exec(compile(program(), str(DOCUMENT), "exec"), names)  # noqa: S102 - running the document is the test
    assert {kind: names[kind] for kind in GOLDEN} == GOLDEN


def test_a_wrong_id_in_the_document_would_be_noticed() -> None:
    damaged = program().replace(GOLDEN["manifest"], GOLDEN["commit"])
    assert damaged != program()
    with pytest.raises(AssertionError):
        exec(compile(damaged, str(DOCUMENT), "exec"), {})  # noqa: S102 - running the document is the test


def test_the_program_needs_nothing_but_the_standard_library_and_blake3() -> None:
    imported = re.findall(r"^(?:import|from) (.+?)(?: import .*)?$", program(), re.MULTILINE)
    assert {name.strip() for line in imported for name in line.split(",")} == {"json", "struct", "blake3"}


def test_mlgit_computes_the_same_ids() -> None:
    assert mlgit_ids() == GOLDEN


@pytest.mark.parametrize("hash_seed", ["0", "1", "4242"])
def test_another_process_with_another_order_of_hashes_computes_the_same_ids(hash_seed: str) -> None:
    script = f"import runpy; print(runpy.run_path({str(Path(__file__))!r})['mlgit_ids']())"
    result = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == str(GOLDEN)


def test_every_field_of_every_record_is_in_the_tables() -> None:
    """A field that is written and not described could not be read with the document alone."""
    described = set(re.findall(r"`(\w+)`", DOCUMENT.read_text("utf-8")))

    def keys(value: object) -> set[str]:
        if isinstance(value, dict):
            return set(value).union(*map(keys, value.values()))
        return set().union(*map(keys, value)) if isinstance(value, list) else set()

    manifest = Manifest({}).to_json()
    entry_keys = {"id", "dtype", "shape", "path", "header", "blob", "size", "role", "coefficient"}
    assert keys(dict(manifest)) | entry_keys <= described
    for record in map(record_type, RECORDS):
        assert set(record.__dataclass_fields__) <= described, record.kind


def test_all_dtypes_stages_and_roles_are_in_the_document() -> None:
    text = DOCUMENT.read_text("utf-8")
    for row in re.findall(r"^\| (\d+) \| (`.*`) \|$", text, re.MULTILINE):
        for name in re.findall(r"`(\w+)`", row[1]):
            assert BITS[name] == int(row[0])
    assert all(f"`{name}`" in text for name in [*BITS, *Stage, *Role])


def test_ids_do_not_depend_on_the_order_in_which_names_are_given() -> None:
    entries = {name: TensorEntry(tensor_id("U8", [1], [name.encode()]), "U8", (1,)) for name in "abc"}
    backwards = dict(reversed(entries.items()))
    assert Manifest(entries).id == Manifest(backwards).id == ManifestId(Manifest(entries).id)
