"""The lesson in misread, through its Python front door: the run folder with its pictures is written as always."""

import tempfile

import numpy as np
import torch
from contest import Lesson, Outcome, contest, in_batches

import misread


def train(lesson: Lesson) -> Outcome:
    data = misread.load(lesson.data)
    with tempfile.TemporaryDirectory() as out:
        run = misread.train(
            data,
            lesson.recipe,
            seed=lesson.seed,
            epochs=lesson.epochs,
            settings=lesson.settings,
            out=out,
            device="cpu",
            progress=False,
        )
        epoch_seconds = [float(s) for s in run.history["seconds"]]
    engine = run.record.engine
    return Outcome(
        epoch_seconds=epoch_seconds,
        fit_seconds=run.record.timing.fit_seconds,
        test_accuracy=run.metrics["test"]["accuracy"],
        versions={"misread": misread.__version__, "torch": torch.__version__, "numpy": np.__version__},
        n_test=len(data.test),
        predict=in_batches(run.predict, data.test.images),
        note=f"trained by {engine.name} in {engine.precision} {engine.note}".strip(),
    )


if __name__ == "__main__":
    contest(train)
