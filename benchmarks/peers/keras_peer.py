"""The lesson in Keras 3, on the backend that KERAS_BACKEND names.

The network is built from misread's recipe file, whose words are Keras's, so that both always train the same lesson.
"""

import time
import tomllib
from importlib import import_module
from typing import Any

import keras
import numpy as np
from contest import Lesson, Outcome, contest

STEPS_PER_EXECUTION = 25  # divides the steps of an epoch of both lessons; README.md says what else was tried
VALIDATION_BATCH_SIZE = 1000
UNDERSTOOD = {"name", "description", "epochs", "batch_size", "optimizer", "validation", "layers"}


class EpochClock(keras.callbacks.Callback):
    """Seconds of each epoch's training, and of all validation together."""

    def __init__(self) -> None:
        super().__init__()
        self.epoch_seconds: list[float] = []
        self.validate_seconds = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch_began = time.perf_counter()

    def on_test_begin(self, logs: Any = None) -> None:
        # reading a weight waits for steps still under way: JAX hands control back before they are done
        keras.ops.convert_to_numpy(self.model.trainable_variables[-1])
        self.test_began = time.perf_counter()
        self.epoch_seconds.append(self.test_began - self.epoch_began)

    def on_test_end(self, logs: Any = None) -> None:
        self.validate_seconds += time.perf_counter() - self.test_began


def train(lesson: Lesson) -> Outcome:
    recipe = read_recipe(lesson)
    with np.load(lesson.data) as arrays:
        images, labels = as_input(arrays["x_train"]), arrays["y_train"].astype(np.int32)
        test = as_input(arrays["x_test"]), arrays["y_test"].astype(np.int32)
    keras.utils.set_random_seed(lesson.seed)
    clock = EpochClock()
    started = time.perf_counter()
    model = build_model(recipe, images.shape[1:], n_classes=int(labels.max()) + 1)
    history = model.fit(
        images,
        labels,
        batch_size=recipe["batch_size"],
        epochs=lesson.epochs,
        shuffle=True,
        validation_data=test,
        validation_batch_size=VALIDATION_BATCH_SIZE,
        callbacks=[clock],
        verbose=0,
    )
    return Outcome(
        epoch_seconds=clock.epoch_seconds,
        fit_seconds=time.perf_counter() - started - clock.validate_seconds,
        test_accuracy=history.history["val_accuracy"][-1],
        versions=versions(),
    )


def read_recipe(lesson: Lesson) -> dict[str, Any]:
    """The recipe's TOML. Raises ValueError: it asks for something that this script would silently leave out."""
    recipe = tomllib.loads(lesson.recipe.read_text(encoding="utf-8"))
    if unknown := recipe.keys() - UNDERSTOOD:
        raise ValueError(f"{lesson.recipe.name} has {', '.join(sorted(unknown))}, which the Keras lesson cannot do yet")
    return recipe


def as_input(images: np.ndarray) -> np.ndarray:
    """uint8 (N, H, W) as float32 (N, H, W, 1) in [0, 1]."""
    return images[..., np.newaxis].astype(np.float32) / 255


def build_model(recipe: dict[str, Any], image_shape: tuple[int, ...], n_classes: int) -> keras.Model:
    layers = [build_layer(spec, n_classes) for spec in recipe["layers"]]
    model = keras.Sequential([keras.Input(image_shape), *layers])
    arguments = dict(recipe["optimizer"])
    name = arguments.pop("name")
    model.compile(
        optimizer=keras.optimizers.get({"class_name": name, "config": arguments}),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile="auto",
        steps_per_execution=STEPS_PER_EXECUTION,
    )
    return model


def build_layer(spec: dict[str, Any], n_classes: int) -> keras.Layer:
    arguments = {key: n_classes if value == "classes" else value for key, value in spec.items()}
    return getattr(keras.layers, arguments.pop("type"))(**arguments)


def versions() -> dict[str, str]:
    backend = keras.backend.backend()
    return {
        "keras": keras.__version__,
        backend: import_module(backend).__version__,
        "numpy": np.__version__,
    }


if __name__ == "__main__":
    contest(train)
