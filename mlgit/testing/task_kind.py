"""The contract of kinds of tasks.

Use::

    class TestNpz(TaskKindContract):
        kind = "npz"

        def make(self, folder: Path) -> TaskOnDisk:
            ...                                   # write a small dataset below folder
            return TaskOnDisk(data=folder, test_domain="b", spoil=lambda: (folder / "b.npz").write_bytes(b""))
"""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from mlgit.errors import MlgitError
from mlgit.objects.encoding import JsonValue
from mlgit.tasks.definition import TaskDefinition
from mlgit.tasks.examples import examples_of
from mlgit.tasks.kinds import TASK_KINDS, Place, TaskKind, open_task, survey_task
from mlgit.tasks.split import DomainData
from mlgit.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class TaskOnDisk:
    """A small dataset that was written for a test.

    Attributes:
        data: What ``--data`` would say, or None for a kind that brings its own.
        options: Options of the kind.
        test_domain: One of at least two domains, each with at least 10 examples.
        search: Where ``python:`` code lies.
        spoil: Makes the data unusable, or None where nothing can be spoiled.
        change: Changes one example without making it unusable, or None.
    """

    data: Path | None
    options: Mapping[str, JsonValue] = field(default_factory=dict)
    test_domain: str
    search: Path | None = None
    spoil: Callable[[], object] | None = None
    change: Callable[[], object] | None = None


