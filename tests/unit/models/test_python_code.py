from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from mlgit.errors import InvalidInputError, JobFailedError, MlgitError, NotFoundError
from mlgit.models.factories import build

CODE = """
import torch
from torch import nn
from helper_of_mymodel import WIDTH

def make(num_classes=3, pretrained=None):
    model = nn.Sequential(nn.Flatten(), nn.Linear(WIDTH, num_classes))
    model.pretrained = pretrained
    return model

class Factory:
    @staticmethod
    def make():
        return nn.Linear(1, 1)

def text(): return "no module"
def fail(num_classes=3): raise ValueError("too\\nmany lines")
def leave(): raise SystemExit(3)
def stop(): raise KeyboardInterrupt
number = 3
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "mymodel.py").write_text(CODE)
    (tmp_path / "helper_of_mymodel.py").write_text("WIDTH = 64\n")
    (tmp_path / "broken_mymodel.py").write_text("raise RuntimeError('at import')\n")
    (tmp_path / "syntax_mymodel.py").write_text("def (:\n")
    (tmp_path / "needs_mymodel.py").write_text("import nothing_of_this_name\n")
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if "mymodel" in name:
            del sys.modules[name]


def test_code_is_not_run_unless_it_is_trusted(place: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        build("python:broken_mymodel:make", search=place)
    assert caught.value.kind == "untrusted-code"
    assert "--trust-code" in (caught.value.hint or "")
    assert "broken_mymodel" not in sys.modules


def test_trusted_code_is_called_with_what_is_given_and_nothing_else(place: Path) -> None:
    model = build("python:mymodel:make", trust_code=True, search=place)
    assert isinstance(model, nn.Module)
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 3)
    other = build("python:mymodel:make", trust_code=True, search=place, num_classes=5, pretrained="mine")
    assert other(torch.zeros(2, 1, 8, 8)).shape == (2, 5)
    assert getattr(other, "pretrained", None) == "mine"
    build("python:mymodel:Factory.make", trust_code=True, search=place)


def test_random_weights_of_foreign_code_are_a_function_of_the_seed(place: Path) -> None:
    one, two, other = (
        build("python:mymodel:make", trust_code=True, search=place, seed=seed).state_dict()["1.weight"]
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_the_path_is_as_before_and_no_compiled_files_lie_around(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path, files = list(sys.path), sorted(place.rglob("*"))
    build("python:mymodel:make", trust_code=True, search=place)
    with pytest.raises(MlgitError):
        build("python:broken_mymodel:make", trust_code=True, search=place)
    assert sys.path == path
    assert sys.dont_write_bytecode is False
    assert sorted(place.rglob("*")) == files


def test_the_directory_searched_wins_over_a_module_of_the_same_name_from_elsewhere(place: Path) -> None:
    build("python:mymodel:make", trust_code=True, search=place)
    other = place / "other"
    other.mkdir()
    (other / "mymodel.py").write_text("from torch import nn\ndef make(): return nn.Linear(7, 1)\n")
    found = build("python:mymodel:make", trust_code=True, search=other)
    assert isinstance(found, nn.Linear)
    assert found.in_features == 7


def test_code_is_also_found_on_pythons_path(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    monkeypatch.syspath_prepend(str(place))
    build("python:mymodel:make", trust_code=True)
    build("python:torch.nn:Identity", trust_code=True, search=place / "empty")


@pytest.mark.parametrize(
    ("rest", "error", "kind", "said"),
    [
        ("mymodel:fail", JobFailedError, "foreign-code-failed", "'python:mymodel:fail' failed: ValueError: too"),
        ("mymodel:leave", JobFailedError, "foreign-code-failed", "SystemExit: 3"),
        ("mymodel:text", InvalidInputError, "not-a-module", "returned str, not a torch module"),
        ("mymodel:number", InvalidInputError, "not-callable", "cannot be called"),
        ("mymodel:mak", NotFoundError, "unknown-callable", "module 'mymodel' has no 'mak'"),
        ("nomodel:make", NotFoundError, "unknown-module", "no module 'nomodel' in '"),
        ("mymodel.inner:make", NotFoundError, "unknown-module", "no module 'mymodel.inner'"),
        (
            "broken_mymodel:make",
            JobFailedError,
            "foreign-code-failed",
            "importing 'broken_mymodel' failed: RuntimeError",
        ),
        (
            "syntax_mymodel:make",
            JobFailedError,
            "foreign-code-failed",
            "importing 'syntax_mymodel' failed: SyntaxError",
        ),
        (
            "needs_mymodel:make",
            JobFailedError,
            "foreign-code-failed",
            "ModuleNotFoundError: No module named 'nothing_of",
        ),
        ("mymodel", InvalidInputError, "bad-factory", "does not name a callable"),
        ("mymodel:", InvalidInputError, "bad-factory", "does not name a callable"),
        (":make", InvalidInputError, "bad-factory", "does not name a callable"),
        ("my-model:make", InvalidInputError, "bad-factory", "does not name a callable"),
        ("../mymodel:make", InvalidInputError, "bad-name", "'..' in its name"),
        ("mymodel:make()", InvalidInputError, "bad-factory", "does not name a callable"),
    ],
)
def test_what_goes_wrong_is_one_error_that_names_it(
    place: Path, rest: str, error: type[MlgitError], kind: str, said: str
) -> None:
    with pytest.raises(error) as caught:
        build(f"python:{rest}", trust_code=True, search=place)
    assert caught.value.kind == kind
    assert said in caught.value.message
    assert "\n" not in caught.value.message


def test_arguments_the_callable_does_not_take_are_its_failure(place: Path) -> None:
    with pytest.raises(JobFailedError, match="num_classes"):
        build("python:mymodel:text", trust_code=True, search=place, num_classes=3)


def test_an_interrupt_passes_through(place: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        build("python:mymodel:stop", trust_code=True, search=place)
