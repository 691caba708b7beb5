"""Scores against scikit-learn and numpy, and the rules for ties, NaN and wrong input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score

from mlgit.errors import InvalidInputError
from mlgit.evaluation.score import Predictions, ensemble, score


def random_predictions(domain: str, n: int, classes: int, seed: int) -> Predictions:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, classes, generator=generator)
    labels = torch.randint(classes, (n,), generator=generator)
    return Predictions(domain, torch.softmax(logits, dim=1), labels)


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    classes=st.integers(2, 6),
    seed=st.integers(0, 2**32 - 1),
)
def test_accuracy_equals_scikit_learn_over_all_examples_and_within_each_domain(sizes, classes, seed):
    parts = [random_predictions(f"d{i}", n, classes, seed + i) for i, n in enumerate(sizes)]
    result = score(parts)
    truth = np.concatenate([part.labels.numpy() for part in parts])
    guesses = np.concatenate([part.probabilities.numpy().argmax(axis=1) for part in parts])
    assert result.accuracy == pytest.approx(accuracy_score(truth, guesses), abs=1e-15)
    assert (result.correct.numpy() == (truth == guesses)).all()
    for part in parts:
        expected = accuracy_score(part.labels.numpy(), part.probabilities.numpy().argmax(axis=1))
        assert result.per_domain[part.domain] == pytest.approx(expected, abs=1e-15)
    assert list(result.per_domain) == [part.domain for part in parts]
    assert result.macro == pytest.approx(np.mean(list(result.per_domain.values())), abs=1e-15)
    assert result.worst == min(result.per_domain.values())


def test_micro_and_macro_average_differ_when_domains_differ_in_size():
    right = torch.tensor([[1.0, 0.0]])
    small = Predictions("small", right, torch.tensor([0]))
    large = Predictions("large", right.expand(3, 2), torch.tensor([1, 1, 1]))
    result = score([small, large])
    assert result.accuracy == 0.25
    assert result.macro == 0.5
    assert result.worst == 0.0


def test_the_lowest_class_wins_a_tie():
    tie = Predictions("d", torch.tensor([[0.2, 0.4, 0.4], [0.4, 0.4, 0.2]]), torch.tensor([1, 1]))
    assert tie.correct.tolist() == [True, False]


def test_a_row_with_nan_counts_as_wrong_whatever_the_label():
    nan = float("nan")
    rows = torch.tensor([[nan, nan], [nan, nan], [nan, 1.0], [1.0, nan]])
    assert score([Predictions("d", rows, torch.tensor([0, 1, 1, 0]))]).accuracy == 0.0


def test_a_score_without_domains_or_with_one_twice_is_refused():
    part = random_predictions("d", 3, 2, 0)
    for parts in ([], [part, part]):
        with pytest.raises(InvalidInputError) as error:
            score(parts)
        assert error.value.kind == "bad-split"


def test_an_empty_domain_is_refused_by_name():
    empty = Predictions("photo", torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(InvalidInputError, match="photo") as error:
        score([empty])
    assert error.value.kind == "empty-split"


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_outside_the_classes_is_refused(label):
    with pytest.raises(InvalidInputError, match="2 classes") as error:
        Predictions("d", torch.full((1, 2), 0.5), torch.tensor([label]))
    assert error.value.kind == "class-count"


@pytest.mark.parametrize("shape", [(3,), (2, 2), (3, 2, 1)])
def test_probabilities_that_do_not_fit_the_labels_are_refused(shape):
    with pytest.raises(InvalidInputError) as error:
        Predictions("d", torch.zeros(shape), torch.zeros(3, dtype=torch.int64))
    assert error.value.kind == "bad-predictions"


@given(members=st.integers(1, 7), seed=st.integers(0, 2**31))
def test_an_ensemble_is_the_mean_probability_of_its_members(members, seed):
    labels = torch.randint(3, (11,), generator=torch.Generator().manual_seed(seed))
    predictions = [
        (Predictions("a", random_predictions("a", 11, 3, seed + i).probabilities, labels),) for i in range(members)
    ]
    (mean,) = ensemble(predictions)
    expected = np.mean([part.probabilities.numpy().astype(np.float64) for (part,) in predictions], axis=0)
    assert mean.probabilities.dtype == torch.float32
    np.testing.assert_array_equal(mean.probabilities.numpy(), expected.astype(np.float32))
    assert torch.equal(mean.labels, labels)


def test_an_ensemble_of_equal_members_is_the_member():
    part = random_predictions("a", 20, 4, 3)
    (mean,) = ensemble([[part]] * 3)
    assert torch.equal(mean.probabilities, part.probabilities)


def test_an_ensemble_can_be_right_where_the_vote_of_its_members_is_wrong():
    labels = torch.tensor([0])
    rows = ([0.9, 0.1], [0.45, 0.55], [0.45, 0.55])
    members = [[Predictions("a", torch.tensor([row]), labels)] for row in rows]
    assert [score(member).accuracy for member in members] == [1.0, 0.0, 0.0]
    assert score(ensemble(members)).accuracy == 1.0


def test_an_ensemble_of_nothing_is_refused():
    with pytest.raises(InvalidInputError) as error:
        ensemble([])
    assert error.value.kind == "no-members"


@pytest.mark.parametrize(
    "other",
    [
        [random_predictions("b", 5, 2, 0)],
        [random_predictions("a", 5, 3, 0)],
        [Predictions("a", torch.full((5, 2), 0.5), 1 - random_predictions("a", 5, 2, 0).labels)],
        [],
    ],
    ids=["other domain", "other classes", "other labels", "no domain"],
)
def test_members_that_saw_different_examples_are_refused(other):
    with pytest.raises(InvalidInputError) as error:
        ensemble([[random_predictions("a", 5, 2, 0)], other])
    assert error.value.kind == "different-examples"
