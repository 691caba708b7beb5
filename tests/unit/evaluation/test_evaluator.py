"""The evaluator: right, repeatable, strict about weights, and blind to test data when it selects."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score

from mlgit.errors import IncompatibleWeightsError, InvalidInputError
from mlgit.evaluation.evaluator import Evaluator, selection_evaluator
from mlgit.models.factories import build
from mlgit.models.network import Network
from mlgit.tasks.split import TestSplit, TrainingSplit, ValidationSplit

CPU = torch.device("cpu")


def other_weights(seed: int, classes: int = 3) -> dict[str, torch.Tensor]:
    return Network(build("mlgit:digits-cnn", num_classes=classes, seed=seed)).weights()


@pytest.fixture
def split(make_domain):
    return ValidationSplit((make_domain("a", 37, seed=1), make_domain("b", 20, seed=2)))


class CountingDomain:
    """Counts how often images are decoded."""

    def __init__(self, domain):
        self.domain = domain
        self.name, self.labels, self.calls = domain.name, domain.labels, 0

    def __len__(self):
        return len(self.labels)

    def images(self, indices):
        self.calls += 1
        return self.domain.images(indices)


def test_predictions_are_the_softmax_of_the_network_in_evaluation_mode(network, split):
    weights = other_weights(5)
    network.set_dropout(0.5)
    predictions = Evaluator(network, split, CPU).predict(weights)
    reference = Network(build("mlgit:digits-cnn", num_classes=3, seed=9)).load(weights).eval()
    assert [part.domain for part in predictions] == ["a", "b"]
    for part, domain in zip(predictions, split.domains, strict=True):
        logits = reference(domain.images(torch.arange(len(domain)))).detach().double().numpy()
        expected = np.exp(logits - logits.max(axis=1, keepdims=True))
        np.testing.assert_allclose(part.probabilities, expected / expected.sum(axis=1, keepdims=True), atol=1e-6)
        assert part.probabilities.dtype == torch.float32
        assert not part.probabilities.requires_grad


def test_the_score_equals_scikit_learns_accuracy(network, split):
    evaluator = Evaluator(network, split, CPU)
    weights = other_weights(3)
    guesses = [part.probabilities.argmax(1) for part in evaluator.predict(weights)]
    truth = [domain.labels for domain in split.domains]
    result = evaluator(weights)
    assert result.accuracy == pytest.approx(accuracy_score(torch.cat(truth), torch.cat(guesses)))
    for domain, rows in zip(split.domains, guesses, strict=True):
        assert result.per_domain[domain.name] == pytest.approx(accuracy_score(domain.labels, rows))


def test_weights_are_swapped_and_equal_weights_give_equal_bits(network, split):
    evaluator = Evaluator(network, split, CPU)
    first, second = other_weights(1), other_weights(2)
    before = {name: tensor.clone() for name, tensor in first.items()}
    a = evaluator.predict(first)
    b = evaluator.predict(second)
    again = evaluator.predict(first)
    assert not torch.equal(a[0].probabilities, b[0].probabilities)
    for part, same in zip(a, again, strict=True):
        assert torch.equal(part.probabilities, same.probabilities)
    assert all(torch.equal(first[name], before[name]) for name in before)


def test_buffers_are_swapped_too(network, split):
    evaluator = Evaluator(network, split, CPU)
    weights = other_weights(1)
    moved = {name: tensor + 0.5 if name.endswith("running_mean") else tensor for name, tensor in weights.items()}
    assert not torch.equal(evaluator.predict(weights)[0].probabilities, evaluator.predict(moved)[0].probabilities)


@pytest.mark.parametrize(("batch_size", "max_loaded_bytes"), [(1, 0), (7, 0), (7, 10_000), (512, 0), (512, 1 << 30)])
def test_batches_and_memory_do_not_change_the_predictions(network, split, batch_size, max_loaded_bytes):
    reference = Evaluator(network, split, CPU).predict(other_weights(1))
    evaluator = Evaluator(network, split, CPU, batch_size=batch_size, max_loaded_bytes=max_loaded_bytes)
    for part, expected in zip(evaluator.predict(other_weights(1)), reference, strict=True):
        torch.testing.assert_close(part.probabilities, expected.probabilities, atol=1e-6, rtol=0)
        assert torch.equal(part.labels, expected.labels)


def test_images_are_decoded_once_when_they_fit_and_each_time_when_not(network, make_domain):
    kept, streamed = CountingDomain(make_domain("a", 10)), CountingDomain(make_domain("b", 10))
    split = ValidationSplit((kept, streamed))
    evaluator = Evaluator(network, split, CPU, max_loaded_bytes=10 * 64 * 4)
    assert (kept.calls, streamed.calls) == (0, 0)  # nothing before it is needed
    evaluator(other_weights(1))
    start = kept.calls, streamed.calls
    evaluator(other_weights(2))
    evaluator(other_weights(3))
    assert kept.calls == start[0]
    assert streamed.calls == start[1] + 2


def test_large_images_are_passed_in_smaller_batches(make_domain):
    from mlgit.evaluation.loaded import load_domains

    class LargeImages(CountingDomain):
        def images(self, indices):
            return torch.zeros(1).expand(len(indices), 1, 4096, 4096)

    (loaded,) = load_domains([LargeImages(make_domain("a", 5))], CPU, max_bytes=0)
    assert [len(batch) for batch in loaded.batches()] == [2, 2, 1]


def test_a_key_is_computed_once_and_the_oldest_is_forgotten(network, make_domain):
    domain = CountingDomain(make_domain("a", 4))
    evaluator = Evaluator(network, ValidationSplit((domain,)), CPU, max_loaded_bytes=0)
    weights = other_weights(1)
    first = evaluator.predict(weights, key="x")
    start = domain.calls
    assert evaluator.predict(weights, key="x") is first
    assert domain.calls == start
    for number in range(63):
        evaluator.predict(weights, key=str(number))
    assert evaluator.predict(weights, key="x") is first  # still among the last 64, and now the newest
    evaluator.predict(weights, key="one more")
    assert evaluator.predict(weights, key="x") is first
    calls = domain.calls
    evaluator.predict(weights, key="0")
    assert domain.calls == calls + 1


def test_nothing_is_remembered_without_a_key(network, split):
    evaluator = Evaluator(network, split, CPU)
    weights = other_weights(1)
    assert evaluator.predict(weights) is not evaluator.predict(weights)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda weights: weights.pop("classifier.bias"), "classifier.bias"),
        (lambda weights: weights.update(extra=torch.zeros(1)), "extra"),
        (lambda weights: weights.update({"classifier.weight": torch.zeros(4, 128)}), "classifier.weight"),
    ],
    ids=["missing", "extra", "shape"],
)
def test_weights_of_another_architecture_are_refused_and_change_nothing(network, split, change, named):
    evaluator = Evaluator(network, split, CPU)
    good = other_weights(1)
    before = evaluator.predict(good)
    bad = other_weights(2)
    change(bad)
    with pytest.raises(IncompatibleWeightsError, match=named):
        evaluator(bad)
    assert torch.equal(evaluator.predict(good)[0].probabilities, before[0].probabilities)


def test_a_head_with_too_few_classes_is_refused(make_domain):
    network = Network(build("mlgit:digits-cnn", num_classes=2, seed=0))
    evaluator = Evaluator(network, ValidationSplit((make_domain("a", 9),)), CPU)
    with pytest.raises(InvalidInputError) as error:
        evaluator(network.weights())
    assert error.value.kind == "class-count"


def test_weights_full_of_nan_are_always_wrong(network, split):
    broken = {
        name: torch.full_like(tensor, float("nan")) if tensor.is_floating_point() else tensor
        for name, tensor in other_weights(1).items()
    }
    assert Evaluator(network, split, CPU)(broken).accuracy == 0.0


def test_the_global_random_state_is_left_alone(network, split):
    before = torch.get_rng_state()
    Evaluator(network, split, CPU)(other_weights(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_cudnn_is_put_back_after_an_evaluation(network, split):
    flags = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32
    Evaluator(network, split, CPU)(other_weights(1))
    after = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32
    assert after == flags


@pytest.mark.parametrize("kind", [TestSplit, TrainingSplit])
def test_selection_is_refused_anything_but_the_validation_split(network, make_domain, kind):
    with pytest.raises(InvalidInputError, match=kind.__name__) as error:
        selection_evaluator(network, kind((make_domain("a", 9),)), CPU)
    assert error.value.kind == "wrong-split"


def test_an_evaluator_takes_test_data_and_refuses_training_data(network, make_domain):
    domains = (make_domain("a", 9),)
    assert 0 <= Evaluator(network, TestSplit(domains), CPU)(other_weights(1)).accuracy <= 1
    with pytest.raises(InvalidInputError) as error:
        Evaluator(network, TrainingSplit(domains), CPU)
    assert error.value.kind == "wrong-split"


def test_selection_scores_the_validation_split(network, split):
    weights = other_weights(4)
    assert (
        selection_evaluator(network, split, CPU)(weights).per_domain
        == Evaluator(network, split, CPU)(weights).per_domain
    )


@pytest.mark.parametrize("domains", [0, 1])
def test_a_split_without_examples_is_refused(network, make_domain, domains):
    with pytest.raises(InvalidInputError) as error:
        Evaluator(network, ValidationSplit((make_domain("a", 0),) * domains), CPU)
    assert error.value.kind == "empty-split"


def test_a_batch_size_below_one_is_refused(network, split):
    with pytest.raises(InvalidInputError) as error:
        Evaluator(network, split, CPU, batch_size=0)
    assert error.value.kind == "bad-batch-size"
