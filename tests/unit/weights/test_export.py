"""Weights written for other tools, read back with those tools."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file

from mlgit.errors import AlreadyExistsError, FileSystemError, InvalidInputError
from mlgit.objects import Manifest
from mlgit.storage.objects import ObjectDatabase
from mlgit.weights.export import FORMATS, Format, export
from mlgit.weights.files import FileWeights
from mlgit.weights.header import read_header
from mlgit.weights.sharding import check_shards, index_bytes, read_index, shards
from mlgit.weights.sources import read_source
from mlgit.weights.stored import StoredWeights, store, tensor_bytes
from mlgit.weights.types import DTYPES, Weights, tensor_form

NAMES = {"safetensors": "m.safetensors", "huggingface": "m", "pt": "m.pt"}
formats = pytest.mark.parametrize("file_format", FORMATS)


def model() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    table = torch.randn(6, 4)
    return {
        "embed": table,
        "head": table,
        "turned": table.t(),
        "part": table[1:3, ::2],
        "scalar": torch.tensor(3.5).bfloat16(),
        "empty": torch.empty(0, 5),
        "n": torch.tensor([2**60]),
        "mask": torch.tensor([True, False]),
        "complex": torch.tensor([1 + 2j], dtype=torch.complex64).conj(),
        "fp8": torch.tensor([1.5, -2.0]).to(torch.float8_e4m3fn),
        "grad": torch.nn.Parameter(torch.ones(2)),
        "ü.β": torch.ones(1),
    }


def bits(weights: Mapping[str, torch.Tensor]) -> dict[str, object]:
    return {name: (tensor_form(tensor), bytes(tensor_bytes(tensor))) for name, tensor in weights.items()}


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def read_back(path: Path, file_format: str) -> Mapping[str, torch.Tensor]:
    """Read with the tool the format is for."""
    if file_format == "pt":
        loaded: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
        return loaded
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


@formats
def test_what_is_exported_is_what_the_format_s_own_tool_reads(tmp_path: Path, file_format: Format) -> None:
    destination = tmp_path / NAMES[file_format]
    written = export(model(), destination, file_format)
    assert bits(read_back(destination, file_format)) == bits(model())
    assert all(path.is_file() for path in written)
    assert bits(read_source(destination).weights) == bits(model())
    assert not [name for name in listed(tmp_path) if name.startswith(".")]


@formats
def test_stored_weights_are_exported_like_others(tmp_path: Path, objects: ObjectDatabase, file_format: Format) -> None:
    with objects.transaction() as transaction:
        manifest = Manifest(store(transaction, model()))
    for weights, name in ((StoredWeights(objects, manifest), "stored"), (model(), "plain")):
        export(weights, tmp_path / name, file_format)
    assert bits(read_back(tmp_path / "stored", file_format)) == bits(read_back(tmp_path / "plain", file_format))


@pytest.mark.parametrize("dtype", sorted(set(DTYPES) - {"F4"}))
def test_every_dtype_is_exported_bit_for_bit(tmp_path: Path, dtype: str) -> None:
    tensor = torch.arange(16, dtype=torch.uint8)
    weights = {"x": (tensor & 1 if dtype == "BOOL" else tensor).view(DTYPES[dtype])}
    for file_format in FORMATS:
        export(weights, tmp_path / file_format, file_format)
        assert bits(read_back(tmp_path / file_format, file_format)) == bits(weights)


def test_packed_halves_are_exported_with_their_number_of_elements(tmp_path: Path) -> None:
    weights = {"x": torch.arange(6, dtype=torch.uint8).reshape(2, 3).view(DTYPES["F4"])}
    export(weights, tmp_path / "m.safetensors", "safetensors")
    (entry,) = read_header(tmp_path / "m.safetensors").entries
    assert (entry.dtype, entry.shape) == ("F4", (2, 6))
    assert load_file(tmp_path / "m.safetensors")["x"].shape == (2, 3)


def test_the_same_weights_give_the_same_file(tmp_path: Path) -> None:
    for name, weights in (("a", model()), ("b", dict(reversed(model().items())))):
        export(weights, tmp_path / name, "safetensors")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with safe_open(tmp_path / "a", "pt") as opened:
        assert opened.metadata() == {"format": "pt"}


def test_a_view_is_exported_without_the_memory_around_it(tmp_path: Path) -> None:
    export({"x": torch.zeros(10**6)[:2]}, tmp_path / "m.pt", "pt")
    assert (tmp_path / "m.pt").stat().st_size < 10_000


def test_tied_tensors_are_written_once_to_pt(tmp_path: Path) -> None:
    table = torch.zeros(10**5)
    export({"a": table, "b": table}, tmp_path / "m.pt", "pt")
    assert (tmp_path / "m.pt").stat().st_size < 500_000


# ------------------------------------------------------------------------------------------------- shards


def test_shards_carry_an_index_that_others_follow(tmp_path: Path) -> None:
    weights = {f"w{number}": torch.full((10,), float(number)) for number in range(5)}
    root = tmp_path / "m"
    written = export(weights, root, "huggingface", max_shard_bytes=80, files={"config.json": b"{}", "sub/x.txt": b"x"})
    assert [path.relative_to(root).as_posix() for path in written] == [
        "config.json",
        *(f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)),
        "model.safetensors.index.json",
        "sub/x.txt",
    ]
    index = json.loads((root / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": 200}
    for name, file in index["weight_map"].items():
        assert torch.equal(load_file(root / file)[name], weights[name])
    source = read_source(root)
    assert bits(source.weights) == bits(weights)
    assert {file.path for file in source.files} == {path.relative_to(root).as_posix() for path in written}


@given(st.dictionaries(st.text("abc", min_size=1), st.integers(0, 50)), st.integers(1, 60))
def test_shards_hold_each_tensor_once_in_order_and_within_the_limit(sizes: dict[str, int], limit: int) -> None:
    layout = shards(sizes, "model", ".safetensors", limit)
    assert [name for names in layout.values() for name in names] == list(sizes)
    for names in layout.values():
        assert sum(sizes[name] for name in names) <= limit or len(names) == 1
    if sum(sizes.values()) <= limit:
        assert list(layout) == ["model.safetensors"]
    else:
        assert (
            list(layout)
            == [f"model-{number:05d}-of-{len(layout):05d}.safetensors" for number in range(1, len(layout) + 1)]
            or len(layout) == 1
        )


def test_an_index_is_read_as_it_was_written(tmp_path: Path) -> None:
    layout = {"a.safetensors": ("x", "y"), "b.safetensors": ("z",)}
    path = tmp_path / "model.safetensors.index.json"
    path.write_bytes(index_bytes(layout, 7))
    weight_map = read_index(path)
    assert weight_map == {"x": "a.safetensors", "y": "a.safetensors", "z": "b.safetensors"}
    check_shards(path, weight_map, layout.__getitem__)


def test_a_limit_below_one_byte_gives_each_tensor_its_file(tmp_path: Path) -> None:
    export({"a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "m", "huggingface", max_shard_bytes=0)
    assert len(list((tmp_path / "m").glob("*.safetensors"))) == 2


# ----------------------------------------------------------------------------------- existing destinations


@formats
def test_an_existing_destination_is_kept_unless_forced(tmp_path: Path, file_format: Format) -> None:
    destination = tmp_path / NAMES[file_format]
    export({"x": torch.zeros(1)}, destination, file_format)
    with pytest.raises(AlreadyExistsError, match="exists already") as caught:
        export({"x": torch.ones(1)}, destination, file_format)
    assert caught.value.kind == "destination-exists"
    assert read_back(destination, file_format)["x"].item() == 0
    export({"x": torch.ones(1)}, destination, file_format, force=True)
    assert read_back(destination, file_format)["x"].item() == 1


@formats
def test_a_destination_of_the_other_kind_is_never_replaced(tmp_path: Path, file_format: Format) -> None:
    destination = tmp_path / "there"
    if file_format == "huggingface":
        destination.write_text("keep")
    else:
        destination.mkdir()
        (destination / "keep").write_text("keep")
    with pytest.raises(AlreadyExistsError, match="is a"):
        export({"x": torch.ones(1)}, destination, file_format, force=True)
    assert destination.is_file() or (destination / "keep").exists()


def test_forcing_a_directory_removes_the_model_s_old_files_and_nothing_else(tmp_path: Path) -> None:
    root = tmp_path / "m"
    weights = {"a": torch.ones(2), "b": torch.ones(2)}
    export(weights, root, "huggingface", max_shard_bytes=8, files={"config.json": b"old"})
    (root / "notes.txt").write_text("mine")
    (root / "lora.safetensors").write_text("mine")
    export(weights, root, "huggingface", files={"config.json": b"new"}, force=True)
    assert listed(root) == ["config.json", "lora.safetensors", "model.safetensors", "notes.txt"]
    assert (root / "config.json").read_bytes() == b"new"
    export(weights, root, "huggingface", max_shard_bytes=8, force=True)
    assert bits(read_back_model(root)) == bits(weights)
    assert not (root / "model.safetensors").exists()


def read_back_model(root: Path) -> Mapping[str, torch.Tensor]:
    names = set(read_index(root / "model.safetensors.index.json").values())
    return FileWeights([(root / name, read_header(root / name)) for name in names])


@pytest.mark.parametrize("path", ["../x", "/x", "model.safetensors", "model-00001-of-00009.safetensors", ".mlgit/x"])
def test_other_files_cannot_leave_the_directory_or_replace_weights(tmp_path: Path, path: str) -> None:
    with pytest.raises(InvalidInputError):
        export({"x": torch.ones(1)}, tmp_path / "m", "huggingface", files={path: b""})
    assert listed(tmp_path) == []


def test_an_unknown_format_is_refused_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        export({}, tmp_path / "m", "safetensor")  # type: ignore[arg-type]  # wrong on purpose
    assert caught.value.hint == "did you mean 'safetensors'?"


# ------------------------------------------------------------------------------------------------ failures


class Failing(Mapping[str, torch.Tensor]):
    """Weights that raise when the second tensor is read."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.weights = {"a": torch.ones(4), "b": torch.ones(4)}
        self.entries = {name: tensor_form(tensor) for name, tensor in self.weights.items()}

    def __getitem__(self, name: str) -> torch.Tensor:
        if name == "b":
            raise self.error
        return self.weights[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.weights)

    def __len__(self) -> int:
        return len(self.weights)


