"""Keras models with their own predictions, for the tests of `misread.open_keras`. The backend is KERAS_BACKEND.

    KERAS_BACKEND=jax python benchmarks/peers/make_keras_fixtures.py FOLDER
    KERAS_BACKEND=jax python benchmarks/peers/make_keras_fixtures.py FOLDER --mnist mnist.npz

The first writes three small networks: the lesson's two, scaled down, trained on the 8x8 digits of scikit-learn; and
one of all layers that misread opens, with random weights. The second writes the lesson's two networks in full. Each is
written as `.keras` and `.h5`, with an `.npz` of images (uint8) and the probabilities by Keras.

    python benchmarks/peers/make_keras_fixtures.py --pack FOLDER tests/lab/fixtures/keras.tar.xz
"""

import argparse
import os
import tarfile
from pathlib import Path

import numpy as np

SEED = 0
IMAGES = 24  # with probabilities in a small fixture


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("to", type=Path, nargs="?")
    parser.add_argument("--mnist", type=Path, help="an .npz with Keras's keys")
    parser.add_argument("--train", type=int, default=60_000, help="training images")
    parser.add_argument("--pack", action="store_true")
    args = parser.parse_args()
    if args.pack:
        pack(args.folder, args.to)
        return
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.mnist:
        write_lesson(args.folder, args.mnist, args.train)
    else:
        write_small(args.folder)


def pack(folder: Path, to: Path) -> None:
    """All files of a folder as one compressed archive. HDF5 files are mostly zeros, and backends share much."""
    with tarfile.open(to, "w:xz", preset=9) as archive:
        for path in sorted(folder.iterdir(), key=lambda each: (each.stem.split("-")[1], each.suffix, each.name)):
            member = tarfile.TarInfo(path.name)
            member.size = path.stat().st_size
            with path.open("rb") as file:
                archive.addfile(member, file)


def write_lesson(folder: Path, mnist: Path, count: int) -> None:
    with np.load(mnist) as arrays:
        x, y, x_test = (arrays[name] for name in ("x_train", "y_train", "x_test"))
    x, y = x[:count, ..., None], y[:count]
    fit_and_save(mlp((28, 28, 1), 1000), x, y, x_test[..., None], folder, "mlp", batch=100)
    fit_and_save(cnn((28, 28, 1), 32, 64, 1000), x, y, x_test[..., None], folder, "cnn", batch=32)


def write_small(folder: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, labels = (digits.images * 15).astype(np.uint8)[..., None], digits.target
    x, y = images[:1200], labels[:1200]
    few = images[1200 : 1200 + IMAGES]
    fit_and_save(mlp((8, 8, 1), 16), x, y, few, folder, "mlp", batch=32, epochs=12)
    fit_and_save(cnn((8, 8, 1), 4, 6, 16), x, y, few, folder, "cnn", batch=32, epochs=12)
    rng = np.random.default_rng(SEED)
    model = every_layer()
    for variable in model.weights:
        values = rng.normal(0, 0.3 if len(variable.shape) == 1 else 1, variable.shape)
        if variable.dtype == "float32":
            variable.assign(np.abs(values) + 0.5 if "variance" in variable.name else values)
    bright = rng.random((IMAGES, 1, 1, 3))  # the means of noise alone are nearly the same for all images
    images = (rng.integers(0, 256, (IMAGES, 9, 8, 3)) * bright).astype(np.uint8)
    spread_logits(model, images)
    save(model, images, 1.0, folder, "layers")


def spread_logits(model, images) -> None:
    """Give each logit mean 0 and deviation 1 over the images, so that the predictions depend on the image."""
    import keras

    last = model.layers[-2]
    kernel, bias = last.get_weights()
    logits = keras.Model(model.inputs, last.output).predict(images.astype(np.float32), verbose=0)
    mean, deviation = logits.mean(axis=0), logits.std(axis=0)
    last.set_weights([kernel / deviation, (bias - mean) / deviation])


def mlp(shape, units):
    import keras

    return keras.Sequential([
        keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(units, activation="relu"),
        keras.layers.Dense(10, activation="softmax"),
    ])  # fmt: skip


def cnn(shape, first, second, units):
    import keras
    from keras import layers

    return keras.Sequential([
        keras.Input(shape), layers.Conv2D(first, 5, padding="same", activation="relu"),
        layers.MaxPooling2D(2, strides=2), layers.Conv2D(second, 2, padding="same", activation="relu"),
        layers.MaxPooling2D(2, strides=2), layers.Dropout(0.25), layers.Flatten(),
        layers.Dense(units, activation="relu"), layers.Dense(10, activation="softmax"),
    ])  # fmt: skip


def every_layer():
    """A Functional model of all layers that misread opens and that every backend computes alike."""
    import keras
    from keras import layers

    images = keras.Input((9, 8, 3))
    x = layers.RandomFlip("horizontal")(images)
    x = layers.RandomRotation(0.1)(x)
    x = layers.Rescaling(1 / 127.5, offset=-1)(x)
    x = layers.Conv2D(6, (3, 2), strides=2, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization(epsilon=0.01)(x)
    x = layers.ReLU(max_value=2.5)(x)
    y = layers.Conv2D(6, 3, padding="same", activation="tanh")(x)
    y = layers.BatchNormalization(scale=False)(y)
    y = layers.LeakyReLU(negative_slope=0.15)(y)
    x = layers.Add()([x, y])
    x = layers.MaxPooling2D(2, strides=1, padding="same")(x)
    x = layers.AveragePooling2D((2, 1), strides=1)(x)
    x = layers.Permute((2, 1, 3))(x)
    x = layers.Conv2D(5, (1, 2), activation="gelu")(x)
    shared = layers.Dense(4, activation="leaky_relu")
    x = layers.Average()([layers.GlobalAveragePooling2D()(shared(x)), layers.GlobalMaxPooling2D()(shared(x))])
    x = layers.Reshape((2, 2))(x)
    x = layers.Flatten()(x)
    x = layers.Dropout(0.5)(x)
    x = layers.Dense(7, activation="leaky_relu")(x)
    x = layers.Activation("relu")(x)
    return keras.Model(images, layers.Softmax()(layers.Dense(5)(x)))


def fit_and_save(model, x, y, few, folder: Path, name: str, batch: int, epochs: int = 1) -> None:
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x.astype(np.float32) / 255, y, batch_size=batch, epochs=epochs, verbose=0)
    save(model, few, 1 / 255, folder, name)


def save(model, images, scale: float, folder: Path, name: str) -> None:
    """Both formats without the state of the optimizer, and the probabilities of images * scale."""
    import keras

    plain = keras.models.clone_model(model)
    plain.set_weights(model.get_weights())
    stem = folder / f"{os.environ['KERAS_BACKEND']}-{name}"
    plain.save(f"{stem}.keras")
    plain.save(f"{stem}.h5")
    probs = np.asarray(plain.predict(images.astype(np.float32) * np.float32(scale), verbose=0))
    np.savez(f"{stem}.npz", images=images, probs=probs, scale=scale)


if __name__ == "__main__":
    main()
