"""Which checkpoint is the best, and which step diverged, in cases made for the purpose."""

from __future__ import annotations

import pytest
import torch

from mlgit.errors import JobFailedError
from mlgit.evaluation.score import Predictions
from mlgit.progress import NoProgress
from mlgit.training.batches import Batches
from mlgit.training.execution import Execution
from mlgit.training.hyper import HyperParameters
from mlgit.training.inputs import Inputs
from mlgit.training.loop import Loop
from mlgit.training.losses import CrossEntropy
from mlgit.training.method import Method
from mlgit.training.trajectory import NoAverage
from mlgit.training.updates import Updates


class SameBatch(Batches):
    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.batch = torch.randn(6, 1, 8, 8, generator=generator), torch.arange(6) % 3

    def draw(self):
        return self.batch


def right(domain: str, correct: int, n: int) -> Predictions:
    """``correct`` of ``n`` predictions are right."""
    rows = torch.tensor([[1.0, 0.0]] * correct + [[0.0, 1.0]] * (n - correct))
    return Predictions(domain, rows, torch.zeros(n, dtype=torch.int64))


def scripted(network, script, *, forward=None, eval_every=1, steps=None):
    """Run a loop whose evaluations say what is written; also return the weights at each evaluation."""
    seen, lines = [], iter(script)

    def predict():
        assert not any(part.training for part in network.module.modules())
        seen.append(network.weights())
        return next(lines)

    hyper = HyperParameters(lr=1e-2, steps=steps or len(script), eval_every=eval_every)
    inputs = Inputs(forward=forward or network.forward, batches=SameBatch(), predict=predict)
    updates = Updates(network, inputs, hyper, CrossEntropy(Method()), Execution())
    watching = NoAverage(network, Method())
    loop = Loop(network, inputs, hyper, updates=updates, trajectory=watching, head_steps=0, freeze_statistics=True)
    with NoProgress().task("training") as bar:
        return loop.run(bar), seen


def same(a, b) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    ("correct", "best"),
    [([3, 5, 4], 1), ([5, 5, 5], 0), ([0, 0, 0], 0), ([1, 2, 3], 2), ([2, 5, 3, 5, 5], 1), ([4], 0)],
)
def test_the_highest_accuracy_is_the_best_and_the_earliest_of_equals(network, correct, best):
    outcome, seen = scripted(network, [(right("a", count, 6),) for count in correct])
    assert outcome.best.step == best
    assert outcome.best is outcome.history[best]
    assert same(outcome.weights, seen[best])
    assert same(outcome.last_weights, seen[-1])
    assert not any(same(seen[i], seen[i + 1]) for i in range(len(seen) - 1))


def test_domains_count_alike_whatever_their_size(network):
    script = [
        (right("small", 0, 2), right("large", 90, 100)),  # micro 0.88, macro 0.45
        (right("small", 2, 2), right("large", 10, 100)),  # micro 0.12, macro 0.55
    ]
    outcome, _ = scripted(network, script)
    assert outcome.best.step == 1
    assert outcome.best.macro == pytest.approx(0.55)
    assert outcome.best.micro == pytest.approx(12 / 102)


def test_the_recorded_loss_is_the_mean_since_the_evaluation_before(network):
    losses = []

    def forward(images):
        logits = network.forward(images)
        losses.append(float(torch.nn.functional.cross_entropy(logits.detach(), torch.arange(6) % 3)))
        return logits

    outcome, _ = scripted(network, [(right("a", 1, 2),)] * 4, forward=forward, eval_every=60, steps=130)
    assert [entry.step for entry in outcome.history] == [0, 60, 120, 129]
    parts = [losses[:1], losses[1:61], losses[61:121], losses[121:]]
    assert [entry.loss for entry in outcome.history] == pytest.approx([sum(part) / len(part) for part in parts])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("step", [0, 7, 50, 51, 73])
def test_the_step_whose_loss_is_not_finite_is_named(network, step, bad):
    calls = 0

    def forward(images):
        nonlocal calls
        calls += 1
        return network.forward(images) * (bad if calls == step + 1 else 1.0)

    with pytest.raises(JobFailedError, match=f"at step {step}: the loss is") as error:
        scripted(network, [(right("a", 1, 2),)] * 2, forward=forward, eval_every=1000, steps=90)
    assert error.value.kind == "diverged"
    assert calls <= step + 50


def test_predictions_that_are_not_finite_fail_although_the_loss_was(network):
    broken = Predictions("a", torch.full((2, 2), float("nan")), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(JobFailedError, match="step 1: the model predicts") as error:
        scripted(network, [(right("a", 1, 2),), (broken,), (right("a", 1, 2),)])
    assert error.value.kind == "diverged"
