"""The recipes there are; naming them imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from mlgit.recipes.registry import ALL, RECIPES, table_place

__all__ = ["ALL", "ListedRecipe", "recipes"]


@dataclass(frozen=True, slots=True)
class ListedRecipe:
    """A recipe as a list shows it.

    Attributes:
        name: As users write it.
        summary: What it is, in a few words.
        reference: Where it comes from.
    """

    name: str
    summary: str
    reference: str


def recipes() -> tuple[ListedRecipe, ...]:
    """Return all recipes in the order of the table."""
    found = [RECIPES.get(name) for name in sorted(RECIPES.names(), key=table_place)]
    return tuple(ListedRecipe(each.name, each.summary, each.reference) for each in found)
