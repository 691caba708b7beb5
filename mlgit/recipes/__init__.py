"""The strategies of "Model Ratatouille" by name: which runs each needs, and what it makes of them.

A recipe is a description. Runs, averages and evaluations are made by ``mlgit.porcelain.recipe``; recipes that need the
same runs share them.

Reference:
    Ramé et al., "Model Ratatouille: Recycling Diverse Models for Out-of-Distribution Generalization", ICML 2023,
    arXiv:2212.10445.
"""

from mlgit.recipes.recipe import FAMILIES, Family, Recipe, Selection
from mlgit.recipes.registry import RECIPES, find_recipes

__all__ = ["FAMILIES", "RECIPES", "Family", "Recipe", "Selection", "find_recipes"]
