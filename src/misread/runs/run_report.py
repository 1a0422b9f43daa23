"""The content of a run's report, gathered from the run."""

from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np

from misread.errors import MisreadError
from misread.messages import Message, recognised
from misread.report.content import Content, TrainingCurves, images_or_note
from misread.report.playground import Playground, smallest_model
from misread.runs.comparison import compare_predictions
from misread.runs.predictions import Predictions, confidence_content
from misread.runs.record import Environment, RunRecord
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
        notes.append(Message("note.no-validation", error=str(error)))
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
            notes.append(Message("note.no-causes", error=str(error)))
    return Content(
        title=Message("title.run", recipe=run.record.recipe, data=run.record.data.name),
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
    data, model, environment, timing = r.data, r.model, r.environment, r.timing
    height, width, channels = data.image_shape
    facts = [
        ("Data", Message("fact.data", name=data.name, train=data.n_train, val=data.n_val, test=data.n_test)),
        ("Images", Message("fact.grey" if channels == 1 else "fact.colour", height=str(height), width=str(width),
                           classes=len(data.class_names))),
        ("Validation", recognised(data.validation, "validation")),
        ("Data fingerprint", data.fingerprint[:12]),
        ("Recipe", _recipe_fact(r)),
        ("Network", Message("fact.network", parameters=Message("fact.parameters", n=model.parameters),
                            size=f"{model.bytes / 1e6:.2f}")),
        ("Seed", str(r.seed)),
        ("Engine", _engine_fact(r)),
        ("Machine", Message("fact.machine", cpu=environment.cpu, cores=Message("fact.cores", n=environment.cores),
                            device=environment.device, threads=_threads_fact(environment))),
        ("Time", Message("fact.time" if environment.workers == 1 else "fact.time-of-workers",
                         fit=f"{timing.fit_seconds:.2f}", total=f"{timing.total_seconds:.2f}")),
        ("Versions", f"misread {environment.misread}, torch {environment.torch}, numpy {environment.numpy}, "
                     f"Python {environment.python}; {environment.system}"),
        ("Trained", r.created),
    ]  # fmt: skip
    if b := run.recipe.backbone:
        key = "fact.fine-tuned" if b.fine_tune else "fact.frozen"
        facts.append(("Backbone", Message(key, name=b.name, sha256=b.sha256[:12])))
    if r.label_patch:
        notes = [recognised(note, "patch", "split") for note in r.label_patch.notes]
        joined = reduce(lambda first, second: Message("fact.sentences", first=first, second=second), notes)
        facts.append(("Label patch", joined))
    return facts


def _threads_fact(environment: Environment) -> Message:
    threads = Message("fact.threads", n=environment.threads)
    if environment.workers == 1:
        return threads
    return Message("fact.workers", n=environment.workers, threads=threads)


def _recipe_fact(record: RunRecord) -> Message:
    best = record.best_epoch
    return Message(
        "fact.recipe",
        recipe=record.recipe,
        epochs=Message("fact.epochs", n=record.epochs_trained),
        best=Message("fact.best", epoch=best) if best else "",
        status="" if record.status == "complete" else Message("fact.interrupted"),
    )


def _engine_fact(record: RunRecord) -> Message:
    engine = record.engine
    if not engine.note:
        return Message("fact.engine", name=engine.name, precision=engine.precision)
    return Message(
        "fact.engine-note", name=engine.name, precision=engine.precision, note=recognised(engine.note, "engine")
    )


def _facts_of_second(run: StoredRun, second: StoredRun) -> list[tuple[str, str]]:
    r = second.record
    same = r.data.fingerprint == run.record.data.fingerprint
    fact = Message(
        "fact.second",
        folder=second.folder.name,
        recipe=r.recipe,
        data=Message("fact.same-data") if same else Message("fact.other-data", name=r.data.name),
        epochs=Message("fact.epochs", n=r.epochs_trained),
        seed=str(r.seed),
        engine=r.engine.name,
        fit=f"{r.timing.fit_seconds:.2f}",
        created=r.created,
    )
    return [("Compared with", fact)]
