"""Recipes: everything that decides a training run, in one validated YAML file."""

from tagformer.recipes.recipe import Recipe, list_recipes, load_recipe

__all__ = ["Recipe", "list_recipes", "load_recipe"]
