"""From a recipe and images to a trained network: the recipe, the loop, and what the loop is made of."""
