"""Model directories as other programs leave them: what goes in comes out byte for byte."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

RANDOM = np.random.default_rng(0)
TARGETS = ("q_proj", "v_proj")


def ok(ran: Any) -> Any:
    assert ran.exit_code == 0, ran.stderr
    return ran


def noise(*shape: int) -> np.ndarray:
    return (RANDOM.standard_normal(shape) * 0.02).astype(np.float32)


def write_adapter(folder: Path, layers: int = 2, rank: int = 4) -> None:
    """Write a LoRA adapter as PEFT does: two factors per projection, the settings, a model card."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for layer in range(layers):
        for target in TARGETS:
            name = f"base_model.model.model.layers.{layer}.self_attn.{target}"
            tensors[f"{name}.lora_A.weight"] = noise(rank, 32)
            tensors[f"{name}.lora_B.weight"] = noise(32, rank)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": 16, "target_modules": sorted(TARGETS)}
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True))
    (folder / "README.md").write_text("---\nlibrary_name: peft\n---\n# an adapter\n")


def write_sharded(folder: Path, shards: int = 3) -> None:
    """Write a sharded model as Transformers does: shards, index, configuration, tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    weight_map, total = {}, 0
    for number in range(1, shards + 1):
        file = f"model-{number:05}-of-{shards:05}.safetensors"
        tensors = {f"model.layers.{number}.{part}.weight": noise(16, 16) for part in ("up", "down")}
        save_file(tensors, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, file)
        total += sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    (folder / "config.json").write_text('{"architectures": ["TinyForCausalLM"]}\n')
    (folder / "generation_config.json").write_text("{}\n")
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {f"t{n}": n for n in range(500)}}}))
    (folder / "tokenizer.model").write_bytes(bytes(range(256)) * 8)
    (folder / "special_tokens_map.json").write_bytes(b'{"bos": "\xe2\x96\x81"}')


def contents(root: Path) -> dict[str, bytes]:
    found = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found if ".mlgit" not in path.parent.parts}


@pytest.fixture
def place(tmp_path: Path, author: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "model"
    root.mkdir()
    monkeypatch.chdir(root)
    return root


def assert_comes_back(mlgit: Callable[..., Any], root: Path, change: Callable[[], object]) -> None:
    """Commit a directory, change it, commit that, and go back and forth."""
    ok(mlgit("init"))
    first = contents(root)
    ok(mlgit("commit", "-m", "one"))
    assert json.loads(mlgit("status", "--json").stdout)["clean"] is True
    change()
    assert json.loads(mlgit("status", "--json").stdout)["clean"] is False
    second = contents(root)
    assert second != first
    ok(mlgit("commit", "-m", "two"))
    ok(mlgit("switch", "--detach", "HEAD~1"))
    assert contents(root) == first
    assert json.loads(mlgit("status", "--json").stdout)["clean"] is True
    ok(mlgit("switch", "main"))
    assert contents(root) == second
    ok(mlgit("clone", str(root), str(root.parent / "copy")))
    assert contents(root.parent / "copy") == second
    ok(mlgit("fsck"))


@pytest.mark.parametrize("inside", [".", "adapters/summary", "runs/2024/best"])
def test_an_adapter_directory_comes_back(mlgit: Callable[..., Any], place: Path, inside: str) -> None:
    write_adapter(place / inside)
    assert_comes_back(mlgit, place, lambda: write_adapter(place / inside))
    shown = json.loads(mlgit("ls-tree", "--json").stdout)
    assert f"{inside}/adapter_model.safetensors".removeprefix("./") in json.dumps(shown)


def test_an_adapter_beside_the_model_it_adapts_comes_back(mlgit: Callable[..., Any], place: Path) -> None:
    write_sharded(place)
    write_adapter(place / "adapter")
    before = {path.name: path.stat().st_ino for path in place.glob("model-*.safetensors")}
    assert_comes_back(mlgit, place, lambda: write_adapter(place / "adapter"))
    assert {path.name: path.stat().st_ino for path in place.glob("model-*.safetensors")} == before  # left alone


def test_an_adapter_is_imported_and_loaded(mlgit: Callable[..., Any], place: Path, tmp_path: Path) -> None:
    write_adapter(tmp_path / "given")
    ok(mlgit("init"))
    ok(mlgit("import", str(tmp_path / "given")))
    assert contents(place) == contents(tmp_path / "given")
    ok(mlgit("export", "HEAD", str(tmp_path / "out.safetensors")))
    exported, given = load_file(tmp_path / "out.safetensors"), load_file(place / "adapter_model.safetensors")
    assert exported.keys() == given.keys()
    assert all(np.array_equal(exported[name], given[name]) for name in given)


def test_two_adapters_with_the_same_names_are_refused_with_a_way_out(mlgit: Callable[..., Any], place: Path) -> None:
    write_adapter(place / "a")
    write_adapter(place / "b")
    ok(mlgit("init"))
    ran = mlgit("commit", "-m", "both")
    assert ran.exit_code == 2
    assert "a/adapter_model.safetensors" in ran.stderr
    assert "hint:" in ran.stderr
    (place / ".mlgitignore").write_text("b/\n")
    ok(mlgit("commit", "-m", "one of them"))


def test_a_sharded_model_with_its_small_files_comes_back(mlgit: Callable[..., Any], place: Path) -> None:
    write_sharded(place)

    def retrain() -> None:
        path = place / "model-00002-of-00003.safetensors"
        tensors = {name: tensor * np.float32(1.001) for name, tensor in load_file(path).items()}
        save_file(tensors, path, metadata={"format": "pt"})
        (place / "tokenizer.model").write_bytes(b"other")
        (place / "generation_config.json").unlink()

    assert_comes_back(mlgit, place, retrain)


def test_ignored_files_are_neither_recorded_nor_touched(mlgit: Callable[..., Any], place: Path) -> None:
    write_sharded(place)
    (place / ".mlgitignore").write_text("*.log\n/checkpoints/\n!keep.log\n")
    (place / "checkpoints/step-1").mkdir(parents=True)
    shutil.copy(place / "model-00001-of-00003.safetensors", place / "checkpoints/step-1/model.safetensors")
    for name in ("train.log", "keep.log"):
        (place / name).write_text("loss 1.0\n")
    ok(mlgit("init"))
    ok(mlgit("commit", "-m", "one"))
    shown = mlgit("ls-tree").stdout
    assert "keep.log" in shown
    assert ".mlgitignore" in shown
    assert "train.log" not in shown
    assert "checkpoints" not in shown
    (place / "train.log").write_text("loss 0.5\n")
    (place / "checkpoints/step-1/model.safetensors").write_bytes(b"cut short")
    assert json.loads(mlgit("status", "--json").stdout)["clean"] is True
    (place / "config.json").write_text("{}\n")
    ok(mlgit("commit", "-m", "two"))
    ok(mlgit("switch", "--detach", "HEAD~1"))
    assert (place / "train.log").read_text() == "loss 0.5\n"
    assert (place / "checkpoints/step-1/model.safetensors").read_bytes() == b"cut short"


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "pytorch_model.bin", "last.ckpt"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_pickle_of_tensors_becomes_safetensors(
    mlgit: Callable[..., Any], place: Path, tmp_path: Path, name: str, wrapped: bool
) -> None:
    torch = pytest.importorskip("torch")
    weights = {
        "body.weight": torch.from_numpy(noise(8, 8)),
        "body.steps": torch.tensor(3),
        "half": torch.ones(2).half(),
    }
    torch.save({"state_dict": weights, "epoch": 3} if wrapped else weights, tmp_path / name)
    ok(mlgit("init"))
    ok(mlgit("import", str(tmp_path / name)))
    back = load_file(place / "model.safetensors")
    assert back.keys() == weights.keys()
    assert all(np.array_equal(back[key], weights[key].numpy()) for key in weights)
    assert json.loads(mlgit("status", "--json").stdout)["clean"] is True


class Thief:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("stolen"),)


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "pytorch_model.bin", "last.ckpt"])
def test_a_pickle_with_code_is_refused_and_does_not_run(
    mlgit: Callable[..., Any], place: Path, tmp_path: Path, name: str
) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"w": torch.ones(2), "x": Thief()}, tmp_path / name)
    ok(mlgit("init"))
    ran = mlgit("import", str(tmp_path / name))
    assert ran.exit_code == 2
    assert contents(place) == {}


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "pytorch_model.bin", "adapter_model.bin"])
def test_a_pickle_in_the_directory_is_named_and_left_out(mlgit: Callable[..., Any], place: Path, name: str) -> None:
    (place / name).write_bytes(b"whatever it is")
    (place / "config.json").write_text("{}")
    ok(mlgit("init"))
    ran = ok(mlgit("commit", "-m", "one"))
    assert name in ran.stderr
    assert f"mlgit import {name}" in ran.stderr
    assert name not in mlgit("ls-tree").stdout


# --- what is clean is not read

WATCH = """
import json, sys
opened = []
sys.addaudithook(lambda event, details: opened.append(str(details[0])) if event == "open" else None)
from mlgit.cli.main import main
code = main(json.loads(sys.argv[1]))
counters = dict(line.split(": ") for line in open("/proc/self/io")) if sys.platform == "linux" else {"rchar": "0"}
print(json.dumps([code, opened, int(counters["rchar"])]), file=sys.stderr)
"""
SPARSE = """
import struct, sys
from pathlib import Path
from mlgit.objects import Commit, Manifest, Stage, TensorEntry, TensorFile
from mlgit.porcelain.actor import ANYONE
from mlgit.repository import Repository
from mlgit.weights.header import build_header
from mlgit.worktree.checkout import remember

