"""A server for predictions: `misread serve`."""
