from __future__ import annotations

import importlib
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


NET = "from torch import nn\nfrom parts_of_mymodel import WIDTH\ndef make(): return nn.Linear(WIDTH, 1)\n"


def folder_of_width(place: Path, name: str, width: int, net: str = NET) -> Path:
    """Make a folder with a model whose width another file of the folder says."""
    folder = place / name
    folder.mkdir()
    (folder / "net_mymodel.py").write_text(net)
    (folder / "parts_of_mymodel.py").write_text(f"WIDTH = {width}\n")
    return folder


def width(folder: Path) -> object:
    return build("python:net_mymodel:make", trust_code=True, search=folder).in_features


def test_each_directory_has_its_own_code_also_where_names_are_the_same(place: Path) -> None:
    one, two = folder_of_width(place, "one", 3), folder_of_width(place, "two", 5)
    assert [width(folder) for folder in (one, two, one)] == [3, 5, 3]


def test_a_helper_that_only_one_directory_has_is_not_lent_to_another(place: Path) -> None:
    one, two = folder_of_width(place, "one", 3), folder_of_width(place, "two", 5)
    assert width(one) == 3
    (two / "parts_of_mymodel.py").unlink()
    with pytest.raises(JobFailedError, match="No module named 'parts_of_mymodel'"):
        width(two)


def test_helpers_in_packages_with_and_without_an_init_file_are_each_directory_s_own(place: Path) -> None:
    for package in ("plain_mymodel", "regular_mymodel"):
        net = NET.replace("parts_of_mymodel", f"{package}.deep.parts")
        for name, number in ((f"{package}-1", 3), (f"{package}-2", 5)):
            folder = folder_of_width(place, name, number, net)
            (folder / package / "deep").mkdir(parents=True)
            (folder / "parts_of_mymodel.py").rename(folder / package / "deep" / "parts.py")
            if package == "regular_mymodel":
                (folder / package / "__init__.py").touch()
            assert width(folder) == number


def test_code_below_a_directory_it_put_on_the_path_itself_is_its_own_too(place: Path) -> None:
    net = "import sys\nfrom pathlib import Path\nsys.path.insert(0, str(Path(__file__).parent / 'src'))\n" + NET
    for name, number in (("one", 3), ("two", 5)):
        folder = folder_of_width(place, name, number, net)
        (folder / "src").mkdir()
        (folder / "parts_of_mymodel.py").rename(folder / "src" / "parts_of_mymodel.py")
        assert width(folder) == number


def test_what_the_program_has_imported_under_the_same_name_is_neither_used_nor_lost(
    monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    folder = folder_of_width(place, "model", 3)
    monkeypatch.syspath_prepend(str(folder_of_width(place, "program", 7)))
    mine = importlib.import_module("parts_of_mymodel")
    assert mine.WIDTH == 7
    assert [width(folder), width(folder)] == [3, 3]
    assert sys.modules["parts_of_mymodel"] is mine


def test_what_the_program_has_imported_from_the_directory_itself_is_used(
    monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    folder = folder_of_width(place, "model", 3)
    monkeypatch.syspath_prepend(str(folder))
    mine = importlib.import_module("parts_of_mymodel")
    mine.WIDTH = 11
    assert width(folder) == 11
    assert width(folder_of_width(place, "other", 5)) == 5
    assert sys.modules["parts_of_mymodel"] is mine


def test_code_is_run_again_only_when_a_file_of_it_changed(place: Path) -> None:
    folder = folder_of_width(place, "model", 3)
    width(folder)
    first = sys.modules["net_mymodel"]
    width(folder)
    assert sys.modules["net_mymodel"] is first, "it stays imported, for what looks for it later"
    (folder / "parts_of_mymodel.py").write_text("WIDTH = 12\n")
    assert width(folder) == 12


def test_packages_of_an_environment_in_the_directory_stay_imported(
    monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    net = "import installed_mymodel\n" + NET
    one, two = folder_of_width(place, "one", 3, net), folder_of_width(place, "two", 5, net)
    site = one / "env" / "site-packages"
    site.mkdir(parents=True)
    (site / "installed_mymodel.py").touch()
    monkeypatch.syspath_prepend(str(site))
    width(one)
    installed = sys.modules["installed_mymodel"]
    assert width(two) == 5
    assert sys.modules["installed_mymodel"] is installed, "it may not bear to be imported twice"


def test_code_may_be_called_like_a_module_of_python(place: Path) -> None:
    (place / "colorsys.py").write_text("from torch import nn\ndef make(): return nn.Linear(9, 1)\n")
    theirs = importlib.import_module("colorsys")
    assert build("python:colorsys:make", trust_code=True, search=place).in_features == 9
    assert importlib.import_module("colorsys") is theirs


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
