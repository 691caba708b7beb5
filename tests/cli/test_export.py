from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_export_writes_a_file_that_other_tools_read(mlgit: Callable[..., Any], history: Any, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    ran = mlgit("export", "other", "../out.safetensors")
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert ran.stderr == f"wrote {history.change[:10]} to ../out.safetensors\n"
    found = load_file(tmp_path / "out.safetensors")
    assert {name: values.tolist() for name, values in found.items()} == {"body": [1.0, 4.0], "head": [3.0]}


def test_export_replaces_only_by_force(mlgit: Callable[..., Any], history: Any, tmp_path: Path) -> None:
    (tmp_path / "out.safetensors").write_text("mine")
    ran = mlgit("export", "main", str(tmp_path / "out.safetensors"))
    assert (ran.exit_code, ran.stdout) == (11, "")
    assert ran.stderr == (
        f"error: '{tmp_path}/out.safetensors' exists already\nhint: choose another name, or use `--force`\n"
    )
    assert (tmp_path / "out.safetensors").read_text() == "mine"
    assert mlgit("export", "main", str(tmp_path / "out.safetensors"), "-f").exit_code == 0
    assert (tmp_path / "out.safetensors").read_bytes() != b"mine"


def test_export_knows_its_formats(mlgit: Callable[..., Any], history: Any, tmp_path: Path) -> None:
    assert mlgit("export", "main", "../directory", "--format", "huggingface").exit_code == 0
    assert (tmp_path / "directory/model.safetensors").exists()
    assert mlgit("export", "main", "../out.pt", "--format", "pt").exit_code == 0
    ran = mlgit("export", "main", "../out", "--format", "onnx")
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "onnx" in ran.stderr
