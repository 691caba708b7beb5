from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mlgit.errors import InvalidInputError, JobFailedError, MlgitError, NotFoundError
from mlgit.objects.encoding import JsonValue
from mlgit.tasks import TaskDefinition
from mlgit.tasks.kinds import Place, open_task
from mlgit.tasks.task import Task

CODE = """
import numpy as np
import torch
from mlgit.tasks.arrays import ArrayDomain
from mlgit.tasks.task import TaskData

RAN = []

def pictures(data):
    RAN.append(data)
    images = torch.arange(2 * 10 * 3 * 4 * 4).reshape(20, 3, 4, 4).to(torch.uint8)
    labels = np.arange(20) % 3
    return {
        "domains": {"b": (images[:10], labels[:10]), "a": (images[10:].numpy(), torch.from_numpy(labels[10:]))},
        "classes": ["x", "y", "z"],
        "mean": [0.1, 0.2, 0.3],
        "std": 0.5,
    }

def words(data, length=4):
    tokens = torch.arange(10 * length).reshape(10, length)
    return {"domains": {"all": (tokens, [0, 1] * 5)}}

def own(data):
    pixels = torch.zeros(6, 1, 2, 2, dtype=torch.uint8)
    domain = ArrayDomain("d", pixels, torch.zeros(6, dtype=torch.int64), mean=0.0, std=1.0)
    return TaskData(domains=(domain,), classes=("only",), input_shape=(1, 2, 2))

def returning(data, **what):
    X, y = torch.zeros(4, 2), torch.tensor([0, 1, 0, 1])
    return {
        "nothing": None,
        "text": "domains",
        "no domains": {"classes": []},
        "no mapping": {"domains": [X, y]},
        "extra": {"domains": {"d": (X, y)}, "class": ["a"]},
        "not a pair": {"domains": {"d": X}},
        "name": {"domains": {3: (X, y)}},
        "bad name": {"domains": {"a/b": (X, y)}},
        "counts": {"domains": {"d": (X, y[:3])}},
        "float labels": {"domains": {"d": (X, y.float())}},
        "matrix labels": {"domains": {"d": (X, y[:, None])}},
        "negative": {"domains": {"d": (X, y - 1)}},
        "few classes": {"domains": {"d": (X, y)}, "classes": ["one"]},
        "classes": {"domains": {"d": (X, y)}, "classes": "ab"},
        "shapes": {"domains": {"d": (X, y), "e": (torch.zeros(4, 3), y)}},
        "empty": {"domains": {}},
        "no examples": {"domains": {"d": (X[:0], y[:0])}},
        "complex": {"domains": {"d": (X.to(torch.complex64), y)}},
        "objects": {"domains": {"d": (np.array([object()] * 4), y)}},
        "zero std": {"domains": {"d": (X, y)}, "std": 0},
        "wide mean": {"domains": {"d": (X, y)}, "mean": [1, 2, 3]},
        "text mean": {"domains": {"d": (X, y)}, "mean": "x"},
    }[what["what"]]

def failing(data):
    raise RuntimeError("no such luck")

value = 3
"""


@pytest.fixture
def search(tmp_path: Path) -> Path:
    (tmp_path / "some_task_code.py").write_text(CODE)
    return tmp_path


def opened(search: Path, function: str, *, data: Path | None = None, trust: bool = True, **options: JsonValue) -> Task:
    definition = TaskDefinition(name="t", kind=f"python:{function}", options=options)
    return open_task(definition, place=Place(data=data, trust_code=trust, search=search))


def test_uint8_is_scaled_and_normalised_per_channel(search: Path) -> None:
    task = opened(search, "some_task_code:pictures", data=search)
    assert task.domains == ("a", "b")
    assert task.classes == ("x", "y", "z")
    assert task.input_shape == (3, 4, 4)
    assert task.domain("a").labels.tolist() == [each % 3 for each in range(10, 20)]
    raw = torch.arange(960).reshape(20, 3, 4, 4).to(torch.uint8)[:10]
    expected = (raw / 255 - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / 0.5
    torch.testing.assert_close(task.domain("b").images(torch.arange(10)), expected)


def test_whole_numbers_stay_what_they_are_and_classes_are_counted(search: Path) -> None:
    task = opened(search, "some_task_code:words", length=3)
    images = task.domain("all").images(torch.tensor([2, 0]))
    assert images.dtype == torch.int64
    assert images.tolist() == [[6, 7, 8], [0, 1, 2]]
    assert task.classes == ("0", "1")
    assert task.input_shape == (3,)


def test_options_change_the_data_and_so_the_digest(search: Path) -> None:
    assert opened(search, "some_task_code:words").digest == opened(search, "some_task_code:words", length=4).digest
    assert opened(search, "some_task_code:words").digest != opened(search, "some_task_code:words", length=5).digest


def test_task_data_are_taken_as_they_are(search: Path) -> None:
    assert opened(search, "some_task_code:own").classes == ("only",)


def test_without_trust_nothing_runs(search: Path) -> None:
    (search / "dangerous.py").write_text("raise SystemExit('ran')")
    with pytest.raises(InvalidInputError) as caught:
        opened(search, "dangerous:make", trust=False)
    assert caught.value.kind == "untrusted-code"
    assert "--trust-code" in str(caught.value.hint)


@pytest.mark.parametrize(
    "what",
    [
        "nothing", "text", "no domains", "no mapping", "extra", "not a pair", "name", "bad name", "counts",
        "float labels", "matrix labels", "negative", "few classes", "classes", "shapes", "empty", "no examples",
        "complex", "objects", "zero std", "wide mean", "text mean",
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused(search: Path, what: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        opened(search, "some_task_code:returning", what=what)
    assert caught.value.kind in ("bad-task-data", "bad-domain", "bad-name", "empty-dataset", "empty-domain")


@pytest.mark.parametrize(
    ("function", "error"),
    [
        ("some_task_code:failing", JobFailedError),
        ("some_task_code:returning", JobFailedError),
        ("some_task_code:nowhere", NotFoundError),
        ("no_such_module:make", NotFoundError),
        ("some_task_code:value", InvalidInputError),
        ("some_task_code:1", InvalidInputError),
    ],
)
def test_code_that_fails_or_is_not_there_is_one_error(search: Path, function: str, error: type[MlgitError]) -> None:
    with pytest.raises(error):
        opened(search, function)


@pytest.mark.parametrize("kind", ["python:", "python:a", "python:a:b:c", "python:a b:c", "python:../a:b", "PYTHON:a:b"])
def test_a_kind_that_names_no_callable_is_refused(search: Path, kind: str) -> None:
    with pytest.raises(InvalidInputError):
        open_task(TaskDefinition(name="t", kind=kind), place=Place(trust_code=True, search=search))
