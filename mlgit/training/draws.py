"""Which hyper-parameters and which initialisation each run of a sweep gets, from its number alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from mlgit.errors import InvalidInputError, NotFoundError, did_you_mean
from mlgit.tasks.split import seed_hash
from mlgit.training.hyper import HyperParameters

Draw = Callable[[np.random.RandomState], float]

DRAWN: Mapping[str, str] = {
    "lr": "lr",
    "dropout": "resnet_dropout",
    "weight_decay": "weight_decay",
    "batch_per_domain": "batch_size",
}
"""Fields of ``HyperParameters`` that a sweep can draw -> the names that DomainBed makes their seeds of."""


@dataclass(frozen=True, slots=True)
class Space:
    """Where hyper-parameters are drawn from.

    Attributes:
        name: As users write it, and as it is recorded.
        reference: Where the ranges come from.
        first: The values of run 0, and of everything that is not drawn.
        draws: Field of ``HyperParameters`` -> the name its seed is made of, and how it is drawn.
    """

    name: str
    reference: str
    first: HyperParameters
    draws: Mapping[str, tuple[str, Draw]]


def _choice(*values: float) -> Draw:
    return lambda random: float(random.choice(values))


def _power(base: float, low: float, high: float) -> Draw:
    return lambda random: float(base ** random.uniform(low, high))


def _whole_power(low: float, high: float) -> Draw:
    return lambda random: int(2 ** random.uniform(low, high))


_DROPOUT = ("resnet_dropout", _choice(0.0, 0.1, 0.5))

SPACES: Mapping[str, Space] = {
    space.name: space
    for space in (
        Space("default", "Ramé et al. 2023, arXiv:2212.10445: the linear probe and run 0", HyperParameters(), {}),
        Space(
            "mild",
            "Cha et al. 2021, arXiv:2102.08604, as used by Ramé et al. 2023, arXiv:2212.10445",
            HyperParameters(),
            {
                "lr": ("lr", _choice(1e-5, 3e-5, 5e-5)),
                "dropout": _DROPOUT,
                "weight_decay": ("weight_decay", _choice(1e-4, 1e-6)),
            },
        ),
        Space(
            "domainbed",
            "Gulrajani and Lopez-Paz 2021, arXiv:2007.01434",
            HyperParameters(),
            {
                "lr": ("lr", _power(10, -5, -3.5)),
                "dropout": _DROPOUT,
                "weight_decay": ("weight_decay", _power(10, -6, -2)),
                "batch_per_domain": ("batch_size", _whole_power(3, 5.5)),
            },
        ),
        Space(
            "domainbed-small",
            "Gulrajani and Lopez-Paz 2021, arXiv:2007.01434: images of 28 x 28",
            HyperParameters(lr=1e-3, batch_per_domain=64),
            {
                "lr": ("lr", _power(10, -4.5, -2.5)),
                "dropout": _DROPOUT,
                "batch_per_domain": ("batch_size", _whole_power(3, 9)),
            },
        ),
    )
}
"""All spaces by name."""


def draw(space: str, run: int, *, trial: int = 0, overrides: Mapping[str, float] | None = None) -> HyperParameters:
    """Return the hyper-parameters of one run of a sweep.

    Run 0 has the defaults of the space. The values of the others depend on ``run`` and ``trial`` only, neither on the
    task nor on the test domain, so the same run of two sweeps has the same values.

    Args:
        space: A name in ``SPACES``.
        run: Number of the run, from 0; DomainBed calls it ``hparams_seed``.
        trial: Number of the data split, from 0.
        overrides: Field of ``HyperParameters`` -> value, replacing what was drawn.

    Returns:
        The values.

    Raises:
        NotFoundError: There is no such space.
        InvalidInputError: A number is below 0, or an override has an unknown name or a value out of range.
    """
    return draw_from(find_space(space), run, trial=trial, overrides=overrides)


def find_space(name: str) -> Space:
    """Return a space by name.

    Raises:
        NotFoundError: There is no such space.
    """
    if name not in SPACES:
        raise NotFoundError(
            f"no space of hyper-parameters is named '{name}'", kind="unknown-space", hint=did_you_mean(name, SPACES)
        )
    return SPACES[name]


def draw_from(
    space: Space, run: int, *, trial: int = 0, overrides: Mapping[str, float] | None = None
) -> HyperParameters:
    """Return the hyper-parameters of one run of a sweep over any space; see ``draw``."""
    _check_number("run", run)
    _check_number("trial", trial)
    drawn: dict[str, float] = {}
    if run > 0:
        base = seed_hash(run, trial)
        for field, (seed_name, value) in space.draws.items():
            drawn[field] = value(np.random.RandomState(seed_hash(base, seed_name)))
    return space.first.with_overrides(drawn).with_overrides(overrides or {})


@dataclass(frozen=True, slots=True)
class Initialisation:
    """Where a run of a sweep starts.

    Attributes:
        auxiliary: Name of the auxiliary task whose featurizer is recycled; None: the pre-trained one.
        sub_run: Which of the finished runs of that task; None for the pre-trained one.
    """

    auxiliary: str | None = None
    sub_run: int | None = None


def assign_initialisation(run: int, auxiliaries: Mapping[str, int]) -> Initialisation:
    """Spread the runs of a sweep evenly over the pre-trained featurizer and the auxiliary ones.

    With k auxiliary tasks, run h starts from number h mod (k + 1): 0 is the pre-trained featurizer, j the j-th task in
    string order, and of that task the sub-run h mod (number of its finished runs).

    Args:
        run: Number of the run, from 0.
        auxiliaries: Name of each auxiliary task -> number of finished runs, at least 1. Which tasks may stand here is
            the caller's to decide, by ancestry.

    Returns:
        The initialisation.

    Raises:
        InvalidInputError: ``run`` is below 0, or a task has no finished run.

    Reference:
        Ramé et al. 2023, arXiv:2212.10445.
    """
    _check_number("run", run)
    idle = sorted(name for name, count in auxiliaries.items() if count < 1)
    if idle:
        raise InvalidInputError(
            f"auxiliary task '{idle[0]}' has no finished run",
            kind="no-auxiliary-run",
            hint="train it first or leave it out",
        )
    number = run % (len(auxiliaries) + 1)
    if number == 0:
        return Initialisation()
    name = sorted(auxiliaries)[number - 1]
    return Initialisation(name, run % auxiliaries[name])


def _check_number(name: str, value: int) -> None:
    if value < 0:
        raise InvalidInputError(f"{name} {value} is below 0", kind="bad-number", hint="numbers start at 0")
