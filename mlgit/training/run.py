"""One training run by the protocol of "Model Ratatouille"."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch

from mlgit.errors import InvalidInputError
from mlgit.evaluation.determinism import deterministic_kernels
from mlgit.models.network import Network
from mlgit.objects import JsonValue
from mlgit.progress import NoProgress, Progress
from mlgit.tasks.split import Split, TrainingSplit, ValidationSplit
from mlgit.training.batches import make_sampler
from mlgit.training.borrow import borrowed
from mlgit.training.execution import Execution
from mlgit.training.hyper import HyperParameters
from mlgit.training.inputs import feature_inputs, image_inputs
from mlgit.training.loop import Loop
from mlgit.training.method import Method, check_collect
from mlgit.training.randomness import seeded_layers
from mlgit.training.record import run_record
from mlgit.training.registry import LOSSES, TRAJECTORIES
from mlgit.training.result import Collected, RunResult
from mlgit.training.snapshot import Saves
from mlgit.training.track import Outcome
from mlgit.training.updates import Updates

DEFAULT_METHOD = Method()
DEFAULT_EXECUTION = Execution()
_MAX_SEED = 2**53  # what a record can hold exactly


def train(
    network: Network,
    training: TrainingSplit,
    validation: ValidationSplit,
    hyper: HyperParameters,
    *,
    seed: int,
    device: torch.device,
    freeze_featurizer_first: bool = False,
    head_only: bool = False,
    freeze_statistics: bool = True,
    method: Method = DEFAULT_METHOD,
    collect: Sequence[str] = (),
    execution: Execution = DEFAULT_EXECUTION,
    saves: Saves | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Train a network from its weights of the moment and return the weights found; the network is left as it was.

    Each step draws ``hyper.batch_per_domain`` examples of every training domain, uniformly with replacement, and makes
    one update of Adam, at a constant rate, of the loss over all of them. After step 0, each
    ``hyper.eval_every`` steps and after the last, the un-augmented ID validation split is evaluated; the weights with
    the highest unweighted mean accuracy over the domains are the best, the earliest of equals.

    The same arguments give the same bits on the same kind of device with the same number of threads. torch's global
    random state is put back afterwards, also after an interrupt.

    Args:
        network: Where to start; its head must tell the classes of the task apart.
        training: What gradients see; no domain may be empty.
        validation: What selects; the same domains.
        hyper: The numbers.
        seed: Of sampling, augmentation and dropout; 0 to 2**53 - 1.
        device: Where to compute.
        freeze_featurizer_first: Train only the head in the first ``hyper.freeze_steps`` updates, without gradients of
            the featurizer; then a new Adam starts over all parameters. For featurizers of auxiliary tasks.
        head_only: Train only the head in all updates; the featurizer stays in evaluation mode.
        freeze_statistics: Keep the running means and variances of batch normalisation; its scale and shift are trained
            all the same. False is for training from scratch, which has no statistics worth keeping.
        method: The loss, and which average along the run the result is.
        collect: Averages of the same run to return beside the result, which they do not change; rows of
            ``TRAJECTORIES`` other than ``none`` and the method's own, each once.
        execution: Precision, layout, compilation and parts of batches.
        saves: Where the state of the run is kept. What it holds is gone on with, to the same bits on a CPU.
        progress: Told of each step.

    Returns:
        Best and last weights with the record of the run.

    Raises:
        InvalidInputError: An empty or mismatched split, labels beyond the head's classes, a seed out of range, a batch
            too small for statistics, more frozen steps than steps, or averages that cannot be collected.
        NotFoundError: No such average.
        JobFailedError: The loss or the predictions are not finite any more; the step is named.

    Reference:
        Ramé et al., "Model Ratatouille", ICML 2023, arXiv:2212.10445. Unlike the authors' code, ID validation images
        are not augmented, exactly ``freeze_steps`` updates are frozen (there: one more), and the featurizer's gradients
        are not computed in these.
    """
    _check_splits(network, training, validation)
    check_collect(collect, method)
    _check_options(hyper, seed, freeze_first=freeze_featurizer_first and not head_only)
    if not (freeze_statistics or head_only):
        _check_variance(training, hyper)
    head_steps = hyper.steps if head_only else hyper.freeze_steps * freeze_featurizer_first
    title = "training the head" if head_only else "training"
    started = time.perf_counter()
    with (
        borrowed(network, device),
        execution.arranged(network),
        deterministic_kernels(),
        seeded_layers(seed, device),
    ):
        network.set_dropout(hyper.dropout).module.eval()
        sampler = make_sampler(
            training.domains, per_domain=hyper.batch_per_domain, seed=seed, class_balanced=method.class_balanced
        )
        inputs = (feature_inputs if head_only else image_inputs)(
            network, training, validation, sampler, seed=seed, device=device
        )
        loop = Loop(
            network,
            inputs,
            hyper,
            updates=Updates(network, inputs, hyper, LOSSES.get(method.loss)(method), execution),
            trajectory=TRAJECTORIES.get(method.average)(network, method),
            head_steps=head_steps,
            freeze_statistics=freeze_statistics,
            collected={name: TRAJECTORIES.get(name)(network, method) for name in collect},
            saves=saves,
        )
        with (progress or NoProgress()).task(title, total=hyper.steps) as bar:
            outcome = loop.run(bar)
    duration_s = outcome.before_s + time.perf_counter() - started
    record = partial(
        run_record,
        hyper=hyper,
        seed=seed,
        head_only_steps=head_steps,
        freeze_statistics=freeze_statistics or head_only,
        training=training,
        validation=validation,
        execution=execution,
        device=device,
        duration_s=duration_s,
    )
    collected = {
        name: _collected(each, record(method=replace(method, average=name), outcome=each))
        for name, each in outcome.collected.items()
    }
    return RunResult(
        weights=outcome.weights,
        last_weights=outcome.last_weights,
        best=outcome.best,
        last=outcome.last,
        history=outcome.history,
        steps=outcome.steps,
        resumed_from=outcome.resumed_from,
        head_only_steps=head_steps,
        duration_s=duration_s,
        record=record(method=method, outcome=outcome),
        collected=collected,
    )


