"""The model card of a run, `README.md` in its folder: what the network is, how well it reads, and where it fails.

The YAML header has the fields of the Hugging Face Hub's model cards (huggingface.co/docs/hub/model-cards).
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from misread.analysis.calibration import expected_calibration_error
from misread.analysis.confusion import confused_pairs, confusion_counts
from misread.analysis.per_class import per_class_table
from misread.analysis.scored import Scored
from misread.data.load import EMBEDDED
from misread.data.named import NAMED
from misread.files import write_text
from misread.runs import run_folder
from misread.runs.record import RunRecord
from misread.training.recipe import Recipe

OPENED = 'misread.open_run("FOLDER")  # the folder of this file'
OURS = "<!-- Written by misread. Remove this line to keep your changes: misread then leaves this file as it is. -->"
HUB_DATA = {"mnist": "ylecun/mnist", "fashion-mnist": "zalando-datasets/fashion_mnist"}  # where the Hub has the data
PAIRS, CLASSES = 5, 30  # lines of the tables
SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\`*_{}[]|~#!$:@"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"})


def write_card(folder: Path, text: str) -> bool:
    """Write the card of a run, unless somebody has made it theirs. Returns whether it was written.

    Raises OSError: the file cannot be written.
    """
    path = folder / run_folder.CARD
    if path.is_file() and OURS not in path.read_text(encoding="utf-8", errors="replace"):
        return False
    write_text(path, text)
    return True


def card_on_hub(text: str, address: str) -> str:
    """A card that opens the run from an address on the Hub instead of from a folder."""
    return text.replace(OPENED, f'misread.open_run("{address}")  # needs misread[hub]').replace(
        '"FOLDER"', f'"{address}"'
    )


def card_text(
    record: RunRecord, recipe: Recipe, scored: Scored, *, causes: pd.Series | None = None, picture: bool = True
) -> str:
    """The card as Markdown. Names that come from the data are escaped.

    scored:  the test split. causes: of each misread image, if they are known.
    picture: whether the run folder has the picture of misread images.
    """
    title = f"{_text(record.recipe)} on {_text(record.data.name)}"
    sections = [
        f"# {title}\n\n{OURS}\n\n{_introduction(record)}",
        f"## Accuracy\n\n{_accuracy(record, scored)}",
        f"## Where it fails\n\n{_failures(scored, causes, picture)}",
        f"## Data\n\n{_data(record)}",
        f"## Training\n\n{_training(record, recipe)}",
        f"## How it was measured\n\n{_measured(record)}",
        f"## Use\n\n{_use(record, recipe)}",
        f"## Limits\n\n{_limits(record, scored)}",
    ]
    return _header(record) + "\n" + "\n\n".join(sections) + "\n"


def _header(record: RunRecord) -> str:
    test, name = record.metrics["test"], f"{record.recipe} on {record.data.name}"
    known = HUB_DATA.get(record.data.source)
    lines = ["---", "library_name: misread", "pipeline_tag: image-classification", "tags:", "- misread",
             "- image-classification"]  # fmt: skip
    lines += ["datasets:", f"- {known}"] if known else []
    metrics = {"accuracy": "Accuracy", "balanced_accuracy": "Balanced accuracy", "macro_f1": "Macro F1"}
    lines += ["metrics:", "- accuracy", "model-index:", f"- name: {_yaml(name)}", "  results:"]
    lines += ["  - task:", "      type: image-classification", "    dataset:"]
    lines += [f"      name: {_yaml(record.data.name)}", f"      type: {_yaml(known or record.data.name)}"]
    lines += ["      split: test", "    metrics:"]
    for key, title in metrics.items():
        if key in test:
            kind = "f1" if key == "macro_f1" else "accuracy"
            lines += [f"    - type: {kind}", f"      name: {title}", f"      value: {test[key]:.6g}"]
    return "\n".join([*lines, "---", ""])


def _introduction(record: RunRecord) -> str:
    height, width, channels = record.data.image_shape
    colour = "grey" if channels == 1 else "colour"
    ended = "" if record.status == "complete" else " Its training was interrupted; these are the weights so far."
    return (
        f"A classifier of {colour} images of {height}×{width} pixels into {len(record.data.class_names):,} classes, "
        f"with {record.model.parameters:,} parameters.{ended}"
    )


def _accuracy(record: RunRecord, scored: Scored) -> str:
    test, fixed = record.metrics["test"], record.metrics.get("test_fixed")
    lines = [_score(test, "test images")]
    if fixed:
        lines.append(f"With the labels that its label patch fixed: {_score(fixed, 'test images')}")
    if len(scored):
        ece = expected_calibration_error(scored.labels, scored.probs)
        lines.append(
            f"Calibration: the mean confidence is {scored.confidence.mean():.2%}, and the expected calibration error "
            f"is {ece:.2%} (0 is best)."
        )
    counts = confusion_counts(scored.labels, scored.predicted, len(scored.class_names))
    table = per_class_table(counts, scored.class_names).sort_values("recall", kind="stable")
    rows = [
        (_text(r["class"]), f"{r.support:,}", _share(r.recall), f"{r.recall_low:.1%} to {r.recall_high:.1%}",
         _share(r.precision))
        for _, r in table.head(CLASSES).iterrows()
    ]  # fmt: skip
    which = "" if len(table) <= CLASSES else f" The {CLASSES} classes of lowest recall, of {len(table):,}."
    lines.append(f"By class, the lowest recall first; the interval is the recall's.{which}")
    return "\n\n".join([*lines, _table(("class", "images", "recall", "95% interval", "precision"), rows)])


def _score(test: dict[str, float | int], images: str) -> str:
    return (
        f"**{test['accuracy']:.2%}** of {test['n']:,} {images} are read right (95% interval "
        f"{test['accuracy_low']:.2%} to {test['accuracy_high']:.2%}); {test['misread']:,} are misread."
    )


def _failures(scored: Scored, causes: pd.Series | None, picture: bool) -> str:
    counts = confusion_counts(scored.labels, scored.predicted, len(scored.class_names))
    pairs = confused_pairs(counts, scored.class_names).head(PAIRS)
    if not len(pairs):
        return "No test image was misread. Other images will be."
    rows = [(_text(str(r.label)), _text(str(r.prediction)), f"{r.n:,}", f"{r.share:.1%}") for r in pairs.itertuples()]
    parts = [
        "The pairs of classes that it confuses most:",
        _table(("label", "read as", "images", "of the label's"), rows),
    ]
    if causes is not None and len(causes):
        found = causes.value_counts()
        parts.append("Why, as far as misread can tell:")
        parts.append(_table(("cause", "images"), [(_text(str(cause)), f"{n:,}") for cause, n in found.items()]))
    if picture:
        parts.append(f"![Some of the misread images]({run_folder.FIGURES}/misreads.png)")
    parts.append(f"All of them: `{run_folder.misreads_file('test')}`.")
    return "\n\n".join(parts)


def _data(record: RunRecord) -> str:
    data = record.data
    named = NAMED.get(data.source)
    if named:
        what = f"{_text(named.title)}. Licence: {_text(named.licence)}."
    elif data.source == EMBEDDED:
        what = "scikit-learn's copy of the UCI digits (Alpaydin and Kaynak 1998), made 28×28. Licence: CC BY 4.0 (UCI)."
    else:
        what = f"{_text(data.name)}. Its licence is not known to misread."
    carved = " misread carved the test images from the training images, by a fixed seed." if data.carved_test else ""
    lines = [
        f"- {what}",
        f"- {data.n_train:,} training, {data.n_val:,} validation and {data.n_test:,} test images.{carved}",
        f"- Validation images: {_text(data.validation)}.",
        f"- Fingerprint: `{data.fingerprint}`",
    ]
    if record.label_patch:
        lines.append(f"- Label patch: {record.label_patch.fixes:,} fixes, SHA-256 `{record.label_patch.sha256}`")
    return "\n".join(lines)


def _training(record: RunRecord, recipe: Recipe) -> str:
    spec, augmentation = recipe.optimizer, recipe.augmentation
    lines = [
        f"- Recipe {_text(recipe.name)}, every setting: `{run_folder.RECIPE}`",
        f"- {record.epochs_trained:,} epochs, batches of {recipe.batch_size:,}, {spec.name} with learning rate "
        f"{spec.learning_rate:g}, schedule {recipe.schedule.name}, seed {record.seed}",
        f"- Augmentation: {augmentation or 'none'}",
        f"- Network: {_text(record.model.network)}, {record.model.parameters:,} parameters, "
        f"{record.model.bytes / 1e6:.2f} MB" + (f", {recipe.members} members" if recipe.members > 1 else ""),
    ]
    if recipe.backbone:
        kind = "fine-tuned" if recipe.backbone.fine_tune else "frozen"
        lines.append(f"- Backbone: {_text(recipe.backbone.name)}, {kind}, SHA-256 `{recipe.backbone.sha256}`")
    if record.stopped:
        lines.append(f"- Ended early: {_text(record.stopped)}")
    return "\n".join(lines)


def _measured(record: RunRecord) -> str:
    env, engine, timing = record.environment, record.engine, record.timing
    workers = f"; {env.workers} workers, whose times are added up" if env.workers > 1 else ""
    return (
        f"Every test image was predicted once by the final weights; nothing was chosen on the test split by misread. "
        f"Intervals are Wilson's. Training took {timing.fit_seconds:.1f} s on {_text(env.cpu)} "
        f"({_text(env.device)}, threads: {env.threads}{workers}), computed by {engine.name} in {engine.precision}, "
        f"with misread {env.misread}, PyTorch {env.torch} and Python {env.python}, on {record.created}."
    )


def _use(record: RunRecord, recipe: Recipe) -> str:
    code = ["import misread", "", f"run = {OPENED}"]
    if record.model.network != "recipe":
        code[2] = 'run = misread.open_run("FOLDER", network=network)  # an untrained module of the same class'
    code.append('run.predict_file("picture.png")  # every class with its probability, the most probable first')
    return "\n".join(["```python", *code, "```"])


def _limits(record: RunRecord, scored: Scored) -> str:
    lines = [
        "- The accuracy holds for images like the test images. Photographs from another source are read less well.",
        "- The network names one of its classes for every image, also for one that shows none of them.",
        "- The interval is about the choice of test images. Another seed gives another network.",
    ]
    return "\n".join(lines + [f"- {_text(line)}" for line in scored.accuracy_warnings()])


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _share(value: float) -> str:
    return "–" if value != value else f"{value:.1%}"  # NaN: no images


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def _text(text: str) -> str:
    """Text in Markdown that shows as it is."""
    return _printable(text).translate(SPECIAL)


def _yaml(text: str) -> str:
    """A YAML string: JSON's form is one, without characters that YAML does not allow."""
    return json.dumps(_printable(text), ensure_ascii=False)
