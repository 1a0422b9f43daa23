"""The lesson in misread, through its Python front door: the run folder with its pictures is written as always."""

import tempfile

import numpy
import torch
from contest import Lesson, Outcome, contest

import misread


def train(lesson: Lesson) -> Outcome:
    with tempfile.TemporaryDirectory() as out:
        run = misread.train(
            misread.load(lesson.data),
            lesson.recipe,
            seed=lesson.seed,
            epochs=lesson.epochs,
            out=out,
            device="cpu",
            progress=False,
        )
        return Outcome(
            epoch_seconds=[float(s) for s in run.history["seconds"]],
            fit_seconds=run.record.timing.fit_seconds,
            test_accuracy=run.metrics["test"]["accuracy"],
            versions={"misread": misread.__version__, "torch": torch.__version__, "numpy": numpy.__version__},
        )


if __name__ == "__main__":
    contest(train)
