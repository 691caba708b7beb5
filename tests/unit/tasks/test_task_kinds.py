from __future__ import annotations

import dataclasses
import inspect

import pytest
import torch

from mlgit.errors import InvalidInputError, NotFoundError
from mlgit.tasks import TASK_KINDS, TaskDefinition
from mlgit.tasks.arrays import ArrayDomain
from mlgit.tasks.kinds import TaskKind, kind_of
from mlgit.tasks.kinds.python_code import PythonKind
from mlgit.tasks.task import Task, TaskData


@pytest.mark.parametrize("name", TASK_KINDS.names())
def test_every_kind_loads_is_final_and_describes_itself_and_its_options(name: str) -> None:
    kind = TASK_KINDS.get(name)
    assert issubclass(kind, TaskKind)
    assert getattr(kind, "__final__", False)
    assert kind.name == name
    assert kind.summary
    assert isinstance(kind.needs_data, bool)
    for field in dataclasses.fields(kind):
        assert field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        assert f"{field.name}: " in (inspect.getdoc(kind) or "")
    if name != "python":
        assert kind_of(TaskDefinition(name="t", kind=name)) == kind()


@pytest.mark.parametrize("kind", ["python", "digits:module:callable", "python:module"])
def test_only_python_takes_a_callable_and_it_needs_one(kind: str) -> None:
    with pytest.raises(InvalidInputError):
        kind_of(TaskDefinition(name="t", kind=kind))


def test_the_options_of_python_are_free() -> None:
    made = kind_of(TaskDefinition(name="t", kind="python:my.data:load.it", options={"anything": [1, 2]}))
    assert made == PythonKind(callable="my.data:load.it", options={"anything": [1, 2]})


def data(*names: str, size: int = 6, labels: int = 0) -> TaskData:
    return TaskData(
        domains=tuple(
            ArrayDomain(
                name,
                torch.zeros(size, 1, 2, 2, dtype=torch.uint8),
                torch.full((size,), labels, dtype=torch.int64),
                mean=0.0,
                std=1.0,
            )
            for name in names
        ),
        classes=("no", "yes"),
        input_shape=(1, 2, 2),
    )


def made(given: TaskData, test_domain: str | None = None) -> Task:
    return Task(TaskDefinition(name="t", kind="x", test_domain=test_domain), given)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (data(), "empty-dataset"),
        (dataclasses.replace(data("a"), classes=()), "empty-dataset"),
        (data("b", "a"), "bad-domain"),
        (data("a", "a"), "bad-domain"),
        (data("a", size=0), "empty-domain"),
        (data("a", labels=2), "bad-domain"),
        (data("a", labels=-1), "bad-domain"),
        (data("a\u202eb"), "bad-name"),
        (data("a/b"), "bad-name"),
        (dataclasses.replace(data("a"), classes=("no\n", "yes")), "bad-name"),
    ],
)
def test_data_of_a_faulty_kind_are_refused(given: TaskData, kind: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        made(given)
    assert caught.value.kind == kind


def test_the_place_of_a_domain_in_the_split_counts_the_test_domain_too() -> None:
    both, alone = made(data("a", "b", size=50), "a"), made(data("b", size=50))
    labels = torch.arange(50) % 2
    for task in (both, alone):
        task.domain("b").labels = labels
    assert both.training().domains[0].labels.tolist() != alone.training().domains[0].labels.tolist()


def test_an_unknown_domain_is_not_found() -> None:
    with pytest.raises(NotFoundError) as caught:
        made(data("art", "photo")).domain("phot")
    assert caught.value.hint == "did you mean 'photo'?"
