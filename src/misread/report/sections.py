"""What is on a page: the analysis of a run, of predictions from anywhere, or a comparison of two."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from misread.analysis.causes import Cause
from misread.analysis.comparison import BOTH, BROKEN, FIXED, Comparison
from misread.analysis.confusion import Confusion
from misread.analysis.coverage import coverage_table
from misread.analysis.label_issues import flagged_issues, label_issues, suggested_labels
from misread.analysis.predictions import Predictions
from misread.analysis.records import records
from misread.errors import DataError, MisreadError
from misread.report import diagrams
from misread.report.items import Items
from misread.report.page import Page, plural

if TYPE_CHECKING:
    from misread.analysis.calibration import Calibration
    from misread.analysis.conformal import ConformalSets
    from misread.data.mapped_images import Images
    from misread.runs.run import Run

DOUBTFUL = 60  # labels to be decided on; `misread labels` lists as many as wanted
MATRIX = 24  # classes of which a matrix can still be read; with more it is a map of squares
PAIRS = 12  # confused classes beside it
STEPS = 100  # of the slider
ERROR_LEVEL = 0.01

Progress = Callable[[str], None]


def silent(_line: str) -> None:
    """No progress."""


def predictions_page(predictions: Predictions) -> Page:
    """The analysis of predictions from anywhere. Raises DataError: there are none."""
    page = Page(predictions.name or "Predictions", f"{len(predictions):,} images, {predictions.split}")
    items = Items(predictions, _images(predictions, page))
    _add_analysis(page, items, predictions, predictions.calibration(), _conformal(predictions, None))
    page.sections["facts"] = [
        ("Images", f"{len(predictions):,} of {len(predictions.class_names):,} classes, split {predictions.split}"),
        ("Predicted by", predictions.name or "another program; only labels and probabilities were given"),
    ]
    _finish(page, items, predictions)
    return page


def comparison_page(comparison: Comparison) -> Page:
    """Only what two sets of predictions have to do with each other."""
    a, b = comparison.names
    page = Page(f"{a} → {b}", comparison.title)
    source = comparison.a if comparison.a.has_images else comparison.b
    items = Items(comparison.a, _images(source, page), comparison.b)
    _add_comparison(page, items, comparison)
    page.sections["facts"] = [
        (name, _scored(predictions)) for name, predictions in ((f"A: {a}", comparison.a), (f"B: {b}", comparison.b))
    ]
    _finish(page, items, comparison.a)
    return page


def run_page(
    run: "Run",
    *,
    compare: "Run | None" = None,
    others: Sequence["Run"] = (),
    causes: bool = True,
    progress: Progress = silent,
) -> Page:
    """The whole analysis of a run's test split.

    compare:  a second run; what it mends and breaks of this one's is then on the page too.
    others:   runs on the same data whose agreement counts in causes.
    causes:   whether to say why images were misread; it takes seconds, and needs the training images.
    progress: is told a line for whatever takes long.
    Raises RunError or DataError: another run cannot be compared, or cannot judge these images.
    """
    from misread.runs.compare import compare as compare_runs

    predictions = run.predictions()
    comparison = compare_runs(run, compare) if compare else None
    page = Page(f"{run.record.recipe} on {run.record.data.name}", run.folder.name)
    items = Items(predictions, _images(predictions, page), comparison.b if comparison else None)
    progress("Measuring confidence ...")
    _add_analysis(page, items, predictions, *_confidence(run, predictions, page))
    if causes and page.data["misreads"]:
        progress(f"Finding why {len(page.data['misreads']):,} images were misread ...")
        _add_causes(page, items, run, others)
    if comparison:
        _add_comparison(page, items, comparison)
    page.sections["training"] = _training(run)
    page.sections["facts"] = _facts(run) + (_facts_of_other(run, compare) if compare else [])
    _finish(page, items, predictions)
    return page


def _images(predictions: Predictions, page: Page) -> "Images | None":
    """The predicted images; where they cannot be had the page says so and goes without."""
    if not predictions.has_images:
        page.notes.append("These predictions came without images, so the page has no pictures.")
        return None
    try:
        return predictions.images
    except MisreadError as error:
        page.notes.append(f"Without pictures: {error}")
        return None


def _confidence(run: "Run", predictions: Predictions, page: Page) -> "tuple[Calibration, ConformalSets | None]":
    try:
        fit_on = run.validation_for()
    except MisreadError as error:  # the validation images are gone; half of the test split has to do
        page.notes.append(f"Temperature and prediction sets are fitted on one half of the test split: {error}")
        fit_on = None
    return predictions.calibration(fit_on), _conformal(predictions, fit_on)


def _conformal(predictions: Predictions, fit_on: Predictions | None) -> "ConformalSets | None":
    try:
        return predictions.conformal(ERROR_LEVEL, fit_on)
    except DataError:  # too few images to hold some back
        return None


def _add_analysis(
    page: Page, items: Items, predictions: Predictions, calibration: "Calibration", sets: "ConformalSets | None"
) -> None:
    sections = page.sections
    metrics = predictions.metrics()
    sections["headline"] = metrics
    sections["confusion"] = _confusion(predictions.confusion())
    sections["classes"] = predictions.per_class().to_dict()
    positions = np.flatnonzero(predictions.misread)
    positions = positions[np.lexsort((predictions.rows[positions], -predictions.confidence[positions]))]
    page.data["misreads"] = items.add(positions)
    sections["gallery"] = len(positions) or None
    sections["confidence"] = _confidence_section(page, predictions, calibration, sets)
    if items.have_images:
        _add_doubtful(page, items, predictions)


def _confusion(confusion: Confusion) -> dict[str, Any]:
    found = confusion.to_dict()
    counts, names = found["counts"], found["class_names"]
    wrong = [n for i, row in enumerate(counts) for j, n in enumerate(row) if i != j]
    index = {name: k for k, name in enumerate(names)}
    pairs = [{**pair, "from": index[pair["label"]], "to": index[pair["prediction"]]} for pair in found["pairs"]]
    return {
        "names": names,
        "counts": counts,
        "most": max(wrong, default=0) or 1,
        "pairs": pairs[:PAIRS],
        "n_pairs": len(pairs),
        "map": diagrams.heat_map(counts, names) if len(names) > MATRIX and pairs else None,
        "readable": len(names) <= MATRIX,
    }


def _confidence_section(
    page: Page, predictions: Predictions, calibration: "Calibration", sets: "ConformalSets | None"
) -> dict[str, Any]:
    coverage = predictions.coverage()
    limit = 0.1 if predictions.misread.mean() < 0.05 else 0.5
    steps = coverage_table(coverage.curve, tuple(1 - limit * i / STEPS for i in range(STEPS + 1)))
    diagram, places = diagrams.coverage_diagram(coverage.curve, steps, limit)
    columns = ("left", "n", "misread", "threshold", "error", "error_low", "error_high")
    page.data["coverage"] = [
        {**line, **place} for line, place in zip(records(steps[list(columns)]), places, strict=True)
    ]
    return {
        "calibration": calibration,
        "bins": calibration.to_dict()["bins"],
        "reliability": diagrams.reliability_diagram(calibration),
        "coverage": diagram,
        "limit": limit,
        "table": coverage.to_dict()["table"],
        "sets": sets,
    }


def _add_doubtful(page: Page, items: Items, predictions: Predictions) -> None:
    """The first labels for which something else is suggested."""
    labels, probs = predictions.labels, predictions.probs.astype(np.float64)
    suggested, flagged = suggested_labels(labels, probs), flagged_issues(labels, probs)
    order = label_issues(labels, probs)
    order = order[suggested[order] != labels[order]]
    shown = order[:DOUBTFUL]
    page.data["doubtful"] = [
        {"item": place, "suggested": int(suggested[p]), "doubt": float(f"{probs[p, labels[p]]:.6g}")}
        for place, p in zip(items.add(shown), shown.tolist(), strict=True)
    ]
    if len(shown):
        page.sections["doubtful"] = {"shown": len(shown), "n": len(order), "flagged": int(flagged.sum())}


def _add_causes(page: Page, items: Items, run: "Run", others: Sequence["Run"]) -> None:
    try:
        explained = run.misreads.explain(*others)
    except MisreadError as error:
        if others:
            raise
        page.notes.append(f"Without causes: {error}")
        return
    items.explain(page.data["misreads"], explained)
    counts = explained.table["cause"].value_counts()
    page.sections["causes"] = [(str(cause), int(counts[cause])) for cause in Cause if cause in counts]


def _add_comparison(page: Page, items: Items, comparison: Comparison) -> None:
    found = comparison.to_dict()
    changes = comparison.changes
    page.data["changes"] = {
        name: items.add(changes.index[changes["change"] == change].to_numpy())
        for name, change in (("broken", BROKEN), ("fixed", FIXED), ("both", BOTH))
    }
    page.data["names"] = list(comparison.names)
    page.sections["comparison"] = {
        **{key: value for key, value in found.items() if key != "changes"},
        "right": comparison.n - len(changes),
    }


def _training(run: "Run") -> dict[str, Any] | None:
    history = run.history
    if history.empty:
        return None
    return {
        "rows": records(history),
        "validation": history.validation,
        "diagrams": diagrams.history_diagrams(history) if len(history) > 1 else [],
    }


def _facts(run: "Run") -> list[tuple[str, str]]:
    """What the numbers rest on: (name, value)."""
    r = run.record
    data, model, environment, engine, timing = r.data, r.model, r.environment, r.engine, r.timing
    height, width, channels = data.image_shape
    status = "" if r.status == "complete" else ", interrupted by hand"
    kept = f", weights of epoch {r.best_epoch} kept" if r.best_epoch else ""
    facts = [
        ("Data", f"{data.name}: {data.n_train:,} images trained, {data.n_val:,} validated, {data.n_test:,} tested"),
        ("Images", f"{height} × {width}, {'grey' if channels == 1 else 'colour'}; {len(data.class_names):,} classes"),
        ("Validation", data.validation),
        ("Data fingerprint", data.fingerprint[:12]),
        ("Recipe", f"{r.recipe}, {plural(r.epochs_trained, 'epoch')}{kept}{status}"),
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
    return facts + ([("Label patch", " ".join(r.label_patch.notes))] if r.label_patch else [])


def _facts_of_other(run: "Run", other: "Run") -> list[tuple[str, str]]:
    r = other.record
    trained = "the same data" if r.data.fingerprint == run.record.data.fingerprint else f"other data, {r.data.name}"
    said = f"{r.recipe} on {trained}, {plural(r.epochs_trained, 'epoch')}, seed {r.seed}, engine {r.engine.name}, "
    return [("Compared with", f"B: {other.folder.name}, {said}{r.timing.fit_seconds:.2f} s training, {r.created}")]


def _scored(predictions: Predictions) -> str:
    m = predictions.metrics()
    return f"{m['accuracy']:.2%} read right (95% interval {m['accuracy_low']:.2%} to {m['accuracy_high']:.2%})"


def _finish(page: Page, items: Items, predictions: Predictions) -> None:
    if items.album.left_out:
        page.notes.append(
            f"{items.album.left_out:,} pictures were left out, those of the nearest training images first, so that "
            "the page opens fast."
        )
    page.data |= {"classes": list(predictions.class_names), "items": items.lines, "pictures": items.album.pictures}
