"""The interface of merge strategies: candidates in, one state dict and a record of how it came about out."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast, final

from mlgit.errors import InvalidInputError, did_you_mean
from mlgit.evaluation.score import Evaluate, Score
from mlgit.merging.candidate import Candidate, canonical, short
from mlgit.merging.registry import MERGE_STRATEGIES
from mlgit.objects.encoding import JsonValue
from mlgit.weights.arithmetic import STATISTICS_RULES, Statistics, lazy_average
from mlgit.weights.content import HeldWeights, contents_of
from mlgit.weights.stored import LazyWeights
from mlgit.weights.types import Weights


@dataclass(frozen=True, slots=True, eq=False)
class Combination:
    """What a strategy makes of a pool, in the order of the pool.

    Attributes:
        weights: The merged state dict. It shares no storage with a tensor that somebody may change; it may compute a
            tensor when it is asked for, and then needs the candidates as they are.
        coefficients: One per candidate of the pool, summing to 1; 0.0 for one that was left out.
        details: What the strategy wants to be remembered: trials, drawn numbers. Finite numbers only.
        notes: Sentences about entries that could not be averaged.
    """

    weights: Weights
    coefficients: tuple[float, ...]
    details: Mapping[str, JsonValue]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """A merged model.

    Attributes:
        weights: The state dict; may compute a tensor when it is asked for, and then needs the candidates as they are.
        labels: The candidates, in the order in which the caller gave them.
        coefficients: One per label, summing to 1; 0.0 means that the strategy left the candidate out.
        record: Everything a reader of the merge commit should know, as JSON: ``strategy``, ``parameters``,
            ``coefficients`` by label, ``order`` (labels in the order in which they were summed up, which decides the
            last bits), ``notes``, and what the strategy adds. The same for every order of arguments.
    """

    weights: Weights
    labels: tuple[str, ...]
    coefficients: tuple[float, ...]
    record: Mapping[str, JsonValue]

    @property
    def by_label(self) -> dict[str, float]:
        """Label -> coefficient."""
        return dict(zip(self.labels, self.coefficients, strict=True))


@dataclass(frozen=True, kw_only=True)
class MergeStrategy(ABC):
    """One way to combine weights. Subclasses are final; their fields are the parameters.

    A subclass sets ``name``, ``reference`` and ``summary`` and writes ``combine`` and ``problems``; where candidates
    have roles, also ``pool_problems``. Nothing else is overridden. ``mlgit.testing.merge_strategy`` holds the contract
    it has to pass.

    Attributes:
        name: As in the table of strategies; written into commits.
        reference: Paper with arXiv id.
        summary: One line for lists, lower case, no full stop.
        needs_evaluation: Whether ``merge`` cannot work without an ``evaluate`` function. A subclass sets it to True, or
            makes it a property where it depends on the parameters.
        exactly: How many candidates there must be; None: any number.
        label_fields: Fields that hold the label of a candidate. Whoever takes parameters from people resolves them.
        order_matters: Whether the result may depend on the order of the candidates. False: they are sorted first.
        statistics: What becomes of batch-norm statistics: ``require-equal``, ``average`` or ``first``.

    Raises:
        InvalidInputError: Parameters out of range; all of them are named.
    """

    name: ClassVar[str]
    reference: ClassVar[str]
    summary: ClassVar[str]
    order_matters: ClassVar[bool] = False
    exactly: ClassVar[int | None] = None
    label_fields: ClassVar[tuple[str, ...]] = ()

    statistics: Statistics = "require-equal"

    def __post_init__(self) -> None:
        problems = _wrong_types(self) or list(self.problems())
        if self.statistics not in STATISTICS_RULES:
            problems.append(f"statistics is '{self.statistics}', not one of {', '.join(STATISTICS_RULES)}")
        if problems:
            raise InvalidInputError(
                f"bad parameters for merge strategy '{self.name}': " + "; ".join(problems),
                kind="bad-parameter",
                hint="; ".join(f"{field.name} is {field.default!r} by default" for field in dataclasses.fields(self)),
            )

    @property
    def needs_evaluation(self) -> bool:
        """Whether there must be an ``evaluate`` function."""
        return False

    @abstractmethod
    def problems(self) -> Sequence[str]:
        """Return what is wrong with the values of the subclass's own fields, one sentence each; types are checked."""

    def pool_problems(self, labels: Sequence[str]) -> Sequence[str]:
        """Return what is wrong with the choice of candidates, one sentence each; their number is checked."""
        del labels
        return ()

    @abstractmethod
    def combine(self, pool: tuple[Candidate, ...], evaluate: Evaluate) -> Combination:
        """Combine a checked pool.

        Args:
            pool: At least one candidate, labels unique, in canonical order unless ``order_matters``.
            evaluate: Scores weights on the data that selection may see; raises when the caller gave none.
        """

    @final
    def check_pool(self, labels: Sequence[str]) -> None:
        """Refuse a choice of candidates that the strategy can do nothing with; ``merge`` does the same.

        Args:
            labels: The candidates, each once.

        Raises:
            InvalidInputError: Too few or too many, or the one that a parameter names is missing.
        """
        if self.exactly is not None and len(labels) != self.exactly:
            raise InvalidInputError(
                f"merge strategy '{self.name}' takes exactly {self.exactly} models, not {len(labels)}",
                kind="candidate-count",
                hint="name just these, or use another strategy",
            )
        problems = self.pool_problems(labels)
        if problems:
            raise InvalidInputError(
                f"bad parameters for merge strategy '{self.name}': " + "; ".join(problems),
                kind="bad-parameter",
                hint="name one of " + ", ".join(short(label) for label in labels[:10]),
            )

    @final
    def merge(self, candidates: Sequence[Candidate], evaluate: Evaluate | None = None) -> Merged:
        """Combine the candidates; they are left unchanged.

        Args:
            candidates: At least one, each label once; names, shapes and dtypes of the weights must fit together.
            evaluate: Scores weights on the ID validation split; a strategy that selects cannot work without it.

        Returns:
            The merged weights, bit-identical for every order of ``candidates`` unless ``order_matters``.

        Raises:
            InvalidInputError: No candidate, a label twice, not the candidates the strategy needs (``check_pool``), or
                no ``evaluate`` where it is needed.
            IncompatibleWeightsError: The weights do not fit together; the differences are listed.
        """
        if self.needs_evaluation and evaluate is None:
            raise _needs_evaluation(self.name)
        pool = canonical(candidates, keep_order=self.order_matters)
        self.check_pool([candidate.label for candidate in pool])
        combined = self.combine(pool, evaluate or _Refusal(self.name))
        coefficients = dict(zip((c.label for c in pool), combined.coefficients, strict=True))
        record: dict[str, JsonValue] = {
            "strategy": self.name,
            "parameters": self.parameters(),
            "coefficients": coefficients,
            "order": [candidate.label for candidate in pool if coefficients[candidate.label]],
            "notes": list(combined.notes),
        }
        labels = tuple(candidate.label for candidate in candidates)
        return Merged(combined.weights, labels, tuple(coefficients[x] for x in labels), record | dict(combined.details))

    @final
    def parameters(self) -> dict[str, JsonValue]:
        """Return field name -> value, as it goes into the record."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def make_strategy(name: str, parameters: Mapping[str, JsonValue] | None = None) -> MergeStrategy:
    """Return the strategy called ``name`` with these parameters.

    Args:
        name: A row of ``MERGE_STRATEGIES``.
        parameters: Field name -> value; what is left out keeps its default.

    Raises:
        NotFoundError: No strategy has this name.
        InvalidInputError: It has no such parameter, or a value is out of range; all of them are named.
    """
    strategy = MERGE_STRATEGIES.get(name)
    given = dict(parameters or {})
    known = [field.name for field in dataclasses.fields(strategy)]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise InvalidInputError(
            f"merge strategy '{name}' has no parameter " + ", ".join(f"'{key}'" for key in unknown),
            kind="unknown-parameter",
            hint=did_you_mean(unknown[0], known),
        )
    return strategy(**cast("dict[str, Any]", given))


def weighted_average(
    pool: Sequence[Candidate], coefficients: Sequence[float], statistics: Statistics
) -> tuple[Weights, tuple[str, ...]]:
    """Return the weighted sum of the candidates' weights, and notes; a single candidate's tensors come out as they are.

    Args:
        pool: At least one candidate, in the order in which the sum is to be taken.
        coefficients: One per candidate, summing to 1.
        statistics: What becomes of batch-norm statistics.

    Returns:
        Name -> tensor of the dtype of the candidates, accumulated in float64 and rounded once, computed when it is
        asked for, so that no model needs to fit into memory; notes.

    Raises:
        IncompatibleWeightsError: The weights do not fit together.
    """
    if len(pool) == 1:
        return copied(pool[0].weights), ()
    labels = [short(candidate.label) for candidate in pool]
    members = [candidate.weights for candidate in pool]
    average = lazy_average(members, coefficients, statistics=statistics, labels=labels)
    return average, average.notes


def copied(weights: Weights) -> Weights:
    """Return the same bits in tensors of their own, so that changing a result changes no input."""
    if isinstance(weights, LazyWeights):  # each look-up makes a new one
        return weights
    return HeldWeights(((name, tensor.clone()) for name, tensor in weights.items()), contents_of(weights))


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Stands in for the function nobody gave."""

    name: str

    def __call__(self, weights: Weights, /) -> Score:
        del weights
        raise _needs_evaluation(self.name)


def _wrong_types(strategy: MergeStrategy) -> list[str]:
    """Return a sentence for each parameter that is not of the type of its default; an int may stand for a float."""
    found = []
    for field in dataclasses.fields(strategy):
        value, wanted = getattr(strategy, field.name), type(field.default)
        accepted = (int, float) if wanted is float else (wanted,)
        if not isinstance(value, accepted) or isinstance(value, bool) != (wanted is bool):
            found.append(f"{field.name} is {value!r}, not of type {wanted.__name__}")
    return found


def _needs_evaluation(name: str) -> InvalidInputError:
    return InvalidInputError(
        f"merge strategy '{name}' selects by accuracy and has no data to measure it on",
        kind="needs-evaluation",
        hint="name the task with `--task`, or use `--strategy uniform`",
    )
