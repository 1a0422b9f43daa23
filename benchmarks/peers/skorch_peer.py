"""The lesson in skorch, set as its documentation's page on performance says."""

import time

import numpy
import skorch
import torch
from contest import Lesson, Outcome, contest, read_data, read_recipe
from skorch import NeuralNetClassifier
from torch.utils.data import TensorDataset
from torch_network import adam_arguments, build_network


def train(lesson: Lesson) -> Outcome:
    recipe = read_recipe(lesson)
    images, labels, test_images, test_labels = map(torch.from_numpy, read_data(lesson))
    images, test_images = images.movedim(-1, 1), test_images.movedim(-1, 1)
    torch.manual_seed(lesson.seed)
    validate_seconds = 0.0
    epoch_seconds = []
    started = time.perf_counter()
    examples = TensorDataset(images, labels)
    net = NeuralNetClassifier(
        build_network(recipe, images.shape[1:], n_classes=int(labels.max()) + 1),
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        **{f"optimizer__{name}": value for name, value in adam_arguments(recipe).items()},
        iterator_train__shuffle=True,
        train_split=None,
        callbacks="disable",
        verbose=0,
        max_epochs=1,
        classes=range(int(labels.max()) + 1),
    )
    net.initialize()

    def predict(n: int, batch_size: int) -> numpy.ndarray:
        return net.set_params(batch_size=batch_size).predict_proba(test_images[:n])

    for _ in range(lesson.epochs):
        epoch_started = time.perf_counter()
        net.set_params(batch_size=recipe["batch_size"]).partial_fit(examples, None)
        validate_started = time.perf_counter()
        accuracy = (predict(len(test_images), 1000).argmax(1) == test_labels.numpy()).mean()
        epoch_seconds.append(validate_started - epoch_started)
        validate_seconds += time.perf_counter() - validate_started

    return Outcome(
        epoch_seconds=epoch_seconds,
        fit_seconds=time.perf_counter() - started - validate_seconds,
        test_accuracy=float(accuracy),
        versions={"skorch": skorch.__version__, "torch": torch.__version__, "numpy": numpy.__version__},
        n_test=len(test_images),
        predict=predict,
    )


if __name__ == "__main__":
    contest(train)
