"""The table of recipes. Names are written into commits: add names, never reuse one."""

from __future__ import annotations

from collections.abc import Sequence

from mlgit.errors import InvalidInputError
from mlgit.recipes.recipe import Recipe
from mlgit.registry import Registry

RECIPES: Registry[Recipe] = Registry(
    noun="recipe",
    group="mlgit.recipes",
    builtin={
        "probe": "mlgit.recipes.catalogue:PROBE",
        "vanilla": "mlgit.recipes.catalogue:VANILLA",
        "moving-average": "mlgit.recipes.catalogue:MOVING_AVERAGE",
        "swad": "mlgit.recipes.catalogue:SWAD",
        "coral": "mlgit.recipes.catalogue:CORAL",
        "wise": "mlgit.recipes.catalogue:WISE",
        "ensemble": "mlgit.recipes.catalogue:ENSEMBLE",
        "soup": "mlgit.recipes.catalogue:SOUP",
        "inter-training": "mlgit.recipes.catalogue:INTER_TRAINING",
        "ensemble-inter-training": "mlgit.recipes.catalogue:ENSEMBLE_INTER_TRAINING",
        "fusing": "mlgit.recipes.catalogue:FUSING",
        "ratatouille": "mlgit.recipes.catalogue:RATATOUILLE",
        "robust-inter-training": "mlgit.recipes.catalogue:ROBUST_INTER_TRAINING",
        "robust-ratatouille": "mlgit.recipes.catalogue:ROBUST_RATATOUILLE",
    },
)
"""Name -> recipe."""

ORDER = (
    "probe",
    "vanilla",
    "coral",
    "swad",
    "moving-average",
    "wise",
    "ensemble",
    "soup",
    "inter-training",
    "ensemble-inter-training",
    "fusing",
    "ratatouille",
    "robust-inter-training",
    "robust-ratatouille",
)
"""The order of the table, as in the paper; others follow by name."""

ALL = "all"
"""Stands for every recipe."""


def find_recipes(names: Sequence[str]) -> tuple[Recipe, ...]:
    """Return recipes by name, each once, in the order of the table.

    Args:
        names: Names, at least one; ``all`` for every one.

    Raises:
        NotFoundError: There is no such recipe.
        InvalidInputError: No name.
    """
    if not names:
        raise InvalidInputError("no recipe is named", kind="no-recipe", hint="name one, or `all`")
    wanted = set(RECIPES.names()) if ALL in names else set(names)
    return tuple(RECIPES.get(name) for name in sorted(wanted, key=table_place))


def table_place(name: str) -> tuple[int, str]:
    """Return what sorts recipes by name into the order of the table."""
    return (ORDER.index(name) if name in ORDER else len(ORDER)), name