@formats
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "broken")], ids=["Ctrl-C", "EIO"])
@pytest.mark.parametrize("existing", [False, True])
def test_a_failure_half_way_leaves_what_was_there(
    tmp_path: Path, file_format: Format, error: BaseException, existing: bool
) -> None:
    destination = tmp_path / NAMES[file_format]
    if existing:
        export({"x": torch.zeros(1)}, destination, file_format)
    with pytest.raises((type(error), FileSystemError)):
        export(Failing(error), destination, file_format, max_shard_bytes=16, force=existing)
    assert listed(tmp_path) == ([NAMES[file_format]] if existing else [])
    if existing:
        assert read_back(destination, file_format)["x"].item() == 0


@formats
def test_a_tensor_that_cannot_be_written_is_refused_before_anything_is(tmp_path: Path, file_format: Format) -> None:
    weights: Weights = {"a": torch.ones(1), "s": torch.ones(2).to_sparse()}
    with pytest.raises(InvalidInputError, match="'s' is sparse"):
        export(weights, tmp_path / "m", file_format)
    assert listed(tmp_path) == []


@formats
def test_a_missing_folder_is_told(tmp_path: Path, file_format: Format) -> None:
    with pytest.raises(FileSystemError, match="no such file or directory"):
        export({"x": torch.ones(1)}, tmp_path / "none" / "m", file_format)


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import os, resource, sys
        from pathlib import Path
        import torch
        from mlgit.errors import FileSystemError
        from mlgit.weights.export import FORMATS, export
        weights = {"x": torch.zeros(10**6), "y": torch.zeros(10)}
        root = Path(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (10**5, 10**5))
        for file_format in FORMATS:
            try:
                export(weights, root / "m", file_format)
            except FileSystemError as error:
                print(error, error.hint)
            assert os.listdir(root) == [], os.listdir(root)
    """)
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("file too large") == 3
    assert done.stdout.count("ulimit") == 3
