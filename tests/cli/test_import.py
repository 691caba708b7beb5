from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_import_commits_a_file_as_a_pretrained_model(mlgit: Callable[..., Any], history: Any, tmp_path: Path) -> None:
    source = tmp_path / "new.safetensors"
    assert mlgit("export", "other", str(source)).exit_code == 0
    ran = mlgit("import", str(source), "-m", "from outside")
    found = json.loads(mlgit("show", "--json").stdout)["commit"]
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, f"{found['id'][:10]} 2 tensors, from outside\n", "")
    assert (found["stage"], found["parents"][0]["role"]) == ("pretrain", "base")
    assert found["made"]["source"] == "new.safetensors"
    assert (history.root / "model.safetensors").read_bytes() == source.read_bytes()
    assert (history.root / "notes.txt").read_text() == "one\n"
    assert mlgit("status").stdout == "on branch main\nnothing to commit, working files clean\n"


def test_import_leaves_what_is_not_committed_alone(mlgit: Callable[..., Any], history: Any, tmp_path: Path) -> None:
    (history.root / "mlgit.toml").write_text('[tasks.mine]\nkind = "digits"\n')
    source = tmp_path / "new.safetensors"
    source.write_bytes((history.root / "model.safetensors").read_bytes())
    assert mlgit("import", str(source)).exit_code == 0
    assert (history.root / "mlgit.toml").read_text() == '[tasks.mine]\nkind = "digits"\n'
    assert "added: mlgit.toml" in mlgit("status").stdout


def test_import_as_the_first_commit_leaves_other_files_alone(
    mlgit: Callable[..., Any], history: Any, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    assert mlgit("init", str(new)).exit_code == 0
    (new / "mlgit.toml").write_text("# mine\n")
    (new / "notes.txt").write_text("mine\n")
    assert mlgit("-C", str(new), "import", str(history.root / "model.safetensors")).exit_code == 0
    assert (new / "mlgit.toml").read_text() == "# mine\n"
    assert (new / "notes.txt").read_text() == "mine\n"


def test_import_does_not_lose_uncommitted_weights(mlgit: Callable[..., Any], history: Any, tmp_path: Path) -> None:
    source = tmp_path / "model.safetensors"
    source.write_bytes((history.root / "model.safetensors").read_bytes())
    history.write(body=[7.0, 7.0], head=[7.0])
    mine = (history.root / "model.safetensors").read_bytes()
    assert mlgit("export", "other", str(source), "-f").exit_code == 0
    ran = mlgit("import", str(source))
    assert (ran.exit_code, ran.stdout) == (12, "")
    assert ran.stderr.startswith("error: uncommitted changes in 'model.safetensors' would be lost\n")
    assert (history.root / "model.safetensors").read_bytes() == mine


@pytest.mark.parametrize("source", ["nix.safetensors", "nix", "torchvision:no_such_model"])
def test_import_of_nothing(mlgit: Callable[..., Any], history: Any, source: str) -> None:
    ran = mlgit("import", source)
    assert ran.exit_code in (2, 10)
    assert ran.stdout == ""
    assert ran.stderr.startswith("error: ")
    assert mlgit("log", "--oneline").stdout.startswith(history.start[:10])
