"""The contract of metrics: subclass ``MetricContract``, name the metric, and pytest runs every law on it.

::

    class TestAccuracy(MetricContract):
        metric = Accuracy
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import ClassVar

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlgit.certification.metrics import METRICS, Metric
from mlgit.evaluation.score import Predictions

# The laws are inherited, so each one runs in several test classes; Hypothesis cannot know that this is meant.
_law = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.differing_executors])


def random_predictions(seed: int, counts: Sequence[int], classes: int, sharpness: float) -> tuple[Predictions, ...]:
    """Return predictions of a model that knows a little.

    Args:
        seed: Same arguments, same predictions.
        counts: How many examples each domain has; domains are called ``domain0``, ``domain1`` ...
        classes: How many, at least 2.
        sharpness: Scale of the logits: at 0 all classes are equally probable, at 100 one class has nearly all.
    """
    generator = torch.Generator().manual_seed(seed)
    result = []
    for index, count in enumerate(counts):
        labels = torch.randint(classes, (count,), generator=generator)
        logits = torch.randn(count, classes, generator=generator) + torch.nn.functional.one_hot(labels, classes)
        result.append(Predictions(f"domain{index}", (sharpness * logits).softmax(dim=1), labels))
    return tuple(result)


def certain_predictions(right: Sequence[int], wrong: Sequence[int]) -> tuple[Predictions, ...]:
    """Return predictions of two classes with probability 1, so many right and so many wrong in each domain."""
    result = []
    for index, (good, bad) in enumerate(zip(right, wrong, strict=True)):
        labels = torch.arange(good + bad) % 2
        guesses = torch.where(torch.arange(good + bad) < good, labels, 1 - labels)
        probabilities = torch.nn.functional.one_hot(guesses, 2).to(torch.float32)
        result.append(Predictions(f"domain{index}", probabilities, labels))
    return tuple(result)


def prediction_sets() -> st.SearchStrategy[tuple[Predictions, ...]]:
    """Return a Hypothesis strategy of predictions: 1 to 3 domains of 1 to 30 examples, 2 to 5 classes."""
    return st.builds(
        random_predictions,
        seed=st.integers(0, 2**32),
        counts=st.lists(st.integers(1, 30), min_size=1, max_size=3),
        classes=st.integers(2, 5),
        sharpness=st.sampled_from([0.0, 0.5, 2.0, 10.0, 100.0]),
    )


def shuffled(predictions: Sequence[Predictions], seed: int) -> tuple[Predictions, ...]:
    """Return the same predictions with domains and examples in another order."""
    generator = torch.Generator().manual_seed(seed)
    result = []
    for index in torch.randperm(len(predictions), generator=generator).tolist():
        part = predictions[index]
        order = torch.randperm(len(part), generator=generator)
        result.append(Predictions(part.domain, part.probabilities[order], part.labels[order]))
    return tuple(result)


class MetricContract:
    """What every metric must do. Subclasses set ``metric`` and add nothing, or more tests of their own.

    Attributes:
        metric: The class under test.
    """

    metric: ClassVar[type[Metric]]

    def test_it_is_final_registered_and_described(self) -> None:
        """The row of the table points at a leaf class with all its texts."""
        metric = self.metric
        assert getattr(metric, "__final__", False), "decorate the class with typing.final"
        assert not inspect.isabstract(metric)
        assert METRICS.get(metric.name) is metric
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", metric.name)
        assert all(text and "\n" not in text for text in (metric.summary, metric.reference, metric.unit))
        assert inspect.getdoc(metric)
        assert metric.range[0] < metric.range[1]

    @_law
    @given(prediction_sets(), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
    def test_the_interval_contains_the_value_and_both_lie_in_the_range(
        self, predictions: tuple[Predictions, ...], confidence: float
    ) -> None:
        """Nothing is NaN, nothing lies outside."""
        low, high = self.metric.range
        value = self.metric().value(predictions)
        interval = self.metric().interval(predictions, confidence)
        assert low <= interval.low <= value <= interval.high <= high
        assert interval.confidence == confidence

    @_law
    @given(prediction_sets(), st.integers(0, 2**32))
    def test_the_order_of_domains_and_examples_changes_nothing(
        self, predictions: tuple[Predictions, ...], seed: int
    ) -> None:
        """Not even the last bit."""
        other = shuffled(predictions, seed)
        assert self.metric().value(other) == self.metric().value(predictions)
        assert self.metric().interval(other, 0.95) == self.metric().interval(predictions, 0.95)

    @_law
    @given(prediction_sets())
    def test_a_higher_confidence_gives_a_wider_interval(self, predictions: tuple[Predictions, ...]) -> None:
        """The interval at 80 % lies within the one at 99 %."""
        narrow, wide = (self.metric().interval(predictions, confidence) for confidence in (0.8, 0.99))
        assert wide.low <= narrow.low <= narrow.high <= wide.high

    @_law
    @given(prediction_sets())
    def test_more_data_gives_a_narrower_interval(self, predictions: tuple[Predictions, ...]) -> None:
        """Sixteen times the same examples: the value stays, the interval shrinks."""
        more = tuple(
            Predictions(part.domain, part.probabilities.repeat(16, 1), part.labels.repeat(16)) for part in predictions
        )
        few, many = (self.metric().interval(examples, 0.95) for examples in (predictions, more))
        assert abs(self.metric().value(more) - self.metric().value(predictions)) < 1e-9
        assert many.high - many.low < 0.8 * (few.high - few.low)

    @_law
    @given(prediction_sets())
    def test_inputs_and_global_random_numbers_are_left_alone(self, predictions: tuple[Predictions, ...]) -> None:
        """The metric draws from a generator of its own."""
        before = [(part.probabilities.clone(), part.labels.clone()) for part in predictions]
        state = torch.get_rng_state()
        self.metric().value(predictions)
        self.metric().interval(predictions, 0.95)
        assert torch.equal(torch.get_rng_state(), state)
        for part, (probabilities, labels) in zip(predictions, before, strict=True):
            assert torch.equal(part.probabilities, probabilities)
            assert torch.equal(part.labels, labels)

    def test_certain_and_right_is_best_and_certain_and_wrong_is_worst(self) -> None:
        """The ends of the range can be reached, and ``higher_is_better`` says which one is good."""
        low, high = self.metric.range
        best, worst = (high, low) if self.metric.higher_is_better else (low, high)
        assert self.metric().value(certain_predictions([5, 7], [0, 0])) == best
        assert self.metric().value(certain_predictions([0, 0], [5, 7])) == worst

    def test_an_interval_is_never_without_width(self) -> None:
        """Three perfect answers prove little, and so do three wrong ones."""
        for predictions in (certain_predictions([3], [0]), certain_predictions([0], [3])):
            interval = self.metric().interval(predictions, 0.95)
            assert interval.high - interval.low > 0.1 * (self.metric.range[1] - self.metric.range[0])
