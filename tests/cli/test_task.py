"""What `task add`, `task check` and their like print, and what they return."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

CLASSES = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
DOMAINS = ("art_painting", "cartoon", "photo", "sketch")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data" / "PACS"
    for number, domain in enumerate(DOMAINS):
        for label, name in enumerate(CLASSES):
            (root / domain / name).mkdir(parents=True)
            path = root / domain / name / "0.jpg"
            Image.new("RGB", (9, 9), (30 * label, 60 * number, 0)).save(path, format="BMP")
            os.utime(path, ns=(10**18, 10**18))
    return root


@pytest.fixture
def repository(mlgit: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    mlgit("init", str(tmp_path / "repository"))
    monkeypatch.chdir(tmp_path / "repository")
    return tmp_path / "repository"


def test_a_preset_and_a_path_are_all_it_takes(mlgit: Callable[..., Any], repository: Path, data: Path) -> None:
    ran = mlgit("task", "add", "PACS", "--data", str(data.parent), "--test-domain", "sketch")
    assert ran.exit_code == 0, ran
    lines = ran.stdout.splitlines()
    assert lines[0].startswith("task PACS (imagefolder), digest ")
    assert lines[1] == "7 classes: " + ", ".join(CLASSES)
    assert [line.split() for line in lines[3:]] == [
        [domain, "7", "test" if domain == "sketch" else "training"] for domain in DOMAINS
    ]
    assert "domain 'sketch' of PACS has 3,929 images; here are 7" in ran.stderr
    assert 'preset = "PACS"' in (repository / "mlgit.toml").read_text()
    assert str(data.parent) not in (repository / "mlgit.toml").read_text()


def test_an_unknown_preset_or_test_domain_is_named_with_a_hint(
    mlgit: Callable[..., Any], repository: Path, data: Path
) -> None:
    ran = mlgit("task", "add", "x", "--preset", "PASC", "--data", str(data))
    assert (ran.exit_code, ran.stderr) == (10, "error: no preset is named 'PASC'\nhint: did you mean 'PACS'?\n")
    ran = mlgit("task", "add", "PACS", "--data", str(data), "--test-domain", "sketches")
    assert (ran.exit_code, ran.stderr.splitlines()[-1]) == (10, "hint: did you mean 'sketch'?")
    assert not (repository / "mlgit.toml").exists()


def test_a_check_prints_what_has_changed_and_returns_one(
    mlgit: Callable[..., Any], repository: Path, data: Path
) -> None:
    mlgit("task", "add", "PACS", "--data", str(data))
    ran = mlgit("task", "check", "PACS")
    assert ran.exit_code == 0, ran
    first, second = ran.stdout.splitlines()
    digest = first.rpartition(" ")[2]
    assert first == f"28 examples can be read; digest of the data: {digest}"
    assert second == f"recorded {digest}: the same"
    (data / "photo/dog/0.jpg").write_bytes((data / "photo/horse/0.jpg").read_bytes())
    (data / "sketch/dog/0.jpg").write_bytes(b"broken")
    (data / "cartoon/dog/0.jpg").rename(data / "cartoon/dog/1.jpg")
    ran = mlgit("task", "check", "PACS")
    assert ran.exit_code == 1
    lines = ran.stdout.splitlines()
    assert lines[0].startswith("unreadable sketch/dog/0.jpg: ")
    assert lines[1:] == [
        "changed photo/dog/0.jpg",
        "missing cartoon/dog/0.jpg",
        "new cartoon/dog/1.jpg",
        "equal content: photo photo/dog/0.jpg, photo photo/horse/0.jpg",
        "27 examples can be read; digest of the data: none: they cannot be used as they are",
        f"recorded {digest}: other data",
    ]
    found = json.loads(mlgit("task", "check", "PACS", "--json").stdout)["check"]
    assert (found["same"], found["examples"], found["data_digest"]) == (False, 27, None)
    assert found["changed"] == ["photo/dog/0.jpg"]
    assert list(found["unreadable"]) == ["sketch/dog/0.jpg"]
    ran = mlgit("task", "show", "PACS")
    assert ran.exit_code == 2
    assert "sketch/dog/0.jpg" in ran.stderr
    assert "exclude" in ran.stderr


def test_code_is_run_by_those_who_trust_it(mlgit: Callable[..., Any], repository: Path) -> None:
    (repository / "tiny_numbers.py").write_text(
        "import torch\ndef make(data, count=6):\n"
        "    return {'domains': {'a': (torch.eye(count), torch.arange(count) % 2)}}\n"
    )
    command = ["task", "add", "tiny", "--kind", "python:tiny_numbers:make", "--set", "count=8"]
    ran = mlgit(*command)
    assert ran.exit_code == 2
    assert "--trust-code" in ran.stderr
    assert mlgit(*command, "--trust-code").exit_code == 0
    assert mlgit("task", "show", "tiny").exit_code == 2
    shown = json.loads(mlgit("task", "show", "tiny", "--trust-code", "--json").stdout)["task"]
    assert shown["domains"] == {"a": 8}
    assert shown["classes"] == ["0", "1"]
    assert mlgit("task", "check", "tiny", "--trust-code").exit_code == 0
