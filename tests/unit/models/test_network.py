from __future__ import annotations

from collections import Counter, UserDict
from collections.abc import Callable
from typing import ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mlgit.errors import IncompatibleWeightsError, InvalidInputError, JobFailedError
from mlgit.models.factories import build
from mlgit.models.network import Network


def digits(seed: int = 0) -> Network:
    return Network(build("mlgit:digits-cnn", seed=seed))


def batch(size: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(size, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def statistics(network: Network) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in network.weights().items() if "running" in name or "tracked" in name}


def test_features_through_the_head_are_the_logits() -> None:
    network = digits().eval()
    features = network.features(batch())
    assert features.shape == (4, network.num_features)
    assert torch.equal(network.head_module(features), network(batch()))


def test_names_of_featurizer_and_head_divide_the_state_dict() -> None:
    network = digits()
    assert network.head == "classifier"
    assert network.head_names == ("classifier.weight", "classifier.bias")
    assert set(network.featurizer_names) | set(network.head_names) == set(network.weights())
    assert not set(network.featurizer_names) & set(network.head_names)


def test_a_head_whose_name_begins_another_name_owns_only_itself() -> None:
    module = nn.ModuleDict({"fc": nn.Linear(2, 2), "fc2": nn.Linear(2, 2)})
    assert Network(module, "fc").head_names == ("fc.weight", "fc.bias")


def test_weights_are_copies_and_load_is_their_inverse() -> None:
    network, other = digits(0), digits(1)
    weights = network.weights()
    kept = {name: tensor.clone() for name, tensor in weights.items()}
    other.load(weights)
    for name, tensor in other.weights().items():
        assert torch.equal(tensor, kept[name])
    with torch.no_grad():
        for parameter in (*network.module.parameters(), *other.module.parameters()):
            parameter.add_(1)
    assert all(torch.equal(weights[name], kept[name]) for name in kept)


def test_loading_keeps_the_parameters_an_optimizer_knows() -> None:
    network = digits()
    before = [id(parameter) for parameter in network.module.parameters()]
    network.load(digits(1).weights())
    assert [id(parameter) for parameter in network.module.parameters()] == before
    assert all(parameter.requires_grad for parameter in network.module.parameters())


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda w: w.pop("classifier.bias"), "'classifier.bias' is missing"),
        (lambda w: w.update(extra=torch.zeros(1)), "'extra' is not known"),
        (lambda w: w.update({"classifier.bias": torch.zeros(9)}), r"'classifier.bias' is \[9\], not \[10\]"),
        (
            lambda w: w.update({"classifier.bias": torch.zeros(10, dtype=torch.int64)}),
            "'classifier.bias' is torch.int64",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_change_nothing(
    spoil: Callable[[dict[str, torch.Tensor]], object], said: str
) -> None:
    network = digits()
    before = network.weights()
    weights = digits(1).weights()
    spoil(weights)
    with pytest.raises(IncompatibleWeightsError, match=said):
        network.load(weights)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.weights().items())


def test_at_most_ten_differences_are_named() -> None:
    with pytest.raises(IncompatibleWeightsError) as caught:
        digits().load({})
    assert caught.value.message.count("is missing") == 10
    assert caught.value.message.endswith("and 16 more")


def test_other_floating_point_types_are_cast_when_loaded() -> None:
    network = digits()
    halves = {
        name: tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor
        for name, tensor in digits(1).weights().items()
    }
    network.load(halves)
    assert network.weights()["classifier.weight"].dtype == torch.float32
    assert torch.equal(network.weights()["classifier.weight"], halves["classifier.weight"].float())


def test_frozen_statistics_stay_while_scale_and_shift_are_trained() -> None:
    network = digits().freeze_statistics()
    before, all_before = statistics(network), network.weights()
    optimizer = torch.optim.SGD(network.module.parameters(), 0.1)
    for step in range(3):
        network.eval().train()
        optimizer.zero_grad()
        network(batch(seed=step)).square().sum().backward()
        optimizer.step()
    assert len(before) == 12
    assert all(torch.equal(tensor, before[name]) for name, tensor in statistics(network).items())
    after = network.weights()
    assert not torch.equal(after["featurizer.0.1.weight"], all_before["featurizer.0.1.weight"])
    assert not torch.equal(after["featurizer.0.1.bias"], all_before["featurizer.0.1.bias"])


def test_statistics_that_are_not_frozen_move_in_training_mode() -> None:
    network = digits().train()
    before = statistics(network)
    network(batch())
    assert not any(torch.equal(tensor, before[name]) for name, tensor in statistics(network).items())


def test_frozen_statistics_are_used_in_training_mode() -> None:
    network = digits().freeze_statistics().train()
    trained = network(batch(8))
    torch.testing.assert_close(network(batch(8)[:1]), trained[:1])
    assert torch.equal(network.eval()(batch(8)), trained)


def test_dropout_falls_on_the_features_in_training_mode_only() -> None:
    network = digits().freeze_statistics()
    plain = network.eval().features(batch())
    network.set_dropout(0.5)
    assert torch.equal(network.eval()(batch()), network.head_module.eval()(plain))
    network.train()
    torch.manual_seed(0)
    dropped = network(batch())
    torch.manual_seed(0)
    expected = nn.functional.linear(
        nn.functional.dropout(plain, 0.5), network.head_module.weight, network.head_module.bias
    )
    torch.testing.assert_close(dropped, expected)
    assert torch.equal(network.features(batch()), plain)
    network.set_dropout(0)
    torch.testing.assert_close(network(batch()), network.eval()(batch()))


