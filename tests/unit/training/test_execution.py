"""Ways to compute that change the time and not the result, or the result by little."""

from __future__ import annotations

import pytest
import torch
from bare_training import bare_trajectory
from torch.optim.optimizer import register_optimizer_step_pre_hook

from mlgit.errors import InvalidInputError
from mlgit.training.execution import Execution
from mlgit.training.hyper import HyperParameters
from mlgit.training.run import train

HYPER = HyperParameters(lr=3e-3, weight_decay=1e-4, batch_per_domain=8, steps=9, eval_every=4)


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def distance(a, b) -> float:
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a)


@pytest.mark.parametrize("freeze", [0, 4])
def test_a_frozen_featurizer_without_gradients_gives_the_bits_of_one_whose_gradients_are_thrown_away(
    network, splits, cpu, freeze
):
    hyper = HYPER.with_overrides({"freeze_steps": freeze})
    result = train(network, *splits, hyper, seed=3, device=cpu, freeze_featurizer_first=freeze > 0)
    wanted = bare_trajectory(network, splits[0], hyper, seed=3, freeze_steps=freeze)
    assert same(result.last_weights, wanted[-1])
    assert not same(wanted[-1], wanted[-2])


def test_no_gradient_of_a_frozen_featurizer_is_computed(network, splits, cpu):
    seen = []
    handle = network.module.featurizer.register_forward_hook(lambda *given: seen.append(given[-1].requires_grad))
    hyper = HYPER.with_overrides({"freeze_steps": 4, "eval_every": 100})
    train(network, *splits, hyper, seed=3, device=cpu, freeze_featurizer_first=True)
    handle.remove()
    assert seen.count(True) == 5
    assert seen[0] is False


@pytest.mark.parametrize("parts", [2, 3, 16, 40])
def test_a_batch_in_parts_gives_the_gradient_and_loss_of_the_whole_batch(network, splits, cpu, parts):
    gradients: list[dict[int, torch.Tensor]] = []

    def look(optimizer, *_):
        gradients.append({number: each.grad.clone() for number, each in enumerate(optimizer.param_groups[0]["params"])})

    handle = register_optimizer_step_pre_hook(look)
    hyper = HYPER.with_overrides({"steps": 1})
    whole = train(network, *splits, hyper, seed=3, device=cpu)
    result = train(network, *splits, hyper, seed=3, device=cpu, execution=Execution(accumulate=parts))
    handle.remove()
    assert len(gradients) == 2
    assert max(float(each.abs().max()) for each in gradients[0].values()) > 1e-2
    assert distance(*gradients) < 1e-6
    assert result.history[0].loss == pytest.approx(whole.history[0].loss, rel=1e-6)


def test_half_precision_on_a_cpu_learns_nearly_the_same_and_leaves_whole_weights(network, splits, cpu):
    seen = []
    handle = network.head_module.register_forward_hook(lambda *given: seen.append(given[-1].dtype))
    whole = train(network, *splits, HYPER, seed=3, device=cpu)
    assert set(seen) == {torch.float32}
    result = train(network, *splits, HYPER, seed=3, device=cpu, execution=Execution(precision="bfloat16"))
    handle.remove()
    assert torch.bfloat16 in seen
    assert all(each.dtype == whole.weights[name].dtype for name, each in result.weights.items())
    assert 0 < distance(result.last_weights, whole.last_weights) < 0.1
    assert result.record["execution"]["precision"] == "bfloat16"


def test_channels_last_gives_nearly_the_same_and_the_network_back_as_it_was(network, splits, cpu):
    before = {name: each.stride() for name, each in network.module.state_dict().items()}
    seen = []
    first = next(part for part in network.module.modules() if isinstance(part, torch.nn.Conv2d) and part.groups == 1)
    handle = first.register_forward_hook(
        lambda *given: seen.append(given[1][0].is_contiguous(memory_format=torch.channels_last))
    )
    result = train(network, *splits, HYPER, seed=3, device=cpu, execution=Execution(channels_last=True))
    handle.remove()
    assert seen[0]
    assert distance(result.last_weights, train(network, *splits, HYPER, seed=3, device=cpu).last_weights) < 1e-3
    assert all(each.is_contiguous() for each in result.weights.values())
    assert {name: each.stride() for name, each in network.module.state_dict().items()} == before


def test_a_compiled_run_gives_nearly_the_same(network, splits, cpu):
    execution = Execution(compile="aot_eager")
    result = train(network, *splits, HYPER, seed=3, device=cpu, execution=execution)
    assert distance(result.last_weights, train(network, *splits, HYPER, seed=3, device=cpu).last_weights) < 1e-4


@pytest.mark.parametrize("values", [{"precision": "float8"}, {"accumulate": 0}])
def test_what_cannot_be_computed_is_refused(values):
    with pytest.raises(InvalidInputError):
        Execution(**values)


def test_an_unknown_compiler_is_refused(network, splits, cpu):
    with pytest.raises(InvalidInputError, match="no backend 'inducter'") as error:
        train(network, *splits, HYPER, seed=3, device=cpu, execution=Execution(compile="inducter"))
    assert error.value.kind == "unknown-backend"
