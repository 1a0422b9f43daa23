"""`misread evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from misread.cli import options
from misread.cli.keras import check_run_options, is_keras, open_model
from misread.cli.output import interval_text, print_json, print_lines, print_table, warn, write_file
from misread.cli.runs import find_run
from misread.errors import RunError

if TYPE_CHECKING:
    from misread.analysis.calibration import Calibration
    from misread.analysis.conformal import ConformalSets
    from misread.analysis.risk_coverage import RiskCoverage
    from misread.data.image_set import ImageSet
    from misread.figures.style import Picture
    from misread.lab.keras_file import KerasModel
    from misread.runs.predictions import Predictions
    from misread.runs.run import Run

PAIRS = 10  # of confused classes, beside the table of classes


def evaluate(
    run: options.Model,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA", help="Other data; the run's own by default. Needed with a Keras model.", show_default=False
        ),
    ] = None,
    split: options.Split = "test",
    per_class: Annotated[
        bool, typer.Option("--per-class", help="Recall, precision and F1 of each class, and the most confused pairs.")
    ] = False,
    calibration: Annotated[
        bool,
        typer.Option("--calibration", help="Temperature scaling, risk against coverage, prediction sets."),
    ] = False,
    error_level: Annotated[float, typer.Option(help="The share of prediction sets that may miss the label.")] = 0.01,
    figures: Annotated[
        Path | None, typer.Option(help="Write all pictures into this folder.", show_default=False)
    ] = None,
    labels: options.Labels = None,
    scaling: options.Scaling = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Score a run: loss, accuracy with its interval, misread images. With options, also classes and confidence."""
    from misread.runs.progress import accuracy_line

    opened, predictions, used, notes = _predict(run, data, split, scaling, device)
    result = opened.scores(predictions, used)
    if labels:
        result |= opened.fixed_scores(predictions, used, labels)
    calibrated, sets, calibration_set = None, None, None
    if calibration or figures or json:
        calibration_set = _calibration_set(opened, used, split)
        calibrated = predictions.calibration(calibration_set)
        # if there are too few images to split for the one, there are too few for the other
        sets = predictions.conformal(error_level, calibration_set) if calibrated.scaling else None
    written = _draw(predictions.figures(calibration_set), figures) if figures else []
    if json:
        print_json(
            {
                **result,
                "confusion": predictions.confusion().to_dict(),
                "per_class": predictions.per_class().to_dict(),
                "calibration": calibrated.to_dict() if calibrated else None,
                "risk_coverage": predictions.risk_coverage().to_dict(),
                "conformal": sets.to_dict() if sets else None,
            }
        )
        warn(*written)
        return
    print_lines(f"{predictions.name}, split {result['split']}", *notes)
    _print_headline(result, predictions)
    if warnings := predictions.accuracy_warnings():
        print_lines("", *warnings)
    if labels:
        print_lines("", f"On the fixed labels: {accuracy_line(result['fixed'])}", *result["label_patch"]["notes"])
    if per_class:
        _print_classes(predictions)
    if calibration and calibrated:
        _print_calibration(calibrated, predictions.risk_coverage(), sets)
    if written:
        print_lines("", *written)


def _predict(
    run: Path, data: str | None, split: str, scaling: str | None, device: str
) -> "tuple[Run | KerasModel, Predictions, ImageSet, list[str]]":
    """The run or Keras model, its predictions, the data that they are of, and what to know before reading scores."""
    from misread.runs.run import open_run

    if is_keras(run):
        model = open_model(run, data, scaling)
        return model, *model.predict_on(str(data), split), model.notes()
    check_run_options(None, scaling)
    opened = open_run(find_run(run), device=device)
    predictions, used = opened.predict_on(data, split)
    return opened, predictions, used, _notes(opened, used, split)


def _calibration_set(model: "Run | KerasModel", used: "ImageSet", split: str) -> "Predictions | None":
    """Predictions to fit calibration on: by a run only if the images are of its own data."""
    from misread.runs.run import Run

    if not isinstance(model, Run):
        return model.calibration_set(used, split)
    return model.calibration_set(split) if used.fingerprint == model.record.data.fingerprint else None


def _notes(run: "Run", used: "ImageSet", split: str) -> list[str]:
    """What to know about the images before reading the scores."""
    recorded = run.record.data
    if used.fingerprint != recorded.fingerprint:
        return [
            f"Note: this is not the data of the run ({recorded.name}, fingerprint {recorded.fingerprint[:12]}) but "
            f"other data (fingerprint {used.fingerprint[:12]})."
        ]
    if split == "train":
        return ["Note: the run was trained on these images; the accuracy says nothing of new ones."]
    return []


