"""The quick writers and readers of long tables of tensors, compared with the general ones."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgit.errors import CorruptObjectError, InvalidInputError
from mlgit.objects import Manifest, TensorEntry, TensorFile, TensorId, blob_id, tensor_table
from mlgit.objects.encoding import canonical_json
from mlgit.objects.record import VERSION, Record
from mlgit.weights import header as module
from mlgit.weights.header import build_header, parse_header

DIGITS = "0123456789abcdef"
NAMES = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=12),
    st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp")), min_size=1, max_size=6),
).filter(lambda name: ".." not in name)
FORMS = st.tuples(st.sampled_from(["F32", "BF16", "U8", "F64"]), st.lists(st.integers(0, 9), max_size=4))
TENSORS = st.dictionaries(NAMES, FORMS, max_size=8)


def manifest(forms: dict[str, tuple[str, list[int]]]) -> Manifest:
    entries = {
        name: TensorEntry(TensorId(DIGITS[number % 16] * 64), dtype, tuple(shape))
        for number, (name, (dtype, shape)) in enumerate(forms.items())
    }
    return Manifest(entries, (TensorFile("model.safetensors", blob_id([b"{}"])),), factory='a"],"tensors":{')


@given(TENSORS)
def test_a_manifest_is_written_as_the_general_writer_writes_it(forms: dict[str, tuple[str, list[int]]]) -> None:
    made = manifest(forms)
    assert made.encode() == canonical_json({"type": "manifest", "version": VERSION, **made.to_json()})


@given(TENSORS)
def test_a_manifest_is_read_as_the_general_reader_reads_it(forms: dict[str, tuple[str, list[int]]]) -> None:
    made = manifest(forms)
    data = made.encode()
    assert Manifest.decode(data) == made == Record.decode.__func__(Manifest, data)  # type: ignore[attr-defined]


def outcome(read: object, data: bytes) -> object:
    try:
        return read(data)  # type: ignore[operator]
    except CorruptObjectError as error:
        return type(error)


@given(TENSORS, st.data())
def test_both_readers_agree_on_a_manifest_with_a_changed_byte(
    forms: dict[str, tuple[str, list[int]]], data: st.DataObject
) -> None:
    encoded = bytearray(manifest(forms).encode())
    place = data.draw(st.integers(0, len(encoded) - 1))
    if data.draw(st.booleans()):
        encoded[place] = data.draw(st.integers(0, 255))
    else:
        length = data.draw(st.integers(1, 40))
        encoded[place:place] = encoded[max(0, place - length) : place]
    general = Record.decode.__func__  # type: ignore[attr-defined]
    assert outcome(Manifest.decode, bytes(encoded)) == outcome(lambda raw: general(Manifest, raw), bytes(encoded))


@pytest.mark.parametrize(
    "nested",
    [
        '{"factory":null,"files":[{"blob":"0","path":"x","size":1,"tensors":{%s},"type":"manifest","version":1}',
        '{"factory":null,"files":[],"head":null,"tensors":{},"tensors":{%s},"type":"manifest","version":1}',
        '{"factory":null,"files":[],"head":null,"tensors":{%s,%s},"type":"manifest","version":1}',
        '{"factory":null,"files":[],"head":null,"tensors":{%s,},"type":"manifest","version":1}',
        '{"factory":null,"files":[],"head":null,"tensors":{,%s},"type":"manifest","version":1}',
    ],
)
def test_a_table_in_the_wrong_place_is_refused(nested: str) -> None:
    row = f'"w":{{"dtype":"F32","id":"{"a" * 64}","shape":[1]}}'
    with pytest.raises(CorruptObjectError):
        Manifest.decode(nested.replace("%s", row).encode())


def test_plain_tables_are_read_the_quick_way() -> None:
    forms = {f"layer.{number}": ("F32", [number, 3]) for number in range(50)}
    data = manifest(forms).encode()
    assert tensor_table.take(data) is not None
    assert module._parse_plain(build_header({n: (d, s) for n, (d, s) in forms.items()}).raw.decode()) is not None


def parsed(read: object, text: str) -> object:
    try:
        entries, metadata = read(text)  # type: ignore[operator, misc]
    except (InvalidInputError, ValueError):
        return None
    return entries, metadata


@given(TENSORS, st.one_of(st.none(), st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2)), st.data())
def test_both_readers_agree_on_headers_whole_or_hurt(
    forms: dict[str, tuple[str, list[int]]], metadata: dict[str, str] | None, data: st.DataObject
) -> None:
    try:
        built = build_header({name: (dtype, tuple(shape)) for name, (dtype, shape) in forms.items()}, metadata)
    except InvalidInputError:
        return
    text = built.raw.decode()
    if data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(text) - 1))
        length = data.draw(st.integers(0, 30))
        text = text[:place] + data.draw(st.text(max_size=1)) + text[max(0, place - length) :]
    quick = module._parse_plain(text)
    general = parsed(lambda given: module._parse_any(given, "a file"), text)
    assert quick is None or quick == general
    if text == built.raw.decode():
        assert general == (sorted(built.entries, key=lambda entry: entry.start), dict(built.metadata)) or not forms


@pytest.mark.parametrize(
    "text", ['{"__metadata__":{}}', "{}", '{"__metadata__":{"a":"b"},}', '{"__metadata__":{"a":"b"}']
)
def test_headers_without_tensors_are_left_to_the_general_reader(text: str) -> None:
    assert module._parse_plain(text) is None


def test_a_header_of_the_reference_library_is_read_the_quick_way() -> None:
    import torch
    from safetensors.torch import save

    raw = save({"a.b": torch.zeros(2, 3), "c": torch.zeros(())}, {"format": "pt"})
    length = int.from_bytes(raw[:8], "little")
    header = parse_header(raw[8 : 8 + length], "a file")
    assert module._parse_plain(header.raw.decode()) == (list(header.entries), {"format": "pt"})
    assert set(json.loads(header.raw)) == {"__metadata__", "a.b", "c"}
