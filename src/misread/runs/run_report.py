"""The content of a run's report, gathered from the run."""

from collections.abc import Callable, Sequence

import numpy as np

from misread.errors import MisreadError
from misread.report.content import Content, TrainingCurves, images_or_note
from misread.report.page import plural
from misread.report.playground import Playground, smallest_model
from misread.runs.comparison import compare_predictions
from misread.runs.predictions import Predictions, confidence_content
from misread.runs.stored_run import StoredRun

Progress = Callable[[str], None]

PLAYGROUND_MISREAD, PLAYGROUND_RIGHT = 48, 24  # images in a page without a server
PLAYGROUND_CHECKED = 200  # images that the rounding of the weights is measured on


def run_content(
    predictions: Predictions,
    run: StoredRun,
    calibration_set: Callable[[], Predictions | None],
    *,
    second: Predictions | None = None,
    others: Sequence[StoredRun] = (),
    causes: bool = True,
    playground: bool = False,
    progress: Progress = lambda line: None,
) -> Content:
    """The whole analysis of predictions by a run.

    calibration_set: called for the images that methods are fitted on; None if there are none.
    second:   a second run's predictions of the same images; the page then has a comparison.
    others:   runs on the same data whose predictions are evidence for causes.
    causes:   whether to find the causes; it takes seconds and needs the training images.
    playground: whether the page gets the rooms Draw and Look inside, with the network in it.
    progress: called with a line before each step that takes long.
    Raises RunError or DataError: the network cannot run in a page, the second run cannot be compared, another run
    may have trained on these images.
    """
    comparison = compare_predictions(predictions, second) if second else None
    images, notes = images_or_note(predictions)
    progress("Measuring confidence ...")
    try:
        fitted_on = calibration_set()
    except MisreadError as error:  # the validation images are gone; half of the test split has to do
        notes.append(f"Temperature and prediction sets are fitted on one half of the test split: {error}")
        fitted_on = None
    confidence = confidence_content(predictions, fitted_on)
    explanation = None
    if causes and predictions.misread.any():
        progress(f"Finding why {predictions.misread.sum():,} images were misread ...")
        try:
            explanation = predictions.misreads.explanation(*others)
        except MisreadError as error:
            if others:
                raise
            notes.append(f"Without causes: {error}")
    return Content(
        title=f"{run.record.recipe} on {run.record.data.name}",
        subtitle=run.folder.name,
        scored=predictions,
        images=images,
        notes=notes,
        confidence=confidence,
        explanation=explanation,
        second=comparison.content() if comparison else None,
        training=TrainingCurves(run.history, run.history.validation),
        playground=_playground(predictions, run) if playground else None,
        facts=_facts(run) + (_facts_of_second(run, second.run) if second and second.run else []),
    )


def _playground(predictions: Predictions, run: StoredRun) -> Playground:
    """The network, the most confident mistakes and a sample of the images that were read right."""
    right = np.flatnonzero(~predictions.misread)
    sample = right[np.linspace(0, len(right) - 1, min(PLAYGROUND_RIGHT, len(right))).astype(int)]
    chosen = np.concatenate([predictions.misread_positions[:PLAYGROUND_MISREAD], sample])
    few = predictions.take(chosen)
    checked = np.linspace(0, len(predictions) - 1, min(PLAYGROUND_CHECKED, len(predictions))).astype(int)
    images = np.asarray(predictions.images[checked])
    record = run.record.data
    return Playground(
        smallest_model(lambda precision: run.model_file(precision, images)),
        np.asarray(few.images),
        few.labels,
        few.rows,
        None if few.files is None else list(few.files),
        {
            "id": "report",
            "name": run.folder.name,
            "data": {"name": record.name, "class_names": record.class_names, "image_shape": record.image_shape,
                     "n_test": len(chosen)},
            "splits": ["test"],
        },
    )  # fmt: skip


def _facts(run: StoredRun) -> list[tuple[str, str]]:
    """The conditions of the numbers: (name, value)."""
    r = run.record
    data, model, environment, engine, timing = r.data, r.model, r.environment, r.engine, r.timing
    height, width, channels = data.image_shape
    status = "" if r.status == "complete" else ", interrupted by hand"
    best = f", weights of epoch {r.best_epoch}" if r.best_epoch else ""
    facts = [
        ("Data", f"{data.name}: {data.n_train:,} training, {data.n_val:,} validation, {data.n_test:,} test images"),
        ("Images", f"{height} × {width}, {'grey' if channels == 1 else 'colour'}; {len(data.class_names):,} classes"),
        ("Validation", data.validation),
        ("Data fingerprint", data.fingerprint[:12]),
        ("Recipe", f"{r.recipe}, {plural(r.epochs_trained, 'epoch')}{best}{status}"),
        ("Network", f"{plural(model.parameters, 'parameter')}, {model.bytes / 1e6:.2f} MB"),
        ("Seed", str(r.seed)),
        ("Engine", f"{engine.name}, {engine.precision}" + (f" ({engine.note})" if engine.note else "")),
        ("Machine", f"{environment.cpu}, {plural(environment.cores, 'core')}; {environment.device}, "
                    f"{plural(environment.threads, 'thread')}"),
        ("Time", f"{timing.fit_seconds:.2f} s training, {timing.total_seconds:.2f} s in all"),
        ("Versions", f"misread {environment.misread}, torch {environment.torch}, numpy {environment.numpy}, "
                     f"Python {environment.python}; {environment.system}"),
        ("Trained", r.created),
    ]  # fmt: skip
    if b := run.recipe.backbone:
        trained = "fine-tuned" if b.fine_tune else "frozen"
        facts.append(("Backbone", f"{b.name}, {trained}, SHA-256 {b.sha256[:12]}"))
    return facts + ([("Label patch", " ".join(r.label_patch.notes))] if r.label_patch else [])


def _facts_of_second(run: StoredRun, second: StoredRun) -> list[tuple[str, str]]:
    r = second.record
    data = "the same data" if r.data.fingerprint == run.record.data.fingerprint else f"other data, {r.data.name}"
    facts = f"{r.recipe} on {data}, {plural(r.epochs_trained, 'epoch')}, seed {r.seed}, engine {r.engine.name}, "
    return [("Compared with", f"B: {second.folder.name}, {facts}{r.timing.fit_seconds:.2f} s training, {r.created}")]
