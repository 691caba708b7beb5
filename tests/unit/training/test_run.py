"""A run against a bare loop, and what it promises: same bits, frozen parts, nothing left behind."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from mlgit.errors import InvalidInputError, JobFailedError
from mlgit.evaluation.evaluator import Evaluator
from mlgit.models.factories import build
from mlgit.models.network import Network
from mlgit.models.seeding import seeded
from mlgit.objects import canonical_json
from mlgit.tasks.definition import TaskDefinition
from mlgit.tasks.split import TestSplit, TrainingSplit, ValidationSplit, seed_hash
from mlgit.tasks.task import Task, TaskData
from mlgit.training.hyper import HyperParameters
from mlgit.training.probe import linear_probe
from mlgit.training.run import train
from mlgit.training.statistics import recompute_statistics

HYPER = HyperParameters(lr=3e-3, dropout=0.1, weight_decay=1e-4, batch_per_domain=8, steps=9, eval_every=4)
CPU = torch.device("cpu")
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def differing(a, b) -> set[str]:
    return {name for name in a if not torch.equal(a[name], b[name])}


def bare_loop(network, training, hyper, seed, freeze_steps=0):
    """The protocol in a few lines; returns the weights after each step."""
    network = Network(build("mlgit:digits-cnn", num_classes=3, seed=1)).load(network.weights())
    module, head = network.module, network.head_module
    generator = torch.Generator().manual_seed(seed_hash(seed, "sampling"))
    torch.manual_seed(seed_hash(seed, "layers"))
    options = {"lr": hyper.lr, "weight_decay": hyper.weight_decay, "fused": True}
    trajectory = []
    for step in range(hyper.steps):
        if step in {0, freeze_steps}:
            parameters = head.parameters() if step < freeze_steps else module.parameters()
            optimizer = torch.optim.Adam(parameters, **options)
        module.eval()
        images, labels = [], []
        for domain in training.domains:
            rows = torch.randint(len(domain), (hyper.batch_per_domain,), generator=generator)
            images.append(domain.images(rows))
            labels.append(domain.labels[rows])
        features = module.featurizer(torch.cat(images))
        logits = head.weight @ nn.functional.dropout(features, hyper.dropout).T
        loss = nn.functional.cross_entropy(logits.T + head.bias, torch.cat(labels))
        module.zero_grad()
        loss.backward()
        optimizer.step()
        trajectory.append(network.weights())
    return trajectory


def close(a, b) -> bool:
    return all(torch.allclose(a[name], b[name], atol=1e-6) for name in a if a[name].is_floating_point())


def test_a_run_does_what_a_bare_loop_does(network, training, validation, cpu):
    result = train(network, training, validation, HYPER, seed=3, device=cpu)
    trajectory = bare_loop(network, training, HYPER, seed=3)
    assert close(result.last_weights, trajectory[-1])
    assert close(result.weights, trajectory[result.best.step])
    assert not close(trajectory[-1], trajectory[-2])


def test_a_run_with_a_frozen_start_does_what_a_bare_loop_does(network, training, validation, cpu):
    hyper = HYPER.with_overrides({"freeze_steps": 4})
    result = train(network, training, validation, hyper, seed=3, device=cpu, freeze_featurizer_first=True)
    trajectory = bare_loop(network, training, hyper, seed=3, freeze_steps=4)
    assert close(result.last_weights, trajectory[-1])
    assert not close(trajectory[-1], bare_loop(network, training, hyper, seed=3)[-1])


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(network, training, validation, cpu):
    torch.manual_seed(1)
    first = train(network, training, validation, HYPER, seed=5, device=cpu)
    torch.manual_seed(2)
    again = train(network, training, validation, HYPER, seed=5, device=cpu)
    other = train(network, training, validation, HYPER, seed=6, device=cpu)
    assert same(first.weights, again.weights)
    assert same(first.last_weights, again.last_weights)
    assert first.history == again.history
    assert not same(first.last_weights, other.last_weights)


def test_augmented_runs_repeat_too_and_validation_is_not_augmented(network, training, validation, cpu, noisy):
    seen, held_out = [noisy(each) for each in training.domains], [noisy(each) for each in validation.domains]
    splits = TrainingSplit(tuple(seen)), ValidationSplit(tuple(held_out))
    first, again = (train(network, *splits, HYPER, seed=5, device=cpu) for _ in range(2))
    assert same(first.last_weights, again.last_weights)
    assert not same(first.last_weights, train(network, training, validation, HYPER, seed=5, device=cpu).last_weights)
    assert all(domain.augmented_read == 2 * 9 * 8 and domain.images_read == 0 for domain in seen)
    assert all(domain.augmented_read == 0 and domain.images_read > 0 for domain in held_out)


def test_augmentation_that_uses_the_global_random_state_does_not_disturb_dropout(
    network, training, validation, cpu, wrapped
):
    class Reseeding(wrapped):
        def augmented(self, indices, generator, device=CPU):
            number = int(torch.randint(1000, (), generator=generator))
            with seeded(number):
                return super().augmented(indices, generator, device) + 0.1 * torch.rand(len(indices), 1, 8, 8)

    split = TrainingSplit(tuple(Reseeding(domain) for domain in training.domains))
    hyper = HYPER.with_overrides({"dropout": 0.5})
    first, again = (train(network, split, validation, hyper, seed=5, device=cpu) for _ in range(2))
    assert same(first.last_weights, again.last_weights)


def test_training_learns(network, training, validation, cpu):
    hyper = HYPER.with_overrides({"steps": 60, "eval_every": 20})
    result = train(network, training, validation, hyper, seed=0, device=cpu)
    assert result.best.macro > 0.9
    assert result.history[-1].loss < result.history[0].loss


def test_the_metrics_are_what_an_evaluator_measures_on_the_weights(network, training, validation, cpu):
    result = train(network, training, validation, HYPER, seed=0, device=cpu)
    measured = Evaluator(network, validation, cpu)(result.weights)
    assert result.metrics == {
        "id_accuracy": measured.macro,
        "id_accuracy_micro": measured.accuracy,
        "id_accuracy/a": measured.per_domain["a"],
        "id_accuracy/b": measured.per_domain["b"],
    }
    assert next(iter(result.metrics)) == "id_accuracy"


@pytest.mark.parametrize(
    ("steps", "eval_every", "measured"),
    [(9, 4, [0, 4, 8]), (10, 4, [0, 4, 8, 9]), (1, 100, [0]), (2, 100, [0, 1]), (3, 1, [0, 1, 2])],
)
def test_it_is_evaluated_at_the_first_step_every_few_and_at_the_last(network, splits, steps, eval_every, measured):
    hyper = HYPER.with_overrides({"steps": steps, "eval_every": eval_every})
    result = train(network, *splits, hyper, seed=0, device=CPU)
    assert [measurement.step for measurement in result.history] == measured


def test_evaluating_more_often_does_not_change_the_training(network, training, validation, cpu):
    often, seldom = (
        train(network, training, validation, HYPER.with_overrides({"eval_every": n}), seed=1, device=cpu)
        for n in (1, 100)
    )
    assert same(often.last_weights, seldom.last_weights)


def test_frozen_statistics_stay_and_scale_and_shift_are_trained(network, training, validation, cpu):
    before = network.weights()
    after = train(network, training, validation, HYPER, seed=0, device=cpu).last_weights
    changed = differing(before, after)
    assert not any(name.endswith(STATISTICS) for name in changed)
    norms = [name.removesuffix(".running_mean") for name in before if name.endswith("running_mean")]
    assert len(norms) == 4
    assert all({f"{name}.weight", f"{name}.bias"} <= changed for name in norms)


def test_training_from_scratch_trains_the_statistics(network, training, validation, cpu):
    result = train(network, training, validation, HYPER, seed=0, device=cpu, freeze_statistics=False)
    changed = differing(network.weights(), result.last_weights)
    assert sum(name.endswith(STATISTICS) for name in changed) == 4 * 3
    added = {
        int(result.last_weights[name] - tensor)
        for name, tensor in network.weights().items()
        if name.endswith("num_batches_tracked")
    }
    assert added == {HYPER.steps}
    assert result.record["freeze_statistics"] is False


def test_the_statistics_wait_for_the_featurizer_when_both_options_meet(network, training, validation, cpu):
    hyper = HYPER.with_overrides({"freeze_steps": 4})
    result = train(
        network, training, validation, hyper, seed=0, device=cpu, freeze_featurizer_first=True, freeze_statistics=False
    )
    name = "featurizer.0.1.num_batches_tracked"
    assert int(result.last_weights[name] - network.weights()[name]) == HYPER.steps - 4


def test_exactly_the_first_updates_train_the_head_only(network, training, validation, cpu):
    hyper = HYPER.with_overrides({"freeze_steps": 4, "steps": 5, "eval_every": 1})
    kept = []

    class Watch:
        def task(self, title, total=None):
            return self

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            return None

        def advance(self, amount=1, note=""):
            gradients = all(network.module.get_parameter(name).grad is not None for name in parameters)
            kept.append((network.weights(), gradients))

    start = network.weights()
    parameters = [name for name, _ in network.module.named_parameters() if name in network.featurizer_names]
    result = train(
        network, training, validation, hyper, seed=0, device=cpu, freeze_featurizer_first=True, progress=Watch()
    )
    assert result.head_only_steps == result.record["head_only_steps"] == 4
    for step, (weights, gradients) in enumerate(kept):
        trained = differing(start, weights)
        assert set(network.head_names) <= trained
        assert gradients is (step == 4)
        if step < 4:
            assert trained == set(network.head_names)
        else:
            assert set(parameters) <= trained


def test_a_head_only_run_leaves_every_bit_of_the_featurizer(network, training, validation, cpu):
    result = train(network, training, validation, HYPER, seed=0, device=cpu, head_only=True, freeze_statistics=False)
    assert differing(network.weights(), result.last_weights) == set(network.head_names)
    assert result.head_only_steps == HYPER.steps
    assert result.record["freeze_statistics"] is True


def test_without_the_option_nothing_is_frozen(network, training, validation, cpu):
    result = train(network, training, validation, HYPER, seed=0, device=cpu)
    assert result.head_only_steps == 0
    names = {name for name, _ in network.module.named_parameters()}
    assert differing(network.weights(), result.last_weights) == names


def state_of(network):
    module = network.module
    return (
        network.weights(),
        [part.training for part in module.modules()],
        [(each.requires_grad, each.grad) for each in module.parameters()],
        network.dropout,
        id(network.head_module),
    )


def assert_unchanged(network, before):
    after = state_of(network)
    assert same(before[0], after[0])
    assert after[1:] == before[1:]


class Interrupt:
    """A progress bar that is interrupted at the fourth step."""

    def __init__(self):
        self.steps = 0

    def task(self, title, total=None):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return None

    def advance(self, amount=1, note=""):
        self.steps += amount
        if self.steps == 4:
            raise KeyboardInterrupt


def test_a_run_leaves_the_network_and_the_random_state_as_they_were(network, training, validation, cpu):
    network.set_dropout(0.3).train()
    network.module.get_parameter("classifier.bias").requires_grad_(False)
    before, random = state_of(network), torch.get_rng_state()
    train(network, training, validation, HYPER, seed=0, device=cpu)
    linear_probe(network, training, validation, HYPER, num_classes=7, seed=0, device=cpu)
    assert_unchanged(network, before)
    assert torch.equal(random, torch.get_rng_state())


@pytest.mark.parametrize("augment", [False, True])
def test_an_interrupt_passes_through_and_leaves_everything_as_it_was(network, splits, noisy, augment):
    training, validation = splits
    if augment:
        training = TrainingSplit(tuple(noisy(domain) for domain in training.domains))
    before, random = state_of(network), torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt):
        train(network, training, validation, HYPER, seed=0, device=CPU, progress=Interrupt())
    with pytest.raises(KeyboardInterrupt):
        linear_probe(network, training, validation, HYPER, num_classes=5, seed=0, device=CPU, progress=Interrupt())
    assert_unchanged(network, before)
    assert torch.equal(random, torch.get_rng_state())


def test_parameters_that_were_frozen_by_the_caller_stay_frozen(network, training, validation, cpu):
    network.module.get_parameter("classifier.bias").requires_grad_(False)
    hyper = HYPER.with_overrides({"freeze_steps": 4})
    result = train(network, training, validation, hyper, seed=0, device=cpu, freeze_featurizer_first=True)
    changed = differing(network.weights(), result.last_weights)
    assert "classifier.bias" not in changed
    assert "classifier.weight" in changed
    for parameter in network.module.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(InvalidInputError) as error:
        train(network, training, validation, HYPER, seed=0, device=cpu)
    assert error.value.kind == "nothing-to-train"


def test_results_do_not_change_when_the_network_is_used_again(network, training, validation, cpu):
    result = train(network, training, validation, HYPER, seed=0, device=cpu)
    copy = {name: tensor.clone() for name, tensor in result.weights.items()}
    train(network, training, validation, HYPER, seed=1, device=cpu)
    assert same(result.weights, copy)


class Untouchable:
    """A test domain: reading any of its images is an error."""

    name = "test"
    digest = "0" * 64
    labels = torch.arange(30) % 3

    def __len__(self):
        return 30

    def images(self, indices):
        raise AssertionError("the test domain was read")

    augmented = subset = images


def test_the_test_domain_is_never_read(network, training, cpu):
    data = TaskData(domains=(*training.domains, Untouchable()), classes=("zero", "one", "two"), input_shape=(1, 8, 8))
    definition = TaskDefinition(name="t", kind="digits", test_domain="test", options={})
    task = Task(definition, data)
    splits = task.training(), task.validation()
    result = train(network, *splits, HYPER, seed=0, device=cpu)
    linear_probe(network, *splits, HYPER, num_classes=3, seed=0, device=cpu)
    recompute_statistics(network, result.weights, splits[0], device=cpu)
    assert result.record["data"]["domains"] == ["a", "b"]
    with pytest.raises(AssertionError, match="the test domain was read"):  # the trap works
        Evaluator(network, task.test(), cpu)(result.weights)


def test_a_rate_that_diverges_is_a_failed_job_that_names_the_step(network, training, validation, cpu):
    before = network.weights()
    with pytest.raises(JobFailedError, match=r"diverged at step \d") as error:
        train(network, training, validation, HYPER.with_overrides({"lr": 1e30}), seed=0, device=cpu)
    assert error.value.kind == "diverged"
    assert "1e+30" in error.value.hint
    assert same(before, network.weights())


def test_weights_that_are_not_finite_fail_at_step_zero(network, training, validation, cpu):
    weights = network.weights()
    weights["classifier.bias"][0] = float("nan")
    with pytest.raises(JobFailedError, match="step 0"):
        train(network.load(weights), training, validation, HYPER, seed=0, device=cpu)


@pytest.mark.parametrize("which", ["training", "validation"])
def test_an_empty_domain_is_refused_by_name(network, training, validation, cpu, which):
    none = torch.zeros(0, dtype=torch.int64)
    splits = {"training": training, "validation": validation}
    first, second = splits[which].domains
    splits[which] = type(splits[which])((first, second.subset(none)))
    with pytest.raises(InvalidInputError, match="'b'") as error:
        train(network, splits["training"], splits["validation"], HYPER, seed=0, device=cpu)
    assert error.value.kind == "empty-split"


def test_splits_with_another_purpose_are_refused(network, training, validation, cpu):
    for wrong in (
        (training, TestSplit(validation.domains)),
        (TestSplit(training.domains), validation),
        (validation, training),
    ):
        with pytest.raises(InvalidInputError) as error:
            train(network, *wrong, HYPER, seed=0, device=cpu)
        assert error.value.kind == "wrong-split"


def test_splits_of_different_domains_are_refused(network, training, validation, cpu):
    for domains in (validation.domains[:1], validation.domains[::-1], ()):
        with pytest.raises(InvalidInputError) as error:
            train(network, training, ValidationSplit(domains), HYPER, seed=0, device=cpu)
        assert error.value.kind == "different-domains"
    with pytest.raises(InvalidInputError):
        train(network, TrainingSplit(()), ValidationSplit(()), HYPER, seed=0, device=cpu)


def test_labels_beyond_the_head_are_refused(training, validation, cpu):
    small = Network(build("mlgit:digits-cnn", num_classes=2, seed=0))
    with pytest.raises(InvalidInputError, match="2 classes") as error:
        train(small, training, validation, HYPER, seed=0, device=cpu)
    assert error.value.kind == "class-count"


@pytest.mark.parametrize("seed", [-1, 2**53])
def test_a_seed_that_a_record_cannot_hold_is_refused(network, training, validation, cpu, seed):
    with pytest.raises(InvalidInputError) as error:
        train(network, training, validation, HYPER, seed=seed, device=cpu)
    assert error.value.kind == "bad-seed"


def test_freezing_all_steps_is_refused_unless_only_the_head_is_trained(network, training, validation, cpu):
    hyper = HYPER.with_overrides({"freeze_steps": HYPER.steps})
    with pytest.raises(InvalidInputError) as error:
        train(network, training, validation, hyper, seed=0, device=cpu, freeze_featurizer_first=True)
    assert error.value.kind == "freeze-too-long"
    probed = train(
        network, training, validation, hyper, seed=0, device=cpu, freeze_featurizer_first=True, head_only=True
    )
    assert probed.head_only_steps == HYPER.steps
    assert train(network, training, validation, hyper, seed=0, device=cpu).head_only_steps == 0


def test_one_example_per_step_cannot_train_statistics(network, training, validation, cpu):
    one = TrainingSplit(training.domains[:1]), ValidationSplit(validation.domains[:1])
    hyper = HYPER.with_overrides({"batch_per_domain": 1})
    with pytest.raises(InvalidInputError) as error:
        train(network, *one, hyper, seed=0, device=cpu, freeze_statistics=False)
    assert error.value.kind == "batch-too-small"
    assert train(network, *one, hyper, seed=0, device=cpu).history


def test_the_record_says_everything_needed_to_repeat_the_run(network, training, validation, cpu):
    result = train(network, training, validation, HYPER, seed=3, device=cpu)
    record = json.loads(canonical_json(result.record))
    assert HyperParameters(**record["hyper_parameters"]) == HYPER
    assert (record["seed"], record["steps"], record["head_only_steps"]) == (3, 9, 0)
    assert record["freeze_statistics"] is True
    assert record["data"] == {
        "domains": ["a", "b"],
        "training": training.digest,
        "validation": validation.digest,
    }
    assert record["device"]["type"] == "cpu"
    assert record["device"]["threads"] == 1
    assert record["packages"]["torch"] == str(torch.__version__)
    assert {"python", "mlgit", "torchvision", "numpy"} <= record["packages"].keys()
    assert record["best_step"] == result.best.step
    assert [entry["step"] for entry in record["history"]] == [0, 4, 8]
    assert record["history"][-1]["per_domain"].keys() == {"a", "b"}
    assert record["duration_s"] == result.duration_s > 0


def test_a_run_can_be_repeated_from_its_record(network, training, validation, cpu):
    first = train(network, training, validation, HYPER, seed=3, device=cpu)
    hyper = HyperParameters(**first.record["hyper_parameters"])
    again = train(network, training, validation, hyper, seed=first.record["seed"], device=cpu)
    assert same(first.weights, again.weights)


def test_progress_is_told_of_every_step(network, training, validation, cpu):
    progress = Interrupt()
    hyper = HYPER.with_overrides({"steps": 3})
    train(network, training, validation, hyper, seed=0, device=cpu, progress=progress)
    assert progress.steps == 3
