"""What tests of pages share: predictions, names, what a page may not do, and reading what it shows."""

import base64
import io
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from misread import Predictions
from misread.analysis.calibration import reliability_table
from misread.messages import Message
from misread.report.job_content import Doubt, FailedShard, JobContent, JobImage, UnreadImage

NAMES = ["<script>alert(1)</script>", '</script><b>"x"', "it's & more", "plain"]


def foreign(n: int, classes: int, margin: float = 1.0, shape: tuple[int, ...] | None = None) -> Predictions:
    """Predictions by no network of ours."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % classes
    powers = np.exp(rng.normal(0, 1, (n, classes)) + margin * np.eye(classes)[labels])
    images = None if shape is None else rng.integers(0, 256, (n, *shape), dtype=np.uint8)
    return Predictions(labels, powers / powers.sum(axis=1, keepdims=True), images=images, name="elsewhere")


def job_content(labelled: int = 90, n: int = 100, probabilities: bool = True) -> JobContent:
    """A job of two shards that read n images as classes with dangerous names; the first ones have a label.

    Some are here without a picture, some could not be read, and a third shard failed.
    """
    scored = foreign(n, len(NAMES), shape=(8, 8, 1))
    probs, predicted = scored.probs, scored.predicted
    confidence, margin = probs.max(axis=1), np.diff(np.sort(probs, axis=1)[:, -2:])[:, 0]
    counts = np.zeros((len(NAMES), len(NAMES)), np.int64)
    for label, prediction in zip(scored.labels[:labelled], predicted[:labelled], strict=True):
        counts[label, prediction] += 1
    images = [
        JobImage(
            f"0000{i % 2}-part", i // 2, f"{NAMES[0]}{i}", int(scored.labels[i]) if i < labelled else None,
            int(predicted[i]), float(confidence[i]), float(margin[i]), probs[i] if probabilities else None,
            None if i % 7 == 3 else scored.images[i],
        )
        for i in range(n)
    ]  # fmt: skip
    wrong = [int(i) for i in np.argsort(-confidence) if i < labelled and predicted[i] != scored.labels[i]]
    doubts = [Doubt(i, int(predicted[i])) for i in wrong[:8]]
    few = Predictions(scored.labels[:labelled], probs[:labelled], NAMES) if labelled else None
    return JobContent(
        title="preds", subtitle=Message("job.subtitle", done=2, shards=3, images=Message("report.n-images", n=n + 3)),
        class_names=NAMES, images=images, confusion=counts,
        by_class=pd.DataFrame({"class": NAMES, "n": np.bincount(predicted, minlength=4), "confidence": 0.5}),
        bins=reliability_table(scored.labels, probs)[["low", "high", "n", "confidence"]],
        calibration=few.calibration() if few else None, n=n + 3, n_unread=3, n_unlabelled=n - labelled,
        mistakes=wrong[:5], unsure=np.argsort(margin)[:12].tolist(),
        doubtful=doubts if labelled and probabilities else None,
        flagged=5, unread=[UnreadImage("00000-part", 50 + i, NAMES[1], "damaged") for i in range(2)],
        failed=[FailedShard("00002-part", "pictures/<b>.tar", "damaged")], n_failed=1,
        facts=[("Job", "0123456789ab")], notes=[Message("job.note.missing", n=1)],
    )  # fmt: skip


def tiles(page: Any, where: str = "#tiles") -> list[int]:
    """The rows in the source of all images of a list in their order, as they are printed: only then all are drawn."""
    script = f"""() => {{ const {{ items }} = JSON.parse(document.getElementById("data").textContent);
        dispatchEvent(new Event("beforeprint"));
        const all = [...document.querySelectorAll("{where} [data-item]")].map(tile => items.index[tile.dataset.item]);
        dispatchEvent(new Event("afterprint"));
        return all }}"""
    return page.evaluate(script)


def drawn(page: Any) -> list[int]:
    """The rows in the source of the images of the gallery that are drawn now."""
    return page.evaluate("""() => { const { items } = JSON.parse(document.getElementById("data").textContent);
        return [...document.querySelectorAll("#tiles [data-item]")].map(tile => items.index[tile.dataset.item]) }""")


def counts_of(page: Any, name: str) -> dict[str, int]:
    """What a filter offers, and how many images it says each has."""
    texts = page.eval_on_selector_all(f"#by-{name} option", "options => options.slice(1).map(o => o.textContent)")
    return {text.rpartition(" (")[0]: int(text.rpartition(" (")[2][:-1].replace(",", "")) for text in texts}


def pixels(src: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(src.partition(",")[2]))).convert("L"))


def watch(page: Any, faults: list[str], own: tuple[str, ...] | None = None, *, console: bool = True) -> None:
    """Keep what a page may not do in `faults`: errors, dialogs, what it says to the console, requests elsewhere.

    own: how the addresses begin that it may ask; None does not look at requests. console: whether it must be silent.
    """
    if console:
        page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: (faults.append(f"a dialog opened: {dialog.message}"), dialog.dismiss()))
    if own is not None:
        page.on("request", lambda request: request.url.startswith(own) or faults.append(request.url[:80]))