@pytest.mark.parametrize("probability", [-0.1, 1.0, 2.0, float("nan")])
def test_an_impossible_dropout_is_refused(probability: float) -> None:
    with pytest.raises(InvalidInputError) as caught:
        digits().set_dropout(probability)
    assert caught.value.kind == "bad-hyper-parameter"


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 20), st.integers(0, 2**63 - 1))
def test_a_new_head_has_the_classes_asked_for_and_is_a_function_of_its_seed(classes: int, seed: int) -> None:
    network = digits()
    body = {name: network.weights()[name] for name in network.featurizer_names}
    before = torch.get_rng_state()
    network.replace_head(classes, seed=seed)
    assert torch.equal(torch.get_rng_state(), before)
    assert network.num_classes == classes
    assert network.eval()(batch()).shape == (4, classes)
    again = digits().replace_head(classes, seed=seed).weights()
    assert all(torch.equal(tensor, again[name]) for name, tensor in network.weights().items())
    assert all(torch.equal(network.weights()[name], tensor) for name, tensor in body.items())


def test_a_new_head_differs_by_seed_and_still_has_features_and_dropout() -> None:
    one, two = digits().replace_head(3, seed=1), digits().replace_head(3, seed=2)
    assert not torch.equal(one.weights()["classifier.weight"], two.weights()["classifier.weight"])
    one.eval()
    assert torch.equal(one.head_module(one.features(batch())), one(batch()))
    one.set_dropout(0.9).freeze_statistics().train()
    assert not torch.equal(one(batch()), one.eval()(batch()))


def test_no_classes_are_refused() -> None:
    with pytest.raises(InvalidInputError):
        digits().replace_head(0, seed=0)


@pytest.mark.parametrize("head", [None, "classifier"])
@pytest.mark.parametrize("classes", [2, 10])
def test_a_network_is_rebuilt_from_its_weights(head: str | None, classes: int) -> None:
    original = digits(3).replace_head(classes, seed=4).eval()
    rebuilt = Network.from_weights("mlgit:digits-cnn", head, original.weights()).eval()
    assert rebuilt.num_classes == classes
    assert torch.equal(rebuilt(batch()), original(batch()))


def test_weights_of_another_model_are_refused() -> None:
    for weights in ({}, {"classifier.weight": torch.zeros(3)}, {"classifier.weight": torch.zeros(0, 128)}):
        with pytest.raises(IncompatibleWeightsError):
            Network.from_weights("mlgit:digits-cnn", "classifier", weights)


def test_an_unknown_head_is_refused_with_a_hint() -> None:
    with pytest.raises(InvalidInputError) as caught:
        Network(build("mlgit:digits-cnn"), "clasifier")
    assert caught.value.hint == "did you mean 'classifier'?"


@pytest.mark.parametrize("module", [nn.Sequential(nn.Conv2d(1, 2, 3)), nn.Linear(2, 2)])
def test_a_model_that_holds_no_linear_layer_is_refused(module: nn.Module) -> None:
    with pytest.raises(InvalidInputError, match="no linear layer"):
        Network(module)


def test_a_lazy_mapping_is_read_once() -> None:
    class Lazy(UserDict[str, torch.Tensor]):
        reads: ClassVar[Counter[str]] = Counter()

        def __getitem__(self, name: str) -> torch.Tensor:
            self.reads[name] += 1
            return super().__getitem__(name)

    digits().load(Lazy(digits(1).weights()))
    assert set(Lazy.reads.values()) == {1}


def test_a_layer_that_is_not_the_classifier_is_found_out() -> None:
    inner = Network(nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 3)), "1")
    with pytest.raises(InvalidInputError, match=r"returns \[4, 3\] where \[4, 5\]"):
        inner(batch())
    per_row = Network(
        nn.Sequential(nn.Linear(8, 3), nn.Flatten(), nn.Unflatten(1, (3, 8)), nn.AvgPool1d(8), nn.Flatten())
    )
    with pytest.raises(InvalidInputError, match="does not get one vector of 8 features"):
        per_row.features(batch())


def test_a_model_that_returns_no_tensor_is_refused() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(64, 2)

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, int]:
            return self.fc(images.flatten(1)), 1

    with pytest.raises(InvalidInputError, match="returns tuple"):
        Network(Pair())(batch())


def test_images_that_do_not_fit_the_model_are_one_error_without_a_trace() -> None:
    with pytest.raises(JobFailedError) as caught:
        digits()(torch.zeros(2, 3, 8, 8))
    assert caught.value.message.startswith("the model failed: RuntimeError: ")
    assert "\n" not in caught.value.message


def test_an_interrupt_passes_through_a_model() -> None:
    class Interrupted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(64, 2)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Network(Interrupted())(batch())


def test_running_out_of_memory_has_its_own_kind() -> None:
    class Hungry(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(64, 2)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(JobFailedError) as caught:
        Network(Hungry())(batch())
    assert caught.value.kind == "out-of-memory"


def test_features_can_be_trained_through() -> None:
    network = digits()
    network.features(batch()).sum().backward()
    assert network.module.get_parameter("featurizer.0.0.weight").grad is not None
