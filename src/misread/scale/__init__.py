"""Predictions for more images than one process can go through: shards, jobs, label statistics."""