def _collected(outcome: Outcome, record: Mapping[str, JsonValue]) -> Collected:
    return Collected(
        weights=outcome.weights,
        last_weights=outcome.last_weights,
        best=outcome.best,
        last=outcome.last,
        record=record,
    )


def _check_splits(network: Network, training: TrainingSplit, validation: ValidationSplit) -> None:
    _check_role(training, TrainingSplit)
    _check_role(validation, ValidationSplit)
    if training.names != validation.names or not training.names:
        raise InvalidInputError(
            f"training domains {list(training.names)} and validation domains {list(validation.names)} are not the same",
            kind="different-domains",
            hint="take both splits from one task, with the same trial",
        )
    for split in (training, validation):
        _check_domains(split, network.num_classes)


def _check_role(split: object, wanted: type[Split]) -> None:
    """Refuse a split with another purpose, which types refuse as well."""
    if not isinstance(split, wanted):
        raise InvalidInputError(
            f"training was handed a {type(split).__name__} where a {wanted.__name__} belongs",
            kind="wrong-split",
            hint="training sees training domains only",
        )


def _check_domains(split: Split, num_classes: int) -> None:
    for domain in split.domains:
        if not len(domain):
            raise InvalidInputError(
                f"domain '{domain.name}' has no examples for {split.role}",
                kind="empty-split",
                hint="add data or leave the domain out of the task",
            )
        low, high = int(domain.labels.min()), int(domain.labels.max())
        if not 0 <= low <= high < num_classes:
            raise InvalidInputError(
                f"domain '{domain.name}' has labels from {low} to {high}, the head tells {num_classes} classes apart",
                kind="class-count",
                hint="train a linear probe on this task first: it makes a head for its classes",
            )


def _check_options(hyper: HyperParameters, seed: int, *, freeze_first: bool) -> None:
    if not 0 <= seed < _MAX_SEED:
        raise InvalidInputError(f"seed {seed} is not between 0 and 2^53", kind="bad-seed", hint="use a smaller one")
    if freeze_first and hyper.freeze_steps >= hyper.steps:
        raise InvalidInputError(
            f"freeze_steps {hyper.freeze_steps} leaves none of {hyper.steps} steps for the featurizer",
            kind="freeze-too-long",
            hint="lower `freeze_steps`, raise `steps`, or train a linear probe",
        )


def _check_variance(training: TrainingSplit, hyper: HyperParameters) -> None:
    if hyper.batch_per_domain * len(training.domains) < 2:
        raise InvalidInputError(
            "one example per step has no variance to train statistics on",
            kind="batch-too-small",
            hint="use a `batch_per_domain` of 2 or more, or frozen statistics",
        )
