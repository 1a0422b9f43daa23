"""A run: one training with all that it left, as an object and as a folder."""
