"""The lesson in scikit-learn's MLPClassifier: dense networks with ReLU only."""

import time
from typing import Any

import numpy as np
import sklearn
from contest import Lesson, Outcome, contest, in_batches, read_data, read_recipe
from sklearn.neural_network import MLPClassifier


def train(lesson: Lesson) -> Outcome:
    recipe = read_recipe(lesson)
    images, labels, test_images, test_labels = read_data(lesson)
    images, test_images = (a.reshape(len(a), -1) for a in (images, test_images))
    validate_seconds = 0.0
    epoch_seconds = []
    started = time.perf_counter()
    model = build_model(recipe, lesson.seed)
    for _ in range(lesson.epochs):
        epoch_started = time.perf_counter()
        model.partial_fit(images, labels, classes=range(10))  # one epoch; keeps Adam's moments, as warm_start does not
        validate_started = time.perf_counter()
        accuracy = (model.predict_proba(test_images).argmax(1) == test_labels).mean()
        epoch_seconds.append(validate_started - epoch_started)
        validate_seconds += time.perf_counter() - validate_started

    return Outcome(
        epoch_seconds=epoch_seconds,
        fit_seconds=time.perf_counter() - started - validate_seconds,
        test_accuracy=float(accuracy),
        versions={"scikit-learn": sklearn.__version__, "numpy": np.__version__},
        n_test=len(test_images),
        predict=in_batches(model.predict_proba, test_images),
    )


def build_model(recipe: dict[str, Any], seed: int) -> MLPClassifier:
    """Raises ValueError: the recipe's network is none that MLPClassifier can be."""
    first, *hidden, _ = recipe["layers"]  # the last is the softmax over classes, which it adds by itself
    if first["type"] != "Flatten" or any(s["type"] != "Dense" or s["activation"] != "relu" for s in hidden):
        raise ValueError(f"MLPClassifier cannot be {recipe['name']}: it has dense layers with one activation only")
    optimizer = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, **recipe["optimizer"]}
    return MLPClassifier(
        hidden_layer_sizes=[spec["units"] for spec in hidden],
        activation="relu",
        solver=optimizer.pop("name"),
        learning_rate_init=optimizer.pop("learning_rate"),
        **optimizer,
        alpha=0.0,
        batch_size=recipe["batch_size"],
        random_state=seed,
    )


if __name__ == "__main__":
    contest(train)
