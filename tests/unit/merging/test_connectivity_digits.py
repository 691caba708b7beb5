"""Real handwritten digits, small networks: runs from one start are connected, runs from two starts are not."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from torch.nn.functional import cross_entropy

from mlgit.evaluation.score import Score
from mlgit.merging.candidate import Candidate
from mlgit.merging.connectivity import CHORD, broken_path_error, check_pairs, lmc
from mlgit.merging.criterion import Criterion, Verdict
from mlgit.weights.types import Weights

SEEDS = 20
SIZES = (64, 48, 32, 10)


@dataclass(frozen=True)
class Digits:
    """The 1,797 images of scikit-learn, split 80/20."""

    images: torch.Tensor
    labels: torch.Tensor
    validation: torch.Tensor
    training: torch.Tensor

    def evaluate(self, weights: Weights) -> Score:
        guesses = forward(weights, self.images[self.validation]).argmax(dim=1)
        correct = guesses == self.labels[self.validation]
        accuracy = int(correct.sum()) / len(correct)
        return Score(accuracy, {"digits": accuracy}, correct)


def initialise(generator: torch.Generator) -> dict[str, torch.Tensor]:
    """``SEEDS`` networks at once, one per row of the first dimension."""
    weights = {}
    for layer, (inputs, outputs) in enumerate(pairwise(SIZES)):
        weights[f"{layer}.weight"] = torch.randn(SEEDS, inputs, outputs, generator=generator) * (2 / inputs) ** 0.5
        weights[f"{layer}.bias"] = torch.zeros(SEEDS, 1, outputs)
    return weights


def forward(weights: Weights, images: torch.Tensor) -> torch.Tensor:
    for layer in range(len(SIZES) - 1):
        images = images @ weights[f"{layer}.weight"] + weights[f"{layer}.bias"]
        images = images if layer == len(SIZES) - 2 else images.relu()
    return images


def train(
    digits: Digits, start: Weights, steps: int, rate: float, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """Each of the networks sees its own batches."""
    weights = {name: tensor.clone().requires_grad_() for name, tensor in start.items()}
    optimiser = torch.optim.Adam(weights.values(), lr=rate)
    for _ in range(steps):
        batch = digits.training[torch.randint(len(digits.training), (SEEDS, 48), generator=generator)]
        logits = forward(weights, digits.images[batch])
        optimiser.zero_grad()
        (cross_entropy(logits.flatten(0, 1), digits.labels[batch].flatten()) * SEEDS).backward()
        optimiser.step()
    return {name: tensor.detach() for name, tensor in weights.items()}


def candidate(label: str, networks: Weights, seed: int) -> Candidate:
    return Candidate(label, {name: tensor[seed] for name, tensor in networks.items()})


@pytest.fixture(scope="module")
def digits() -> Digits:
    data = pytest.importorskip("sklearn.datasets").load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(data.data / 16 - 0.3, dtype=torch.float32)
    return Digits(images, torch.tensor(data.target), order[:359], order[359:])


@pytest.fixture(scope="module")
def runs(digits: Digits) -> dict[str, dict[str, torch.Tensor]]:
    """Two fine-tunings of one pretrained network, and one of another."""
    generator = torch.Generator().manual_seed(1)
    shared = train(digits, initialise(generator), 200, 3e-3, generator)
    other = train(digits, initialise(generator), 200, 3e-3, generator)
    starts = {"first": shared, "second": shared, "stranger": other}
    return {name: train(digits, start, 80, 1e-3, generator) for name, start in starts.items()}


@pytest.mark.parametrize("seed", range(SEEDS))
def test_two_runs_from_one_start_are_connected(
    digits: Digits, runs: dict[str, dict[str, torch.Tensor]], seed: int
) -> None:
    first, second = (candidate(name, runs[name], seed) for name in ("first", "second"))
    curve = lmc(first, second, digits.evaluate)
    assert curve.points[0].accuracy > 0.93
    assert curve.verdict is not Verdict.VIOLATED
    assert lmc(first, second, digits.evaluate, criterion=Criterion(tolerance=0.02)).verdict is Verdict.HOLDS
    assert broken_path_error([curve]) is None


@pytest.mark.parametrize("seed", range(SEEDS))
def test_two_runs_from_independent_starts_are_refused(
    digits: Digits, runs: dict[str, dict[str, torch.Tensor]], seed: int
) -> None:
    curve = lmc(candidate("first", runs["first"], seed), candidate("stranger", runs["stranger"], seed), digits.evaluate)
    assert curve.points[-1].accuracy > 0.93
    assert curve.verdict is Verdict.VIOLATED
    assert curve.barrier_worst > 0.05


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_pool_with_a_stranger_is_refused_and_the_stranger_named(
    digits: Digits, runs: dict[str, dict[str, torch.Tensor]], seed: int
) -> None:
    curves = check_pairs([candidate(name, networks, seed) for name, networks in runs.items()], digits.evaluate)
    assert [curve.verdict is Verdict.VIOLATED for curve in curves] == [False, True, True]
    error = broken_path_error(curves)
    assert error is not None
    assert error.hint is not None
    assert "leave out stranger (2 broken pairs)" in error.hint


def test_most_averages_of_two_runs_from_one_start_hold_outright(
    digits: Digits, runs: dict[str, dict[str, torch.Tensor]]
) -> None:
    pairs = [[candidate(name, runs[name], seed) for name in ("first", "second")] for seed in range(SEEDS)]
    assert sum(lmc(*pair, digits.evaluate, grid=CHORD).verdict is Verdict.HOLDS for pair in pairs) > SEEDS // 2
