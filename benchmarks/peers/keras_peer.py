"""The lesson in Keras 3, on the backend that KERAS_BACKEND names.

The network is built from misread's recipe file, whose words are Keras's, so that both always train the same lesson.
"""

import os
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from contest import Lesson, Outcome, contest, hide, in_batches, read_data, read_recipe

BACKEND = os.environ["KERAS_BACKEND"]
hide(*{"jax", "sklearn", "tensorflow", "torch"} - {BACKEND})

import keras  # noqa: E402
import numpy as np  # noqa: E402

# The best of what was tried, see README.md
JIT_COMPILE = {"tensorflow": "auto", "jax": "auto", "torch": True}[BACKEND]
STEPS_PER_EXECUTION = {"tensorflow": 25, "jax": 25, "torch": 1}[BACKEND]  # 25 divides an epoch's steps of both lessons
VALIDATION_BATCH_SIZE = 1000


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
    images, labels, *test = read_data(lesson)
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
        validation_data=tuple(test),
        validation_batch_size=VALIDATION_BATCH_SIZE,
        callbacks=[clock],
        verbose=0,
    )
    return Outcome(
        epoch_seconds=clock.epoch_seconds,
        fit_seconds=time.perf_counter() - started - clock.validate_seconds,
        test_accuracy=history.history["val_accuracy"][-1],
        versions=versions(),
        n_test=len(test[0]),
        predict=in_batches(compiled_call(model), test[0]),
    )


def build_model(recipe: dict[str, Any], image_shape: tuple[int, ...], n_classes: int) -> keras.Model:
    layers = [build_layer(spec, n_classes) for spec in recipe["layers"]]
    model = keras.Sequential([keras.Input(image_shape), *layers])
    arguments = dict(recipe["optimizer"])
    name = arguments.pop("name")
    model.compile(
        optimizer=keras.optimizers.get({"class_name": name, "config": arguments}),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=JIT_COMPILE,
        steps_per_execution=STEPS_PER_EXECUTION,
    )
    return model


def build_layer(spec: dict[str, Any], n_classes: int) -> keras.Layer:
    arguments = {key: n_classes if value == "classes" else value for key, value in spec.items()}
    return getattr(keras.layers, arguments.pop("type"))(**arguments)


def compiled_call(model: keras.Model) -> Callable[[np.ndarray], Any]:
    """The model as a function from images to probs, compiled where the backend gains by it."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(lambda images: model(images, training=False))
    if BACKEND == "jax":
        import jax

        variables = model.trainable_variables, model.non_trainable_variables
        call = jax.jit(lambda values, images: model.stateless_call(*values, images, training=False)[0])
        return lambda images: call([[v.value for v in kind] for kind in variables], images)
    import torch

    return torch.inference_mode()(lambda images: model(images, training=False))


def versions() -> dict[str, str]:
    return {"keras": keras.__version__, BACKEND: import_module(BACKEND).__version__, "numpy": np.__version__}


if __name__ == "__main__":
    contest(train)
