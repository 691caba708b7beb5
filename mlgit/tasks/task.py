"""A task that was opened: its definition and its data together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from blake3 import blake3

from mlgit.errors import InvalidInputError, NotFoundError, did_you_mean
from mlgit.objects.encoding import JsonValue, canonical_json
from mlgit.objects.manifest import check_name
from mlgit.tasks.definition import TaskDefinition, check_domain
from mlgit.tasks.split import DomainData, TestSplit, TrainingSplit, ValidationSplit, split_indices


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskData:
    """What a kind of task found.

    Attributes:
        domains: At least one, in string order, each with at least one image.
        classes: Names of the labels 0, 1, ….
        input_shape: Channels, height and width of an image; the shape of one example for data that are no images.
        ignored: Files that were passed over, for a warning.
        notes: What else is remarkable, for people.
    """

    domains: tuple[DomainData, ...]
    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@final
class Task:
    """A definition with its data.

    Args:
        definition: What ``mlgit.toml`` says.
        data: What was found.

    Raises:
        NotFoundError: The test domain is none of the domains.
        InvalidInputError: A name that could do harm, a domain without images, or no domain left to train on.
    """

    def __init__(self, definition: TaskDefinition, data: TaskData) -> None:
        _check_data(definition, data)
        self.definition = definition
        self.data = data

    @property
    def name(self) -> str:
        """The task's name."""
        return self.definition.name

    @property
    def test_domain(self) -> str | None:
        """The domain that training and selection never see."""
        return self.definition.test_domain

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of all domains, the test domain included, in string order."""
        return tuple(domain.name for domain in self.data.domains)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels."""
        return self.data.classes

    @property
    def num_classes(self) -> int:
        """How many labels there are."""
        return len(self.data.classes)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Channels, height and width of an image."""
        return self.data.input_shape

    @property
    def data_digest(self) -> str:
        """BLAKE3, hexadecimal, of classes and data of all domains, whatever the test domain is."""
        content: JsonValue = {
            "classes": list(self.classes),
            "domains": [[each.name, each.digest] for each in self.data.domains],
        }
        return blake3(b"mlgit data 1\n" + canonical_json(content)).hexdigest()

    @property
    def digest(self) -> str:
        """BLAKE3, hexadecimal, of kind, test domain, input and data, the same on every machine.

        The name is left out: a task does not become another one by a new name.
        """
        content: JsonValue = {
            "kind": self.definition.kind,
            "test_domain": self.test_domain,
            "input_shape": list(self.input_shape),
            "data": self.data_digest,
        }
        return blake3(b"mlgit task 1\n" + canonical_json(content)).hexdigest()

    def training(self, trial: int = 0) -> TrainingSplit:
        """Return 80 % of every domain but the test domain.

        Args:
            trial: Which of the random splits, 0, 1, ….

        Raises:
            InvalidInputError: A domain with fewer than 5 images, or a negative trial.
        """
        return TrainingSplit(tuple(self._parts(name, trial)[1] for name in self._training_domains()))

    def validation(self, trial: int = 0) -> ValidationSplit:
        """Return the other 20 % of every domain but the test domain; see ``training``."""
        return ValidationSplit(tuple(self._parts(name, trial)[0] for name in self._training_domains()))

    def test(self) -> TestSplit:
        """Return all of the test domain.

        Raises:
            InvalidInputError: The task has none.
        """
        if self.test_domain is None:
            raise InvalidInputError(
                f"task '{self.name}' has no test domain: all of its domains train",
                kind="no-test-domain",
                hint=f"add it with `--test-domain`, one of: {', '.join(self.domains)}",
            )
        return TestSplit((self.domain(self.test_domain),))

    def evaluation_split(self, *names: str, trial: int = 0) -> TestSplit:
        """Return images of the named domains that training of this task has not seen, for certificates.

        Args:
            names: Domains; none means all of them.
            trial: Which of the random splits training used.

        Returns:
            All of the test domain and the validation part of the others, in the task's order.

        Raises:
            NotFoundError: No domain has this name.
        """
        wanted = {self.domain(name).name for name in names or self.domains}
        return TestSplit(
            tuple(
                self.domain(name) if name == self.test_domain else self._parts(name, trial)[0]
                for name in self.domains
                if name in wanted
            )
        )

    def domain(self, name: str) -> DomainData:
        """Return all images of one domain.

        Raises:
            NotFoundError: No domain has this name.
        """
        if name not in self.domains:
            raise _unknown_domain(self.definition, name, self.domains)
        return self.data.domains[self.domains.index(name)]

    def _training_domains(self) -> tuple[str, ...]:
        return tuple(name for name in self.domains if name != self.test_domain)

    def _parts(self, name: str, trial: int) -> tuple[DomainData, DomainData]:
        data = self.domain(name)
        try:
            validation, training = split_indices(len(data), trial, self.domains.index(name))
        except InvalidInputError as error:
            raise InvalidInputError(
                f"task '{self.name}', domain '{name}': {error.message}", kind=error.kind, hint=error.hint
            ) from error
        return data.subset(validation), data.subset(training)


def _unknown_domain(definition: TaskDefinition, name: str, known: tuple[str, ...]) -> NotFoundError:
    return NotFoundError(
        f"task '{definition.base_name}' has no domain '{name}'", kind="unknown-domain", hint=did_you_mean(name, known)
    )


def _check_data(definition: TaskDefinition, data: TaskData) -> None:
    names = tuple(domain.name for domain in data.domains)
    for name in names:
        check_domain(name)
    for name in data.classes:
        check_name(name, "class")
    if not names or not data.classes:
        raise InvalidInputError(f"task '{definition.name}' has no data", kind="empty-dataset")
    if list(names) != sorted(set(names)):
        raise InvalidInputError(f"the domains of task '{definition.name}' are not in string order", kind="bad-domain")
    for domain in data.domains:
        _check_labels(definition, domain, len(data.classes))
    if definition.test_domain is not None:
        _check_test_domain(definition, names)


def _check_labels(definition: TaskDefinition, domain: DomainData, classes: int) -> None:
    if len(domain) == 0:
        raise InvalidInputError(
            f"domain '{domain.name}' of task '{definition.name}' has no images", kind="empty-domain"
        )
    if int(domain.labels.min()) < 0 or int(domain.labels.max()) >= classes:
        raise InvalidInputError(
            f"domain '{domain.name}' of task '{definition.name}' has a label without a class", kind="bad-domain"
        )


def _check_test_domain(definition: TaskDefinition, names: tuple[str, ...]) -> None:
    if definition.test_domain not in names:
        raise _unknown_domain(definition, str(definition.test_domain), names)
    if len(names) == 1:
        raise InvalidInputError(
            f"task '{definition.name}' has only the domain '{names[0]}': none is left to train on",
            kind="no-training-domain",
            hint="leave the test domain out",
        )
