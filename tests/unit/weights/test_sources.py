"""Models from outside: single files and directories in the manner of Hugging Face."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mlgit.errors import FileSystemError, InvalidInputError, MlgitError, NotFoundError
from mlgit.weights import directory
from mlgit.weights.sources import Source, read_source

MODEL = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2]), "c": torch.ones(3).bfloat16()}


def same(left: Mapping[str, torch.Tensor], right: Mapping[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype and torch.equal(left[name], right[name]) for name in left
    )


def refused(path: Path) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        read_source(path)
    return caught.value


def small_files(root: Path) -> None:
    (root / "config.json").write_text("{}")
    (root / "README.md").write_text("# model")
    (root / "1_Pooling").mkdir()
    (root / "1_Pooling" / "config.json").write_text('{"pool": 1}')
    (root / ".git").mkdir()
    (root / ".git" / "HEAD").write_text("x")
    (root / ".gitattributes").write_text("x")
    (root / "optimizer.pt").write_bytes(b"pickle")
    (root / "tf_model.h5").write_bytes(b"h5")


SMALL = ["1_Pooling/config.json", "README.md", "config.json"]


def sharded(
    root: Path, parts: Mapping[str, Mapping[str, torch.Tensor]], weight_map: Mapping[str, object] | None = None
) -> Path:
    for file, tensors in parts.items():
        save_file(dict(tensors), root / file)
    names = {name: file for file, tensors in parts.items() for name in tensors}
    index = root / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map or names}))
    return root


PARTS = {
    "model-00001-of-00002.safetensors": {"a.weight": MODEL["a.weight"]},
    "model-00002-of-00002.safetensors": {"b": MODEL["b"], "c": MODEL["c"]},
}


def test_a_safetensors_file_is_copied_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "best_v3_final.safetensors"
    save_file(MODEL, path, {"format": "pt"})
    source = read_source(path)
    (file,) = source.files
    assert (file.path, file.location) == ("model.safetensors", path)
    assert file.header is not None
    assert path.read_bytes().startswith(file.header.prefix)
    assert source.loose is None
    assert same(source.weights, load_file(path))


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt", ".PT"])
def test_a_pickle_gives_weights_to_write(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    torch.save({"state_dict": MODEL, "epoch": 1}, path)
    source = read_source(path)
    assert source.files == ()
    assert source.loose is not None
    assert same(source.loose, MODEL)
    assert source.loose_path == "model.safetensors"
    assert source.skipped == ("'epoch'",)


def test_a_directory_with_one_file_keeps_its_small_files(tmp_path: Path) -> None:
    save_file(MODEL, tmp_path / "model.safetensors")
    small_files(tmp_path)
    source = read_source(tmp_path)
    assert [file.path for file in source.files] == [*SMALL, "model.safetensors"]
    assert [file.path for file in source.files if file.header] == ["model.safetensors"]
    assert source.skipped == ("optimizer.pt", "tf_model.h5")
    assert same(source.weights, MODEL)


def test_a_sharded_directory_is_one_model(tmp_path: Path) -> None:
    sharded(tmp_path, PARTS)
    small_files(tmp_path)
    source = read_source(tmp_path)
    assert [file.path for file in source.files] == sorted([*SMALL, *PARTS, "model.safetensors.index.json"])
    assert same(source.weights, MODEL)
    assert list(source.weights) == sorted(MODEL)


def test_an_adapter_directory_is_a_model_directory(tmp_path: Path) -> None:
    save_file({"lora_A": torch.ones(2)}, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text("{}")
    assert [file.path for file in read_source(tmp_path).files] == ["adapter_config.json", "adapter_model.safetensors"]


def test_a_pickled_directory_gives_weights_to_write_and_small_files(tmp_path: Path) -> None:
    torch.save(MODEL, tmp_path / "pytorch_model.bin")
    small_files(tmp_path)
    source = read_source(tmp_path)
    assert [file.path for file in source.files] == SMALL
    assert same(source.weights, MODEL)
    assert source.skipped == ("optimizer.pt", "tf_model.h5")


def test_a_pickled_adapter_keeps_its_name(tmp_path: Path) -> None:
    torch.save(MODEL, tmp_path / "adapter_model.bin")
    assert read_source(tmp_path).loose_path == "adapter_model.safetensors"


def test_a_sharded_pickled_directory_is_one_model_without_its_index(tmp_path: Path) -> None:
    torch.save({"a.weight": MODEL["a.weight"]}, tmp_path / "pytorch_model-00001-of-00002.bin")
    torch.save({"b": MODEL["b"], "c": MODEL["c"]}, tmp_path / "pytorch_model-00002-of-00002.bin")
    names = {"a.weight": "pytorch_model-00001-of-00002.bin"} | dict.fromkeys("bc", "pytorch_model-00002-of-00002.bin")
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": names}))
    source = read_source(tmp_path)
    assert source.files == ()
    assert same(source.weights, MODEL)


def test_safetensors_come_before_pickles_and_the_rest_is_skipped(tmp_path: Path) -> None:
    save_file(MODEL, tmp_path / "model.safetensors")
    torch.save({"x": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    (tmp_path / "pytorch_model.bin.index.json").write_text("{}")
    source = read_source(tmp_path)
    assert same(source.weights, MODEL)
    assert source.skipped == ("pytorch_model.bin", "pytorch_model.bin.index.json")


def test_a_single_file_of_any_name_is_the_model(tmp_path: Path) -> None:
    save_file(MODEL, tmp_path / "lora.safetensors")
    assert [file.path for file in read_source(tmp_path).files] == ["lora.safetensors"]


def test_several_models_are_not_chosen_between(tmp_path: Path) -> None:
    for name in ("x", "y"):
        save_file(MODEL, tmp_path / f"{name}.safetensors")
    error = refused(tmp_path)
    assert error.kind == "no-weights"
    assert "x.safetensors, y.safetensors" in error.message


def test_a_directory_without_weights_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path).kind == "no-weights"
    (tmp_path / "notes.txt").write_text("x")
    assert refused(tmp_path / "notes.txt").kind == "unknown-format"


def test_nothing_there_is_told(tmp_path: Path) -> None:
    for name in ("none", "none.pt", "none.safetensors", "none/deeper.safetensors"):
        with pytest.raises(NotFoundError, match="none"):
            read_source(tmp_path / name)


# ------------------------------------------------------------------------------------------------ indexes


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    sharded(tmp_path, PARTS)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    error = refused(tmp_path)
    assert error.kind == "bad-index"
    assert "of the 2 files" in error.message
    assert "model-00002-of-00002.safetensors" in error.message


FIRST, SECOND = PARTS


@pytest.mark.parametrize(
    ("weight_map", "words"),
    [
        ({"a.weight": SECOND, "b": FIRST, "c": SECOND}, f"'a.weight' is in {FIRST}, not in {SECOND}"),
        ({"a.weight": FIRST, "b": SECOND}, f"'c' of {SECOND} is not listed"),
        ({"a.weight": FIRST, "b": SECOND, "c": SECOND, "d": FIRST}, f"'d' is not in {FIRST}"),
        ({}, "no weight_map"),
        ({"a.weight": 1}, "something else than names of files"),
        ({"a.weight": ["x"]}, "something else than names of files"),
        ({"a.weight": "../outside.safetensors"}, "'..'"),
        ({"a.weight": "/etc/passwd"}, "not a plain relative path"),
        ({"a.weight": "a\\b"}, "not a plain relative path"),
        ({"a.weight": ".mlgit/objects/x"}, "inside a repository's own folder"),
        ({"a.weight": "x\x1b.safetensors"}, "U+001B"),
        ({"a.weight": ""}, "0 characters"),
        ({"a.weight": "config.json"}, "another format"),
        ({"a.weight": "optimizer.pt"}, "another format"),
    ],
)
def test_an_index_that_does_not_match_or_leads_elsewhere_is_refused(
    tmp_path: Path, weight_map: Mapping[str, object], words: str
) -> None:
    root = tmp_path / "model"
    root.mkdir()
    save_file({"a.weight": torch.ones(1)}, tmp_path / "outside.safetensors")
    small_files(root)
    sharded(root, PARTS, weight_map or {"x": {}})
    if not weight_map:
        (root / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    error = refused(root)
    assert error.kind == "bad-index"
    assert words in error.message
    assert error.message.isprintable()


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    parts = {**PARTS, SECOND: {**PARTS[SECOND], "a.weight": torch.zeros(1)}}
    names = {"a.weight": FIRST, "b": SECOND, "c": SECOND}
    assert f"'a.weight' is in {SECOND}, not in {FIRST}" in refused(sharded(tmp_path, parts, names)).message


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b'{"weight_map": 1}',
        b"[" * 100_000,
        b'{"weight_map":{"a":"x","a":"y"}}',
        b'{"a":' * 100_000,
    ],
)
def test_an_index_that_is_no_index_is_refused(tmp_path: Path, content: bytes) -> None:
    sharded(tmp_path, PARTS)
    (tmp_path / "model.safetensors.index.json").write_bytes(content)
    assert refused(tmp_path).kind == "bad-index"


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    sharded(tmp_path, PARTS)
    (tmp_path / SECOND).write_bytes((tmp_path / SECOND).read_bytes()[:-1])
    error = refused(tmp_path)
    assert error.kind == "bad-safetensors"
    assert SECOND in error.message


# -------------------------------------------------------------------------------------------------- links


def test_links_inside_the_directory_and_to_the_blobs_of_a_cache_are_followed(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--x" / "snapshots" / "abc"
    blobs = tmp_path / "models--x" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    save_file(MODEL, blobs / "0123")
    (blobs / "4567").write_text("{}")
    (snapshot / "model.safetensors").symlink_to("../../blobs/0123")
    (snapshot / "config.json").symlink_to("../../blobs/4567")
    (snapshot / "copy.json").symlink_to("config.json")
    source = read_source(snapshot)
    assert [file.path for file in source.files] == ["config.json", "copy.json", "model.safetensors"]
    assert same(source.weights, MODEL)


def test_links_that_lead_elsewhere_are_passed_over(tmp_path: Path) -> None:
    root = tmp_path / "model"
    root.mkdir()
    save_file(MODEL, root / "model.safetensors")
    (tmp_path / "secret").write_text("password")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "secret.json").write_text("password")
    (root / "config.json").symlink_to(tmp_path / "secret")
    (root / "up.json").symlink_to("../secret")
    (root / "folder").symlink_to("../folder")
    (root / "gone.json").symlink_to("nowhere")
    (root / "loop.json").symlink_to("loop.json")
    os.mkfifo(root / "pipe.json")
    assert [file.path for file in read_source(root).files] == ["model.safetensors"]


def test_a_large_file_beside_the_weights_is_skipped(tmp_path: Path) -> None:
    save_file(MODEL, tmp_path / "model.safetensors")
    with (tmp_path / "data.bin.txt").open("wb") as stream:
        stream.truncate(directory.MAX_SMALL_FILE_BYTES + 1)
    assert read_source(tmp_path).skipped == ("data.bin.txt",)


def test_a_directory_of_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "MAX_FILES", 3)
    for number in range(4):
        (tmp_path / f"{number}.json").write_text("")
    assert refused(tmp_path).kind == "bad-path"


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "folder.pt"
    path.mkdir()
    assert refused(path).kind == "no-weights"
    long_name = tmp_path / ("x" * 300 + ".pt")
    with pytest.raises(FileSystemError, match="cannot read"):
        read_source(long_name)


# ---------------------------------------------------------------------------------------------- damage


def test_a_tiny_file_cut_short_anywhere_is_refused_and_damage_reads_or_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file({"w": torch.arange(2.0)}, path)
    content = path.read_bytes()
    for end in range(len(content)):
        path.write_bytes(content[:end])
        assert refused(path).kind == "bad-safetensors"
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            source = read_source(path)
        except MlgitError:
            continue
        dict(source.weights)


def test_a_file_that_shrinks_while_it_is_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file({"a": torch.arange(2.0), "b": torch.arange(2000.0)}, path)
    source: Source = read_source(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InvalidInputError, match="the file ends inside tensor 'b'") as caught:
        source.weights["b"]
    assert caught.value.kind == "bad-safetensors"
    path.unlink()
    with pytest.raises(FileSystemError, match="cannot read"):
        source.weights["a"]
