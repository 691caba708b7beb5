"""The record of a run: everything needed to repeat it, as plain JSON."""

from __future__ import annotations

import platform
from importlib import metadata

import numpy as np
import torch

from mlgit.objects import JsonValue
from mlgit.tasks.split import TrainingSplit, ValidationSplit
from mlgit.training.execution import Execution
from mlgit.training.hyper import HyperParameters
from mlgit.training.method import Method
from mlgit.training.track import Outcome
from mlgit.version import __version__


def package_versions() -> dict[str, JsonValue]:
    """Return the versions of python, mlgit and the packages that numbers depend on."""
    return {
        "python": platform.python_version(),
        "mlgit": __version__,
        "torch": str(torch.__version__),  # names the build for an accelerator too
        "torchvision": metadata.version("torchvision"),
        "numpy": np.__version__,
    }


def device_record(device: torch.device) -> dict[str, JsonValue]:
    """Return what kind of device computed, with how many CPU threads.

    Args:
        device: Where a run computed.
    """
    host = platform.processor() or platform.machine()
    model = torch.cuda.get_device_name(device) if device.type == "cuda" else host
    return {"type": device.type, "model": model, "threads": torch.get_num_threads()}


def run_record(
    *,
    hyper: HyperParameters,
    seed: int,
    head_only_steps: int,
    freeze_statistics: bool,
    training: TrainingSplit,
    validation: ValidationSplit,
    outcome: Outcome,
    method: Method,
    execution: Execution,
    device: torch.device,
    duration_s: float,
) -> dict[str, JsonValue]:
    """Return the record of a finished run.

    Args:
        hyper: Its hyper-parameters.
        seed: Its seed.
        head_only_steps: Updates that trained the head only, the first ones.
        freeze_statistics: Whether batch-norm statistics stayed as they were.
        training: What it trained on.
        validation: What selected the checkpoint.
        outcome: What it measured.
        method: Its loss and average.
        execution: How it computed.
        device: Where it computed.
        duration_s: Seconds it took.
    """
    return {
        "hyper_parameters": hyper.to_json(),
        "seed": seed,
        "steps": outcome.steps,
        "method": method.to_json() | dict(outcome.average),
        "execution": execution.to_json(),
        "resumed_from": outcome.resumed_from,
        "head_only_steps": head_only_steps,
        "freeze_statistics": freeze_statistics,
        "optimizer": "adam",
        "selection": "best unweighted mean of ID validation accuracy over domains, earliest of equals",
        "best_step": outcome.best.step,
        "history": [measurement.to_json() for measurement in outcome.history],
        "data": {
            "domains": list(training.names),
            "training": training.digest,
            "validation": validation.digest,
        },
        "device": device_record(device),
        "packages": package_versions(),
        "duration_s": duration_s,
    }
