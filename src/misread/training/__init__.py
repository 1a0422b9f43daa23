"""Trains a network by a recipe: recipes, backends, the training loop and its callbacks."""
