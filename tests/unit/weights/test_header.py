"""The safetensors header: what the format's own library accepts is read alike, what is hostile is refused."""

from __future__ import annotations

import json
import os
import resource
import string
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
import safetensors
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from mlgit.errors import FileSystemError, InvalidInputError
from mlgit.objects import BITS, tensor_size_bytes
from mlgit.weights import header as header_module
from mlgit.weights.header import (
    MAX_DIMENSIONS,
    MAX_HEADER_BYTES,
    Header,
    build_header,
    parse_header,
    read_header,
)

F32_4 = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}

names = st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp")), min_size=1, max_size=20).filter(
    lambda name: ".." not in name and name != "__metadata__"
)
forms = st.tuples(
    st.sampled_from([name for name in BITS if not name.startswith("F6")]),
    st.lists(st.integers(0, 4), max_size=4),
).map(lambda form: (form[0], [*form[1], 4]))
layouts = st.dictionaries(names, forms, max_size=6)
metadata = st.none() | st.dictionaries(st.text(max_size=10), st.text(max_size=10), max_size=3)


def write(path: Path, raw: bytes, data: bytes = b"") -> Path:
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + data)
    return path


def encoded(document: Mapping[str, object]) -> bytes:
    return json.dumps(document).encode()


def refused(raw: bytes) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        parse_header(raw, "evil.safetensors")
    assert caught.value.kind == "bad-safetensors"
    assert "evil.safetensors" in caught.value.message
    return caught.value


def read_or_refused(raw: bytes) -> Header | None:
    try:
        return parse_header(raw, "evil.safetensors")
    except InvalidInputError:
        refused(raw)
        return None


def library_accepts(path: Path) -> bool:
    try:
        with safetensors.safe_open(path, "numpy"):
            return True
    except safetensors.SafetensorError:
        return False


# ------------------------------------------------------------------------------------------------ laws


@given(layouts, metadata)
def test_a_built_header_parses_to_itself(
    layout: dict[str, tuple[str, list[int]]], extra: dict[str, str] | None
) -> None:
    built = build_header(layout, extra)
    assert parse_header(built.raw, "x") == built
    assert {entry.name: (entry.dtype, list(entry.shape)) for entry in built.entries} == layout
    assert dict(built.metadata) == (extra or {})
    assert built.data_size == sum(tensor_size_bytes(*form) for form in layout.values())
    assert built.data_offset % 8 == 0


@given(layouts, metadata)
def test_the_order_of_the_mappings_does_not_matter(
    layout: dict[str, tuple[str, list[int]]], extra: dict[str, str] | None
) -> None:
    def turned(mapping: Mapping[str, object]) -> dict[str, object]:
        return dict(reversed(mapping.items()))

    again = build_header(turned(layout), extra and turned(extra))  # type: ignore[arg-type]  # same values, turned round
    assert again.raw == build_header(layout, extra).raw


@given(layouts)
def test_every_tensor_of_a_built_header_lies_aligned(layout: dict[str, tuple[str, list[int]]]) -> None:
    for entry in build_header(layout).entries:
        assert entry.start % max(1, BITS[entry.dtype] // 8) == 0


@settings(max_examples=60)
@given(layouts, metadata)
def test_the_library_reads_what_is_built(
    tmp_path_factory: pytest.TempPathFactory, layout: dict[str, tuple[str, list[int]]], extra: dict[str, str] | None
) -> None:
    header = build_header(layout, extra)
    path = tmp_path_factory.getbasetemp() / "built.safetensors"
    path.write_bytes(header.prefix + bytes(header.data_size))
    assert read_header(path) == header
    with safetensors.safe_open(path, "numpy") as opened:
        assert set(opened.keys()) == set(layout)
        assert opened.metadata() == (extra or None)
        for name, (dtype, shape) in layout.items():
            assert opened.get_slice(name).get_dtype() == dtype
            assert opened.get_slice(name).get_shape() == shape


@given(st.dictionaries(names, st.sampled_from([torch.float32, torch.bfloat16, torch.int64, torch.bool]), min_size=1))
@settings(max_examples=40)
def test_what_the_library_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory, dtypes: dict[str, torch.dtype]
) -> None:
    path = tmp_path_factory.getbasetemp() / "theirs.safetensors"
    tensors = {name: torch.zeros(index % 3, 2, dtype=dtype) for index, (name, dtype) in enumerate(dtypes.items())}
    save_file(tensors, path, {"format": "pt"})
    header = read_header(path)
    assert {entry.name: entry.shape for entry in header.entries} == {n: tuple(t.shape) for n, t in tensors.items()}
    assert header.metadata == {"format": "pt"}
    assert header.prefix == path.read_bytes()[: header.data_offset]


