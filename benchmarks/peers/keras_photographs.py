"""A network in Keras 3, on the backend that KERAS_BACKEND names, for a number of seconds.

`cnn` is a small plain network; `resnet` has the layers of ResNet-20 (He et al. 2016, section 4.2, with convolutions as
shortcuts). Keras's own augmentation layers; Adam with a cosine schedule over the seconds, which suits so short a
training better than a constant rate.
"""

import os
import time
from importlib import import_module
from typing import Any

from contest import hide
from timed import Countdown, Photographs, contest

BACKEND = os.environ["KERAS_BACKEND"]
hide(*{"jax", "sklearn", "torch"} - {BACKEND})  # not TensorFlow, which Keras's augmentation layers need on any backend

import keras  # noqa: E402
import numpy as np  # noqa: E402
from keras import layers  # noqa: E402

BATCH_SIZE, LEARNING_RATE, SHIFT, BLOCKS = 128, 0.003, 0.125, 3
FILTERS = (32, 64, 128)  # of the small network


class TrainUntilOver(keras.callbacks.Callback):
    """Sets the learning rate before each batch, and ends the training when its seconds are over."""

    def __init__(self, countdown: Countdown) -> None:
        super().__init__()
        self.countdown, self.steps = countdown, 0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.model.optimizer.learning_rate = self.countdown.rate(LEARNING_RATE)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.steps += 1
        if self.countdown.over:
            self.model.stop_training = True


def convolution(x: Any, filters: int, kernel: int, strides: int) -> Any:
    x = layers.Conv2D(filters, kernel, strides, padding="same", use_bias=False)(x)
    return layers.BatchNormalization(momentum=0.9)(x)


def block(x: Any, filters: int, strides: int) -> Any:
    inner = layers.ReLU()(convolution(x, filters, 3, strides))
    inner = convolution(inner, filters, 3, 1)
    shortcut = x if strides == 1 and x.shape[-1] == filters else convolution(x, filters, 1, strides)
    return layers.ReLU()(layers.Add()([inner, shortcut]))


def resnet(x: Any) -> Any:
    x = layers.ReLU()(convolution(x, 16, 3, 1))
    for filters in (16, 32, 64):
        for i in range(BLOCKS):
            x = block(x, filters, 2 if i == 0 and filters > 16 else 1)
    return layers.GlobalAveragePooling2D()(x)


def cnn(x: Any) -> Any:
    for filters in FILTERS:
        x = layers.MaxPooling2D()(layers.ReLU()(convolution(x, filters, 3, 1)))
    return layers.GlobalMaxPooling2D()(x)


def build(network: str, image_shape: tuple[int, ...], n_classes: int) -> keras.Model:
    inputs = keras.Input(image_shape)
    x = layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = layers.RandomTranslation(SHIFT, SHIFT)(layers.RandomFlip("horizontal")(x))
    features = {"cnn": cnn, "resnet": resnet}[network](x)
    return keras.Model(inputs, layers.Dense(n_classes)(features))


def train(photographs: Photographs) -> tuple[np.ndarray, float, dict[str, str], str]:
    keras.utils.set_random_seed(photographs.seed)
    model = build(photographs.network, photographs.images.shape[1:], photographs.n_classes)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(LEARNING_RATE), loss)
    images = photographs.images.astype("float32")
    model.fit(images[:BATCH_SIZE], photographs.labels[:BATCH_SIZE], BATCH_SIZE, verbose=0)  # compiles; does not count
    started = time.perf_counter()
    until_over = TrainUntilOver(Countdown(photographs.seconds))
    model.fit(images, photographs.labels, BATCH_SIZE, epochs=10_000, verbose=0, callbacks=[until_over])
    seconds = time.perf_counter() - started
    predicted = model.predict(photographs.test_images.astype("float32"), batch_size=500, verbose=0).argmax(1)
    versions = {"keras": keras.__version__, BACKEND: import_module(BACKEND).__version__, "numpy": np.__version__}
    epochs = until_over.steps * BATCH_SIZE / len(images)
    return predicted, seconds, versions, f"{photographs.network}, {epochs:.1f} epochs"


if __name__ == "__main__":
    contest(train)
