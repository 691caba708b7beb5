"""What recipes came to: plain records, kept as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from mlgit.objects import CommitId, JsonValue
from mlgit.objects.encoding import Fields
from mlgit.recipes.recipe import Selection


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A share of examples.

    Attributes:
        correct: How many were right.
        examples: Of how many, at least 1.
    """

    correct: int
    examples: int

    @property
    def value(self) -> float:
        """The share, 0 to 1."""
        return self.correct / self.examples


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One candidate: a run, or an average along it.

    Attributes:
        number: Of the run, from 0.
        trial: Number of its data split.
        branch: Short name of the branch that keeps it.
        commit: Its commit.
        start: The auxiliary task whose featurizer it began with, ``fused``, or None for the pretrained one.
        id_accuracy: On ID validation data: the mean over training domains, 0 to 1.
        test: On the whole test domain.
    """

    number: int
    trial: int
    branch: str
    commit: CommitId
    start: str | None
    id_accuracy: float
    test: Accuracy

    def to_json(self) -> dict[str, JsonValue]:
        """Return the fields as JSON."""
        return {
            "number": self.number,
            "trial": self.trial,
            "branch": self.branch,
            "commit": self.commit,
            "start": self.start,
            "id_accuracy": self.id_accuracy,
            "test_correct": self.test.correct,
            "test_examples": self.test.examples,
        }

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """Return what ``to_json`` described."""
        return cls(
            number=fields.integer("number"),
            trial=fields.integer("trial"),
            branch=fields.text("branch"),
            commit=CommitId(fields.text("commit")),
            start=fields.optional_text("start"),
            id_accuracy=fields.number("id_accuracy"),
            test=Accuracy(fields.integer("test_correct"), fields.integer("test_examples")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One result of a recipe.

    Attributes:
        recipe: Name of the recipe.
        selection: How it was made of the candidates.
        trial: Number of the data split; None for all splits together.
        candidates: What it was made of or chosen from, by trial and number; empty for a linear probe.
        members: Commit -> coefficient of what is in it; those of an ensemble are shares of predictions.
        commit: Its commit; None for an ensemble.
        branch: Short name of the branch that keeps it; None for an ensemble.
        id_accuracy: On ID validation data: the mean over training domains, 0 to 1; None where no part of the data is
            unseen by all members.
        test: On the whole test domain.
        connectivity: ``holds``, ``undecided``, ``violated`` or ``unchecked`` for the paths between averaged members;
            None where nothing was averaged.
    """

    recipe: str
    selection: Selection
    trial: int | None
    candidates: tuple[Run, ...]
    members: Mapping[CommitId, float]
    commit: CommitId | None
    branch: str | None
    id_accuracy: float | None
    test: Accuracy
    connectivity: str | None = None

    @property
    def runs(self) -> int:
        """How many candidates there were."""
        return len(self.candidates)

    def to_json(self) -> dict[str, JsonValue]:
        """Return the fields as JSON."""
        return {
            "recipe": self.recipe,
            "selection": self.selection.value,
            "trial": self.trial,
            "candidates": [each.to_json() for each in self.candidates],
            "members": {str(name): share for name, share in self.members.items()},
            "commit": self.commit,
            "branch": self.branch,
            "id_accuracy": self.id_accuracy,
            "test_correct": self.test.correct,
            "test_examples": self.test.examples,
            "connectivity": self.connectivity,
        }

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """Return what ``to_json`` described.

        Raises:
            CorruptObjectError: It is something else.
        """
        members = fields.fields("members")
        commit = fields.optional_text("commit")
        return cls(
            recipe=fields.text("recipe"),
            selection=Selection(fields.text("selection")),
            trial=None if fields.values["trial"] is None else fields.integer("trial"),
            candidates=tuple(Run.from_json(each) for each in fields.items("candidates")),
            members={CommitId(name): members.number(name) for name in members.values},
            commit=None if commit is None else CommitId(commit),
            branch=fields.optional_text("branch"),
            id_accuracy=None if fields.values["id_accuracy"] is None else fields.number("id_accuracy"),
            test=Accuracy(fields.integer("test_correct"), fields.integer("test_examples")),
            connectivity=fields.optional_text("connectivity"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Auxiliary:
    """A run on an auxiliary task.

    Attributes:
        task: Name of the task.
        number: Of the run, from 0.
        commit: Its commit, with its last weights.
        average: The commit of the mean along it, if that was kept.
    """

    task: str
    number: int
    commit: CommitId
    average: CommitId | None = None

    def to_json(self) -> dict[str, JsonValue]:
        """Return the fields as JSON."""
        return {"task": self.task, "number": self.number, "commit": self.commit, "average": self.average}

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """Return what ``to_json`` described."""
        average = fields.optional_text("average")
        return cls(
            task=fields.text("task"),
            number=fields.integer("number"),
            commit=CommitId(fields.text("commit")),
            average=None if average is None else CommitId(average),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What is known of one target: a task with a test domain, and a name.

    Attributes:
        task: The task, without a test domain.
        domain: The test domain.
        name: Of the study.
        outcomes: The results so far.
        auxiliaries: Runs on auxiliary tasks, by task and number.
    """

    task: str
    domain: str
    name: str
    outcomes: tuple[Outcome, ...] = ()
    auxiliaries: tuple[Auxiliary, ...] = ()

    @property
    def target(self) -> str:
        """The task as verbs of the command line name it: ``PACS@sketch``."""
        return f"{self.task}@{self.domain}"

    def with_results(self, outcomes: Sequence[Outcome], auxiliaries: Sequence[Auxiliary]) -> Study:
        """Return the study with new results, in the place of older ones of the same kind and number of runs."""
        by_kind = {_kind(each): each for each in (*self.outcomes, *outcomes)}
        by_run = {(each.task, each.number): each for each in (*self.auxiliaries, *auxiliaries)}
        return replace(self, outcomes=tuple(by_kind.values()), auxiliaries=tuple(by_run[key] for key in sorted(by_run)))

    def to_json(self) -> dict[str, JsonValue]:
        """Return the fields as JSON."""
        return {
            "task": self.task,
            "domain": self.domain,
            "name": self.name,
            "outcomes": [each.to_json() for each in self.outcomes],
            "auxiliaries": [each.to_json() for each in self.auxiliaries],
        }

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """Return what ``to_json`` described.

        Raises:
            CorruptObjectError: It is something else.
        """
        return cls(
            task=fields.text("task"),
            domain=fields.text("domain"),
            name=fields.text("name"),
            outcomes=tuple(Outcome.from_json(each) for each in fields.items("outcomes")),
            auxiliaries=tuple(Auxiliary.from_json(each) for each in fields.items("auxiliaries")),
        )


def _kind(outcome: Outcome) -> tuple[object, ...]:
    splits = frozenset(each.trial for each in outcome.candidates)
    return outcome.recipe, outcome.selection, outcome.trial, outcome.runs, splits
