"""Who may import whom, and what the quick verbs do not import at all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "torchvision", "numpy", "networkx", "tomlkit", "pathspec", "safetensors", "sklearn", "matplotlib")

SCRIPT = """
import json, sys
from mlgit.cli.main import main
codes = [main(arguments) for arguments in json.loads(sys.argv[1])]
print(json.dumps([codes, sorted({name.partition(".")[0] for name in sys.modules})]), file=sys.stderr)
"""


def imported(directory: Path, *commands: list[str]) -> set[str]:
    """Return the packages that a process has imported after it has run commands of mlgit."""
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(commands)], cwd=directory, capture_output=True, text=True, check=True
    )
    codes, modules = json.loads(ran.stderr.splitlines()[-1])
    assert codes == [0] * len(commands), ran.stderr
    return set(modules)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a safetensors file of one tensor, two commits, a branch and a tag."""
    root = tmp_path_factory.mktemp("model")
    header = b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    (root / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    imported(root, ["init"], ["commit", "-m", "one"], ["tag", "v1"], ["switch", "-c", "other"])
    (root / "notes.txt").write_text("x")
    imported(root, ["commit", "-m", "two"])
    return root


@pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="the contracts are in the source tree")
def test_every_import_contract_is_kept() -> None:
    ran = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    assert "0 broken" in ran.stdout


@pytest.mark.parametrize(
    "command",
    [
        ["log"],
        ["log", "--json"],
        ["log", "--oneline", "-n", "1"],
        ["branch"],
        ["branch", "x"],
        ["branch", "-d", "x"],
        ["tag"],
        ["cat-file", "HEAD"],
        ["ls-tree"],
        ["version"],
        ["--help"],
    ],
    ids=" ".join,
)
def test_verbs_that_only_look_import_nothing_heavy(repository: Path, command: list[str]) -> None:
    assert imported(repository, command) & set(HEAVY) == set()


@pytest.mark.parametrize(
    "command",
    [
        ["log", "--graph"],
        ["show"],
        ["config"],
        ["status"],
        ["restore", "."],
        ["switch", "main"],
        ["switch", "other"],
        ["commit", "--allow-empty", "-m", "x"],
        ["fsck"],
    ],
    ids=" ".join,
)
def test_version_control_does_not_import_torch(repository: Path, command: list[str]) -> None:
    lineage = {"networkx"} if "--graph" in command else set()  # the graph underneath
    assert (
        imported(repository, command) & ({"torch", "torchvision", "networkx", "sklearn", "matplotlib"} - lineage)
        == set()
    )


def test_the_check_would_notice(tmp_path: Path) -> None:
    script = SCRIPT.replace("codes =", "import networkx; codes =")
    ran = subprocess.run(
        [sys.executable, "-c", script, '[["version"]]'], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "networkx" in json.loads(ran.stderr.splitlines()[-1])[1]