root, files, each, size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
repository = Repository(root)
tensors, recorded = {}, []
with repository.objects.transaction() as transaction:
    zeros = transaction.put_tensor("U8", [size], (bytes(1 << 20) for _ in range(size >> 20)))
    for file in range(files):
        names = [f"layer{file}.{number:03}" for number in range(each)]
        header = build_header({name: ("U8", [size]) for name in names})
        path = root / f"model-{file}.safetensors"
        with path.open("wb") as stream:
            stream.write(struct.pack("<Q", len(header.raw)) + header.raw)
            stream.truncate(header.file_size)
        tensors |= {name: TensorEntry(zeros, "U8", (size,)) for name in names}
        recorded.append(TensorFile(path.name, transaction.put_blob([header.raw])))
    manifest = Manifest(tensors, files=tuple(recorded))
    commit = transaction.put_record(Commit(
        manifest=transaction.put_record(manifest), parents=(), stage=Stage.PRETRAIN, made={},
        author=ANYONE.who(repository), time=ANYONE.when(), message="zeros",
    ))
repository.advance(commit, expected=None, who=ANYONE.who(repository), when=ANYONE.when(), reason="commit: zeros")
import time
time.sleep(0.1)  # files that change in the moment in which they are recorded are read again
remember(repository, manifest)
"""


def watched(*arguments: str) -> tuple[list[str], int]:
    """Run a verb in a process of its own; return what it opened, and how many bytes it read in all."""
    ran = subprocess.run(
        [sys.executable, "-c", WATCH, json.dumps(arguments)], capture_output=True, text=True, check=True
    )
    code, opened, read = json.loads(ran.stderr.splitlines()[-1])
    assert code == 0, ran.stderr
    return opened, read


def test_status_of_a_clean_repository_of_five_gigabytes_reads_no_file(mlgit: Callable[..., Any], place: Path) -> None:
    ok(mlgit("init"))
    subprocess.run([sys.executable, "-c", SPARSE, str(place), "5", "16", str(1 << 26)], check=True)
    models = sorted(place.glob("*.safetensors"))
    assert sum(path.stat().st_size for path in models) > 5e9
    for verb in (["status", "--json"], ["commit", "-m", "nothing", "--allow-empty"]):
        opened, read = watched(*verb)
        assert [path for path in opened if path.endswith(".safetensors")] == []
        assert read < 100e6  # the program itself, the records, the index
    assert json.loads(mlgit("status", "--json").stdout)["clean"] is True


def test_a_file_that_was_touched_is_read_again(mlgit: Callable[..., Any], place: Path) -> None:
    ok(mlgit("init"))
    subprocess.run([sys.executable, "-c", SPARSE, str(place), "1", "1", str(1 << 20)], check=True)
    assert not [path for path in watched("status")[0] if path.endswith(".safetensors")]
    (place / "model-0.safetensors").touch()
    assert [path for path in watched("status")[0] if path.endswith(".safetensors")]