json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 40) | st.sampled_from(["F32", "U8", "x"]) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*F32_4, "a"]), inner, max_size=4),
    max_leaves=6,
)
entry_like = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "U8", "BOOL", "F4", "F99"]) | json_like,
        "shape": st.lists(st.integers(-1, 4), max_size=3) | json_like,
        "data_offsets": st.lists(st.integers(-1, 32), min_size=2, max_size=2) | json_like,
    }
)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(["a", "b", "__metadata__", "c/d"]), entry_like | json_like, max_size=3))
def test_nothing_is_accepted_that_the_library_refuses(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, object]
) -> None:
    raw = encoded(document)
    header = read_or_refused(raw)
    if header is None:
        return
    path = write(tmp_path_factory.getbasetemp() / "odd.safetensors", raw, bytes(header.data_size))
    assert library_accepts(path)


@given(st.binary(max_size=60) | st.text(string.punctuation + "0a", max_size=40).map(str.encode))
def test_any_bytes_are_read_or_refused_cleanly(raw: bytes) -> None:
    read_or_refused(raw)


# --------------------------------------------------------------------------------------------- details


def test_entries_come_in_the_order_of_their_bytes_with_empty_ones_where_they_stand() -> None:
    header = parse_header(
        encoded(
            {
                "z": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]},
                "late": {"dtype": "U8", "shape": [1], "data_offsets": [2, 3]},
                "empty": {"dtype": "F32", "shape": [0, 7], "data_offsets": [2, 2]},
            }
        ),
        "x",
    )
    assert [entry.name for entry in header.entries] == ["z", "empty", "late"]
    assert header.data_size == 3


def test_spaces_escapes_and_any_order_of_fields_are_json_as_usual() -> None:
    fields = b'{"data_offsets":[ 0 ,2 ],"shape":[ ],"dtype":"BF16"}'
    raw = b'{ "caf\\u00e9" :\t' + fields + b' , "__metadata__":{"k\\n":"\\ud83d\\ude00"}}  '
    header = parse_header(raw, "x")
    assert header.entries[0].name == "café"
    assert header.metadata == {"k\n": "\U0001f600"}
    assert header.raw == raw


