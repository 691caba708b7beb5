"""Checkpoints of torch.save: weights come in, code stays out, damage is told."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import warnings
import zipfile
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from mlgit.errors import InvalidInputError, MlgitError
from mlgit.weights.pickles import read_checkpoint
from mlgit.weights.types import DTYPES

WITNESS = "MLGIT_TEST_PICKLE_RAN"


class Bomb:
    """Sets an environment variable when it is unpickled."""

    def __reduce__(self) -> object:
        return (exec, (f"import os; os.environ[{WITNESS!r}] = '1'",))


class Evaluated:
    def __reduce__(self) -> object:
        return (eval, (f"__import__('os').environ.__setitem__({WITNESS!r}, '1')",))


def saved(path: Path, content: object, *, old: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    return path


def refused(path: Path) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        read_checkpoint(path)
    assert str(path) in caught.value.message
    return caught.value


@pytest.mark.parametrize("bomb", [Bomb(), Evaluated()])
def test_the_bombs_of_these_tests_do_go_off(bomb: object) -> None:
    pickle.loads(pickle.dumps(bomb))  # noqa: S301  # proves that the other tests would notice
    assert os.environ.pop(WITNESS) == "1"


formats = pytest.mark.parametrize("old", [False, True], ids=["zip", "old"])


@formats
def test_a_state_dict_is_read_bit_for_bit(tmp_path: Path, old: bool) -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    state = model.state_dict()
    found = read_checkpoint(saved(tmp_path / "m.pt", state, old=old))
    assert list(found.weights) == list(state)
    assert all(torch.equal(found.weights[name], tensor) for name, tensor in state.items())
    assert found.skipped == ()


@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_every_dtype_is_read(tmp_path: Path, dtype: str) -> None:
    tensor = torch.arange(16, dtype=torch.uint8).view(DTYPES[dtype])
    found = read_checkpoint(saved(tmp_path / "m.pt", {"x": tensor})).weights["x"]
    assert found.dtype == tensor.dtype
    assert torch.equal(found.view(torch.uint8), tensor.view(torch.uint8))


@formats
def test_parameters_tied_and_strided_tensors_are_read(tmp_path: Path, old: bool) -> None:
    table = torch.nn.Parameter(torch.randn(4, 3))
    content = OrderedDict(
        embed=table, head=table, turned=table.detach().t(), row=table.detach()[1:2], few=torch.ones(1).expand(5)
    )
    found = read_checkpoint(saved(tmp_path / "m.pth", content, old=old)).weights
    assert found["embed"].data_ptr() == found["head"].data_ptr()
    assert not found["embed"].requires_grad
    assert torch.equal(found["turned"], table.detach().t())
    assert torch.equal(found["row"], table.detach()[1:2])
    assert found["few"].tolist() == [1.0] * 5


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state_dict"])
def test_a_state_dict_inside_a_training_checkpoint_is_found(tmp_path: Path, wrapper: str) -> None:
    inner = {"w": torch.ones(2)}
    content = {"epoch": 3, wrapper: inner, "optimizer": {"state": {0: {"step": 1}}}, "loss": torch.tensor(0.5)}
    found = read_checkpoint(saved(tmp_path / "m.ckpt", content))
    assert found.weights.keys() == {"w"}
    assert found.skipped == ("'epoch'", "'optimizer'", "'loss'")
    nested = read_checkpoint(saved(tmp_path / "n.ckpt", {"state_dict": {"model": inner}, "step": 1}))
    assert nested.weights.keys() == {"w"}
    assert nested.skipped == ("'step'",)


def test_a_parameter_called_model_is_not_a_wrapper(tmp_path: Path) -> None:
    assert read_checkpoint(saved(tmp_path / "m.pt", {"model": torch.ones(1)})).weights.keys() == {"model"}


@formats
@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"w": Bomb()}, "code to be run"),
        (Evaluated(), "code to be run"),
        ({"w": torch.ones(1), "x": Evaluated()}, "code to be run"),
        (torch.nn.Linear(2, 2), "'torch.nn.modules.linear.Linear', which is code"),
        ({"w": torch.ones(1), "args": argparse.Namespace(lr=1)}, "'argparse.Namespace', which is code"),
        ({"w": np.ones(1)}, "which is code"),
    ],
    ids=["function", "eval", "hidden eval", "module", "namespace", "numpy"],
)
def test_code_is_refused_and_never_run(tmp_path: Path, content: object, words: str, old: bool) -> None:
    error = refused(saved(tmp_path / "evil.pt", content, old=old))
    assert error.kind == "unsafe-pickle"
    assert words in error.message
    assert "state_dict" in (error.hint or "")
    assert WITNESS not in os.environ


@pytest.mark.parametrize("protocol", range(6))
def test_a_plain_pickle_is_refused_whatever_its_protocol(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "evil.bin"
    for content in ({"w": 1}, Evaluated(), [Bomb()]):
        path.write_bytes(pickle.dumps(content, protocol=protocol))
        assert refused(path).kind in ("unsafe-pickle", "bad-checkpoint", "not-a-state-dict")
        assert WITNESS not in os.environ


def test_torchscript_is_code(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates making them
        torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "script.pt"))
    error = refused(tmp_path / "script.pt")
    assert error.kind == "unsafe-pickle"
    assert "TorchScript" in error.message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([torch.ones(1)], "holds a list"),
        (torch.ones(1), "holds a Tensor"),
        ({}, "an empty state dict"),
        (
            {"w": torch.ones(1), "epoch": 3, "name": "x"},
            "2 entries that are not named tensors: 'epoch' (int), 'name' (str)",
        ),
        ({0: torch.ones(1)}, "a int (Tensor)"),
        ({"net": {"w": torch.ones(1)}}, "'net' (dict)"),
        ({"model": {"w": torch.ones(1)}, "state_dict": {"w": torch.ones(1)}}, "several state dicts"),
        ({f"k{number}": 1 for number in range(12)}, "and 2 more"),
    ],
)
def test_what_is_not_a_state_dict_is_refused_with_its_entries(tmp_path: Path, content: object, words: str) -> None:
    error = refused(saved(tmp_path / "m.pt", content))
    assert error.kind == "not-a-state-dict"
    assert words in error.message


def test_a_dict_that_holds_itself_ends(tmp_path: Path) -> None:
    loop: dict[str, object] = {}
    loop["model"] = loop
    assert refused(saved(tmp_path / "m.pt", loop)).kind == "not-a-state-dict"


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.ones(2).to_sparse(), "'w' is sparse"),
        (torch.ones(2, dtype=torch.complex128), "'w' is of dtype complex128"),
        (torch.ones(2, device="meta"), "'w' is on the device 'meta'"),
    ],
    ids=["sparse", "complex128", "meta"],
)
def test_a_tensor_without_a_place_in_safetensors_is_refused_by_name(
    tmp_path: Path, tensor: torch.Tensor, words: str
) -> None:
    error = refused(saved(tmp_path / "m.pt", {"a": torch.ones(1), "w": tensor}))
    assert error.kind == "unsupported-tensor"
    assert words in error.message


def test_a_quantized_tensor_is_refused_by_name(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates them
        saved(tmp_path / "m.pt", {"w": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)})
        error = refused(tmp_path / "m.pt")
    assert error.kind == "unsupported-tensor"
    assert "'w' is quantized (qint8)" in error.message


def test_a_hostile_name_is_refused(tmp_path: Path) -> None:
    for name in ("../x", "a\x1b[2J", ""):
        assert refused(saved(tmp_path / "m.pt", {name: torch.ones(1)})).kind == "bad-name"


def test_a_few_bytes_that_unfold_to_terabytes_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.pt", {"w": torch.zeros(1).expand(2**20, 2**20)})
    assert path.stat().st_size < 10_000
    error = refused(path)
    assert error.kind == "bad-checkpoint"
    assert "4398046511104" in error.message


def test_a_compressed_archive_is_refused_since_torch_would_map_it_wrongly(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.pt", {"w": torch.ones(2)})
    squeezed = tmp_path / "squeezed.pt"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(squeezed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    error = refused(squeezed)
    assert error.kind == "bad-checkpoint"
    assert "compressed" in error.message


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04" * 9, b"junk" * 20, b"\x80\x02", b"<html>404</html>"])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.pt"
    path.write_bytes(content)
    assert refused(path).kind in ("bad-checkpoint", "unsafe-pickle")


@formats
def test_damage_anywhere_is_read_or_refused_and_nothing_else(tmp_path: Path, old: bool) -> None:
    buffer = io.BytesIO()
    torch.save({"w": torch.arange(3.0), "n": torch.tensor(7)}, buffer, _use_new_zipfile_serialization=not old)
    content = buffer.getvalue()
    path = tmp_path / "m.pt"
    wrong = [content[:end] for end in range(0, len(content), 7)]
    wrong += [
        content[:place] + bytes([content[place] ^ 0x41]) + content[place + 1 :] for place in range(0, len(content), 3)
    ]
    for damaged in wrong:
        path.write_bytes(damaged)
        with suppress(MlgitError):
            read_checkpoint(path)
    assert WITNESS not in os.environ