def _print_headline(result: dict[str, Any], predictions: "Predictions") -> None:
    from misread.analysis.calibration import expected_calibration_error

    lines = [
        f"Loss        {result['loss']:.4f}",
        f"Accuracy    {result['accuracy']:.2%}  (95% interval "
        f"{interval_text(result['accuracy_low'], result['accuracy_high'])})",
    ]
    lines += [f"Top-{key.split('_')[1]:<8}{value:.2%}" for key, value in result.items() if key.startswith("top_")]
    lines.append(f"By class    {result['balanced_accuracy']:.2%} balanced accuracy, {result['macro_f1']:.2%} macro F1")
    lines.append(f"Misread     {result['misread']:,} of {result['n']:,}")
    ece = expected_calibration_error(predictions.labels, predictions.probs)
    lines.append(f"Confidence  {predictions.confidence.mean():.2%} on average; calibration error (ECE) {ece:.2%}")
    pairs = predictions.confusion().to_dict()["pairs"][:3]
    if pairs:
        listed = ", ".join(f"{p['label']} as {p['prediction']} ({p['n']:,})" for p in pairs)
        lines.append(f"Confused    {listed}")
    print_lines(*lines)


def _print_classes(predictions: "Predictions") -> None:
    def share(value: float | None) -> str:
        return "" if value is None else f"{value:.2%}"

    found = predictions.per_class().to_dict()
    rows = [
        [c["class"], f"{c['support']:,}", share(c["recall"]), interval_text(c["recall_low"], c["recall_high"]),
         f"{c['predicted']:,}", share(c["precision"]), interval_text(c["precision_low"], c["precision_high"]),
         share(c["f1"])]
        for c in found["classes"]
    ]  # fmt: skip
    means = found["means"]
    rows.append(["(mean)", "", share(means["recall"]), "", "", share(means["precision"]), "", share(means["f1"])])
    print_lines("")
    print_table(
        ["Class", "Images", "Recall", "95% interval", "Read as it", "Precision", "95% interval", "F1"], rows,
        right=(1, 2, 3, 4, 5, 6, 7),
    )  # fmt: skip
    pairs = predictions.confusion().to_dict()["pairs"]
    pair_rows = [
        [
            p["label"],
            p["prediction"],
            f"{p['n']:,}",
            f"{p['share']:.2%}",
            interval_text(p["share_low"], p["share_high"]),
        ]
        for p in pairs[:PAIRS]
    ]
    print_lines("", f"Most confused ({min(PAIRS, len(pairs))} of {len(pairs)} pairs)")
    print_table(["Label", "Read as", "Images", "Of the label", "95% interval"], pair_rows, right=(2, 3, 4))


def _print_calibration(calibrated: "Calibration", curve: "RiskCoverage", sets: "ConformalSets | None") -> None:
    print_lines("", "When the least certain images are left to a person")
    rows = [
        [f"{1 - c['asked']:.1%}", f"{c['left']:,}", f"{c['threshold']:.4f}", f"{c['misread']:,} of {c['n']:,}",
         f"{c['error']:.2%}", interval_text(c["error_low"], c["error_high"])]
        for c in curve.to_dict()["table"]
    ]  # fmt: skip
    header = ["Left", "Images", "Confidence from", "Misread of the rest", "Error", "95% interval"]
    print_table(header, rows, right=range(6))
    if calibrated.scaling is None or sets is None:
        print_lines("", "Too few images to fit a temperature or prediction sets on some and measure on others.")
        return
    s = calibrated.scaling
    bound = "; the images fitted on do not determine it: all or none were read right" if s.at_bound else ""
    few = sets.n_fitted < sets.needed
    small = f" (needs {sets.needed:,} images to fit on; with fewer, every set holds all classes)" if few else ""
    sizes = ", ".join(f"{size} in {n:,}" for size, n in enumerate(sets.sizes) if n)
    print_lines(
        "",
        f"Fitted on {s.n_fitted:,} images ({s.fitted_on}), measured on {s.n:,} ({s.measured_on})",
        f"Temperature      {s.temperature:.3f}{bound}",
        f"  ECE            {s.ece_before:.2%} before, {s.ece_after:.2%} after",
        f"  Loss           {s.loss_before:.4f} before, {s.loss_after:.4f} after",
        f"Prediction sets  error level {sets.error_level:.3g}{small}",
        f"  Hold the label {sets.coverage:.2%}  (95% interval {interval_text(sets.coverage_low, sets.coverage_high)})",
        f"  Classes        {sets.mean_size:.3f} on average: {sizes} sets",
    )


def _draw(pictures: "dict[str, Picture]", folder: Path) -> list[str]:
    """Write the pictures; returns a line for each. Raises RunError: they cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder} cannot be written: {error.strerror}.") from None
    for name, picture in pictures.items():
        write_file(folder / f"{name}.png", picture.save)
    return [f"Picture: {folder / name}.png" for name in pictures]