def test_an_empty_model_is_a_model(tmp_path: Path) -> None:
    header = read_header(write(tmp_path / "empty.safetensors", b"{}"))
    assert header == Header(b"{}", (), {})
    assert header.file_size == 10


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "0 bytes"),
        (b" {}", "starts with"),
        (b"\xef\xbb\xbf{}", "starts with"),
        (b'{"a\xff":1}', "utf-8"),
        (b'{"a":1}', "'{' is expected"),
        (b"{}x", "the end is expected"),
        (b"{},{}", "the end is expected"),
        (b'{"a":' + encoded(F32_4) + b',"a":' + encoded(F32_4) + b"}", "'a' stands twice"),
        (b'{"a":' + encoded(F32_4) + b',"\\u0061":' + encoded(F32_4) + b"}", "'a' stands twice"),
        (b'{"__metadata__":{"k":"1","k":"2"}}', "'k' stands twice"),
        (b'{"__metadata__":{"k":1}}', "a string is expected"),
        (b'{"__metadata__":null}', "'{' is expected"),
        (b'{"__metadata__":{"k":"\\ud800"}}', "surrogate"),
        (b'{"a":{"dtype":"F32","dtype":"F32","shape":[4]}}', "'dtype' stands twice"),
        (encoded({"a": {"dtype": "F32", "shape": [4]}}), "tensor 'a' needs"),
        (encoded({"a": {**F32_4, "more": 1}}), "more than 3 keys"),
        (encoded({"a": {"dtype": "F32", "shape": [4], "x": []}}), "'x' is unknown"),
        (encoded({"a": {**F32_4, "dtype": "F33"}}), "tensor 'a': no dtype is named 'F33'"),
        (encoded({"a": {**F32_4, "dtype": "f32"}}), "no dtype is named 'f32'"),
        (encoded({"a": {**F32_4, "shape": [-4]}}), "tensor 'a'"),
        (encoded({"a": {**F32_4, "shape": [4.0]}}), "tensor 'a'"),
        (encoded({"a": {**F32_4, "shape": [True]}}), "tensor 'a'"),
        (encoded({"a": {**F32_4, "shape": [[4]]}}), "tensor 'a'"),
        (b'{"a":{"dtype":"F32","shape":[04],"data_offsets":[0,16]}}', "'04'"),
        (b'{"a":{"dtype":"F32","shape":[4,],"data_offsets":[0,16]}}', "''"),
        (encoded({"a": {**F32_4, "shape": [5]}}), "F32[5] takes 20 bytes, but data_offsets are [0, 16]"),
        (encoded({"a": {**F32_4, "data_offsets": [16, 0]}}), "data_offsets are [16, 0]"),
        (encoded({"a": {**F32_4, "data_offsets": [0, 16, 16]}}), "3 items; 2 are allowed"),
        (encoded({"a": {**F32_4, "data_offsets": [4, 20]}}), "starts at byte 4, not 0: it leaves a hole"),
        (
            encoded({"a": F32_4, "b": {**F32_4, "data_offsets": [8, 24]}}),
            "'b' starts at byte 8, not 16: it overlaps with 'a'",
        ),
        (encoded({"a": F32_4, "b": F32_4}), "overlaps"),
        (encoded({"a": F32_4, "b": {**F32_4, "data_offsets": [20, 36]}}), "leaves a hole after 'a'"),
        (encoded({"a": {"dtype": "F4", "shape": [3], "data_offsets": [0, 1]}}), "do not fill whole bytes"),
        (
            encoded({"a": {"dtype": "U8", "shape": [2**62, 4, 0], "data_offsets": [0, 0]}}),
            "larger than any real tensor",
        ),
        (encoded({"a": {"dtype": "U8", "shape": [2**63] * 2, "data_offsets": [0, 0]}}), "larger than any real tensor"),
        (encoded({"a": {"dtype": "U8", "shape": [10**19], "data_offsets": [0, 0]}}), "below 10^19"),
        (encoded({"a": {"dtype": "U8", "shape": [1] * (MAX_DIMENSIONS + 1), "data_offsets": [0, 1]}}), "65 items"),
        (encoded({"": F32_4}), "name of 0 characters"),
        (encoded({"../../x": F32_4}), "'..'"),
        (encoded({"a\x1b[31m": F32_4}), "U+001B"),
        (encoded({"a\u202e": F32_4}), "U+202E"),
        (encoded({"a\u2028b": F32_4}), "U+2028"),
        (encoded({"x" * 5000: F32_4}), "5000 characters"),
        (b'{"a":' * 1000, "tensor 'a'"),
        (b"{" + b'"a":[' * 1000, "'{' is expected"),
        (b'{"a":{"dtype":"F32","shape":' + b"[" * 10000, "tensor 'a'"),
    ],
)
def test_a_bad_header_is_refused_with_its_reason(raw: bytes, words: str) -> None:
    error = refused(raw)
    assert words in error.message
    assert error.message.isprintable()


@pytest.mark.parametrize("name", ["__metadata__", "", "a\nb", "..", "x" * 4097])
def test_a_header_is_not_built_with_a_bad_name(name: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        build_header({name: ("F32", [1])}, source="out.safetensors")
    assert caught.value.kind == "bad-safetensors"
    assert "out.safetensors" in caught.value.message


def test_a_header_is_not_built_with_a_bad_dtype_shape_or_metadata() -> None:
    for layout, extra in [
        ({"a": ("F33", [1])}, None),
        ({"a": ("F32", [-1])}, None),
        ({"a": ("F32", [2**60])}, None),
        ({"a": ("F32", [1])}, {"k": "\ud800"}),
        ({"a": ("F32", [1])}, {"k": "x" * MAX_HEADER_BYTES}),
    ]:
        with pytest.raises(InvalidInputError):
            build_header(layout, extra)


def test_as_many_tensors_as_allowed_are_read_and_one_more_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header_module, "MAX_TENSORS", 50)
    layout = {f"t{number}": ("U8", (0,)) for number in range(50)}
    built = build_header(layout, {"format": "pt"})
    assert len(parse_header(built.raw, "x").entries) == 50
    with pytest.raises(InvalidInputError, match="51 tensors are more than 50"):
        build_header({**layout, "one more": ("U8", (0,))})
    for before in (built, build_header(layout)):
        entry = encoded({"dtype": "U8", "shape": [0], "data_offsets": [0, 0]})
        assert "more than 50 tensors" in refused(before.raw.rstrip()[:-1] + b',"more":' + entry + b"}").message


# ---------------------------------------------------------------------------------------------- files