class TaskKindContract(ABC):
    """Laws of every kind of task: subclass it, name the kind and write a small dataset.

    Attributes:
        kind: As in ``mlgit.toml``.
    """

    kind: ClassVar[str]

    @abstractmethod
    def make(self, folder: Path) -> TaskOnDisk:
        """Write a dataset into an empty folder and describe it."""

    def _open(self, made: TaskOnDisk, *, name: str = "task", cache: Path | None = None) -> Task:
        definition = TaskDefinition(name=name, kind=self.kind, test_domain=made.test_domain, options=made.options)
        return open_task(definition, place=_place(made, cache))

    def test_it_is_a_final_frozen_dataclass_that_describes_itself(self) -> None:
        """Options are fields; nobody changes them or builds on the class."""
        kind = TASK_KINDS.get(self.kind.partition(":")[0])
        assert issubclass(kind, TaskKind)
        assert getattr(kind, "__final__", False)
        assert dataclasses.is_dataclass(kind)
        assert vars(kind)["__dataclass_params__"].frozen
        assert kind.name == self.kind.partition(":")[0]
        assert kind.summary
        assert not kind.summary.endswith(".")
        assert isinstance(kind.needs_data, bool)

    def test_domains_are_in_string_order_and_classes_fit_the_labels(self, tmp_path: Path) -> None:
        """An index means the same domain and the same class wherever it stands."""
        task = self._open(self.make(tmp_path))
        assert list(task.domains) == sorted(task.domains)
        assert len(set(task.classes)) == task.num_classes
        for domain in task.data.domains:
            assert domain.labels.dtype == torch.int64
            assert domain.labels.ndim == 1
            assert int(domain.labels.min()) >= 0
            assert int(domain.labels.max()) < task.num_classes

    def test_examples_have_the_declared_shape_and_real_values(self, tmp_path: Path) -> None:
        """Both as training and as evaluation sees them, wherever they are wanted."""
        task = self._open(self.make(tmp_path))
        device = torch.device("cpu")
        for domain in task.data.domains:
            indices = torch.tensor([1, 0, 1])
            for images in (
                domain.images(indices),
                domain.images(indices, device),
                domain.augmented(indices, _generator(), device),
            ):
                assert tuple(images.shape) == (3, *task.input_shape)
                assert bool(torch.isfinite(images).all())

    def test_plain_examples_are_the_same_each_time_and_in_any_batch(self, tmp_path: Path) -> None:
        """An image depends neither on its neighbours nor on when it is asked for."""
        for domain in self._open(self.make(tmp_path)).data.domains:
            some = torch.tensor([3, 0, 2])
            together = domain.images(some)
            assert torch.equal(together, domain.images(some))
            for row, index in enumerate(some.tolist()):
                assert torch.equal(together[row], domain.images(torch.tensor([index]))[0])

    def test_augmentation_is_a_function_of_the_generator(self, tmp_path: Path) -> None:
        """Same seed, same bits; other random generators are left alone; ``augments`` tells the truth."""
        for domain in self._open(self.make(tmp_path)).data.domains:
            indices = torch.arange(8)
            before = torch.get_rng_state(), random.getstate()
            first, second, other = (domain.augmented(indices, _generator(seed)) for seed in (1, 1, 2))
            assert torch.equal(before[0], torch.get_rng_state())
            assert before[1] == random.getstate()
            assert torch.equal(first, second)
            assert domain.augments != torch.equal(first, other)
            if not domain.augments:
                assert torch.equal(first, domain.images(indices))

    def test_a_subset_is_these_examples_in_this_order(self, tmp_path: Path) -> None:
        """Under the same name, with a digest of its own."""
        for domain in self._open(self.make(tmp_path)).data.domains:
            part = domain.subset(torch.tensor([4, 1, 2]))
            assert (part.name, len(part)) == (domain.name, 3)
            assert torch.equal(part.labels, domain.labels[[4, 1, 2]])
            assert torch.equal(part.images(torch.arange(3)), domain.images(torch.tensor([4, 1, 2])))
            again = part.subset(torch.tensor([2, 0]))
            assert torch.equal(again.images(torch.arange(2)), domain.images(torch.tensor([2, 4])))
            assert len({domain.digest, part.digest, domain.subset(torch.tensor([1, 4, 2])).digest}) == 3
            assert part.digest == domain.subset(torch.tensor([4, 1, 2])).digest

    def test_training_and_validation_share_no_example_and_none_of_the_test_domain(self, tmp_path: Path) -> None:
        """Together they are the training domains; the test split is all of the test domain."""
        made = self.make(tmp_path)
        task = self._open(made)
        training, validation = task.training(1), task.validation(1)
        assert training.names == validation.names == tuple(name for name in task.domains if name != made.test_domain)
        for inside, outside in zip(training.domains, validation.domains, strict=True):
            both = sorted(_digests(inside) + _digests(outside))
            assert both == sorted(_digests(task.domain(inside.name)))
        assert task.test().names == (made.test_domain,)
        assert len(task.test()) == len(task.domain(made.test_domain))

    def test_digests_are_those_of_the_content_wherever_and_whenever_it_is_opened(self, tmp_path: Path) -> None:
        """Neither path, time, name of the task nor what is kept on disk is part of them."""
        made = self.make(tmp_path / "here")
        first = self._open(made)
        again = self._open(made, name="other", cache=tmp_path / "cache")
        assert again.digest == first.digest
        assert self._open(made, cache=tmp_path / "cache").digest == first.digest
        if made.data is not None:
            moved = dataclasses.replace(made, data=_copied(made.data, tmp_path / "elsewhere"))
            assert self._open(moved).digest == first.digest
            assert self._open(moved).training().digest == first.training().digest

    def test_what_is_kept_on_disk_changes_no_example(self, tmp_path: Path) -> None:
        """With a cache, without one, and with one that was filled before."""
        made = self.make(tmp_path / "here")
        tasks = [self._open(made, cache=cache) for cache in (None, tmp_path / "cache", tmp_path / "cache")]
        for domains in zip(*(task.data.domains for task in tasks), strict=True):
            indices = torch.arange(min(len(domains[0]), 10))
            plain = [domain.images(indices) for domain in domains]
            augmented = [domain.augmented(indices, _generator()) for domain in domains]
            assert all(torch.equal(images, plain[0]) for images in plain)
            assert all(torch.equal(images, augmented[0]) for images in augmented)

    def test_every_example_has_a_name_and_a_digest_and_a_survey_finds_the_same(self, tmp_path: Path) -> None:
        """Names are different within a domain; a survey of sound data has nothing to complain about."""
        made = self.make(tmp_path)
        task = self._open(made)
        examples = [list(examples_of(domain)) for domain in task.data.domains]
        for domain, listed in zip(task.data.domains, examples, strict=True):
            assert [each.label for each in listed] == domain.labels.tolist()
            assert len({each.name for each in listed}) == len(domain)
            assert all(len(each.digest) == 64 and each.domain == domain.name for each in listed)
        survey = survey_task(task.definition, _place(made, None))
        assert list(survey.examples) == [each for listed in examples for each in listed]
        assert not survey.unreadable

    def test_a_changed_example_changes_the_digest_and_shows_in_a_survey(self, tmp_path: Path) -> None:
        """Also when digests of files are remembered."""
        made = self.make(tmp_path / "here")
        if made.change is None:
            pytest.skip("nothing can be changed")
        before = self._open(made, cache=tmp_path / "cache")
        was = survey_task(before.definition, _place(made, None)).examples
        made.change()
        assert self._open(made, cache=tmp_path / "cache").digest != before.digest
        assert survey_task(before.definition, _place(made, None)).examples != was

    def test_spoiled_data_are_one_clear_error(self, tmp_path: Path) -> None:
        """When the task is opened or the example is used, never anything but an error of mlgit."""
        made = self.make(tmp_path)
        if made.spoil is None:
            pytest.skip("nothing can be spoiled")
        made.spoil()
        with pytest.raises(MlgitError) as caught:
            _use(self._open(made))
        assert caught.value.kind != "bug"

    def test_a_domain_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        """A test domain with a typing error would otherwise hold nothing out."""
        made = dataclasses.replace(self.make(tmp_path), test_domain="no such domain")
        with pytest.raises(MlgitError, match="no such domain"):
            self._open(made)

    def test_a_path_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        """As is none at all, for a kind that needs one."""
        made = self.make(tmp_path)
        if not TASK_KINDS.get(self.kind.partition(":")[0]).needs_data:
            pytest.skip("needs no data")
        for data in (None, tmp_path / "nowhere"):
            with pytest.raises(MlgitError) as caught:
                self._open(dataclasses.replace(made, data=data))
            assert caught.value.hint or caught.value.message


def _place(made: TaskOnDisk, cache: Path | None) -> Place:
    return Place(data=made.data, cache=cache, trust_code=made.search is not None, search=made.search)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _digests(domain: DomainData) -> list[str]:
    return [example.digest + str(example.label) for example in examples_of(domain)]


def _copied(data: Path, target: Path) -> Path:
    """Copy data file by file, backwards, with other times."""
    if not data.is_dir():
        target.mkdir(parents=True)
        return Path(shutil.copy(data, target))
    for path in sorted(data.rglob("*"), reverse=True):
        place = target / data.name / path.relative_to(data)
        if path.is_dir():
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
            os.utime(place, (1, 1))
    return target / data.name


def _use(task: Task) -> None:
    for domain in task.data.domains:
        domain.images(torch.arange(len(domain)))