def tiny(path: Path) -> tuple[Path, bytes]:
    header = build_header({"b": ("F32", [2]), "a": ("U8", [3])}, {"format": "pt"})
    content = header.prefix + bytes(range(header.data_size))
    path.write_bytes(content)
    return path, content


def test_a_file_cut_short_at_any_byte_or_with_a_byte_too_many_is_refused(tmp_path: Path) -> None:
    path, content = tiny(tmp_path / "t.safetensors")
    for wrong in [*(content[:end] for end in range(len(content))), content + b"\0"]:
        path.write_bytes(wrong)
        with pytest.raises(InvalidInputError, match=r"t\.safetensors") as caught:
            read_header(path)
        assert caught.value.kind == "bad-safetensors"
        assert not library_accepts(path)


def test_a_file_with_any_one_byte_wrong_is_read_or_refused_as_the_library_does_or_more_strictly(tmp_path: Path) -> None:
    path, content = tiny(tmp_path / "t.safetensors")
    end = read_header(path).data_offset
    for place in range(end):
        for flip in (0x01, 0x20, 0x80):
            changed = bytearray(content)
            changed[place] ^= flip
            path.write_bytes(changed)
            with suppress(InvalidInputError):
                read_header(path)
                assert library_accepts(path)


def test_a_missing_file_a_directory_and_a_pipe_are_not_models(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_header(tmp_path / "none")
    with pytest.raises((InvalidInputError, FileSystemError)):
        read_header(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInputError, match="not a regular file"):
        read_header(tmp_path / "pipe")


def in_little_memory(code: str, path: Path) -> None:
    """Run code in a process that may take 250 MB of memory and 10 s of processor time."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (250 * 2**20, 250 * 2**20))
        resource.setrlimit(resource.RLIMIT_CPU, (10, 10))

    program = textwrap.dedent("""
        import sys
        from pathlib import Path
        from mlgit.errors import InvalidInputError
        from mlgit.weights.header import read_header
        try:
            read_header(Path(sys.argv[1]))
        except InvalidInputError as error:
            assert error.kind == "bad-safetensors", error
            print(error)
        assert "torch" not in sys.modules and "numpy" not in sys.modules
    """)
    done = subprocess.run(
        [sys.executable, "-c", program + code, str(path)], capture_output=True, text=True, preexec_fn=limit, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "evil" in done.stdout


@pytest.mark.parametrize(
    "length",
    [2**60, 2**63, 2**64 - 1, 2**39, MAX_HEADER_BYTES + 1, 1],
    ids=["2^60", "2^63", "2^64-1", "2^39, which the file has", "one too many", "1"],
)
def test_a_header_of_impossible_length_is_refused_before_it_is_read(tmp_path: Path, length: int) -> None:
    path = tmp_path / "evil.safetensors"
    with path.open("wb") as stream:
        stream.write(length.to_bytes(8, "little"))
        stream.truncate(2**40)  # a hole: takes no room
    in_little_memory("", path)


@pytest.mark.parametrize(
    "raw",
    [
        b"{" + b",".join(b'"%d":{"dtype":"U8","shape":[],"data_offsets":[0,0]}' % i for i in range(300_000)) + b"}",
        b'{"a":{"dtype":"F32","shape":[' + b"1," * 8_000_000 + b'1],"data_offsets":[0,4]}}',
        b'{"a":' + b"[" * 16_000_000,
        b'{"a":' + b"[]," * 5_000_000,
        b'{"a":{"b":' * 1_500_000,
        b'{"__metadata__":{' + b",".join(b'"%d":""' % i for i in range(1_000_000)) + b"}}",
        b'{"a":{"dtype":"' + b"x" * 16_000_000 + b'"}}',
        b'{"' + b"\\u0000" * 2_500_000 + b'":{}}',
        b'{"a":{"dtype":"U8","shape":[' + b"9" * 16_000_000 + b'],"data_offsets":[0,0]}}',
        b'{"' + b'\\"' * 8_000_000,
        b" " * 16_000_000,
        b"{" + b" " * 16_000_000,
    ],
    ids=[
        "tensors", "extents", "deep lists", "many lists", "deep objects", "metadata", "dtype", "escapes", "digits",
        "unterminated", "spaces", "only spaces",
    ],
)  # fmt: skip
def test_a_bomb_is_refused_in_bounded_time_and_memory(tmp_path: Path, raw: bytes) -> None:
    in_little_memory("", write(tmp_path / "evil.safetensors", raw[:MAX_HEADER_BYTES]))
