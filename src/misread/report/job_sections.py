"""From the content of a job to its page: the sections that the template reads, and the data that the script reads."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from misread.analysis.class_means import accuracy_warnings_of, class_means_of
from misread.analysis.confusion import confusion_counts
from misread.analysis.intervals import wilson_interval
from misread.analysis.per_class import per_class_dict, per_class_table
from misread.analysis.records import records
from misread.messages import Translate, plain, translator
from misread.report import diagrams
from misread.report.items import TOP, rounded
from misread.report.job_content import JobContent, JobImage
from misread.report.page import Page, texts_of
from misread.report.pictures import MISREAD, encoded_pictures
from misread.report.sections import changed_pictures, confusion_section


def job_page_of(content: JobContent, language: str = "en") -> Page:
    """The page that shows a job. language: "en" or "ko". Raises RunError: another language."""
    t = translator(texts_of(language))
    page = Page(content.title, content.subtitle, notes=list(content.notes), language=language)
    order = _with_pictures_first(content.images)
    place = {position: place for place, position in enumerate(order)}
    page.data |= {"classes": list(content.class_names), **_items([content.images[p] for p in order], order)}
    margins = [f"{content.images[position].margin:.2%}" for position in content.unsure]
    page.data["lists"] = {"unsure": _list(place, content.unsure, margins)}
    page.sections |= {
        "job": {
            "n": content.n,
            "predicted": content.n - content.n_unread,
            "unread": content.n_unread,
            "labelled": content.n - content.n_unread - content.n_unlabelled,
            "mistakes": len(content.mistakes),
            "first_unread": content.unread,
            "failed": content.n_failed,
            "first_failed": content.failed,
        },
        "unsure": {"rows": _rows(content, content.unsure)},
        "read_as": _read_as(content) if content.n_unlabelled else None,
        "confidence": _confidence(content, t),
        "facts": content.facts,
        "files": True,
        "changed": changed_pictures(page.data["pictures"]),
    }
    if content.calibration is not None:
        _add_labelled(page, content, place, t)
    return page


def _with_pictures_first(images: Sequence[JobImage]) -> list[int]:
    """Positions of the images: the script takes the first pictures for those of the first images."""
    return sorted(range(len(images)), key=lambda position: images[position].pixels is None)


def _items(images: Sequence[JobImage], order: Sequence[int]) -> dict[str, Any]:
    """The images as the page's script reads them, as `Items.data` does: with shard and row, without loss and hash.

    top and shares have only the prediction if there are no probabilities; of_label is then None.
    """
    have_probs = all(image.probs is not None for image in images)
    tops = [_top(image, have_probs) for image in images]
    items = {
        "index": list(order),
        "label": [image.label for image in images],
        "file": [image.key for image in images],
        "shard": [image.shard for image in images],
        "row": [image.row for image in images],
        "margin": rounded([image.margin for image in images]),
        "top": [k for top in tops for k, _ in top],
        "shares": rounded([share for top in tops for _, share in top]),
        "of_label": [
            None if image.probs is None or image.label is None else rounded([float(image.probs[image.label])])[0]
            for image in images
        ],
    }
    pixels = [image.pixels for image in images if image.pixels is not None]
    if not pixels:
        return {"items": items, "pictures": {}}
    pictures = encoded_pictures(lambda rows: np.stack([pixels[row] for row in rows]), np.arange(len(pixels)), MISREAD)
    return {"items": items, "pictures": {"items": {**pictures, "changed": plain(pictures["changed"])}}}


def _top(image: JobImage, have_probs: bool) -> list[tuple[int, float]]:
    if not have_probs or image.probs is None:
        return [(image.prediction, image.confidence)]
    order = np.argsort(-image.probs, kind="stable")[:TOP]
    return [(int(k), float(image.probs[k])) for k in order]


def _list(place: dict[int, int], positions: Sequence[int], more: Sequence[str]) -> dict[str, Any]:
    """A list of images for the script. more: what is said of each."""
    return {"items": [place[position] for position in positions], "more": list(more)}


def _rows(content: JobContent, positions: Sequence[int]) -> list[dict[str, Any]]:
    """The images of a list as lines of a table."""
    names = content.class_names
    return [
        {
            "shard": image.shard,
            "row": image.row,
            "key": image.key,
            "label": None if image.label is None else names[image.label],
            "prediction": names[image.prediction],
            "confidence": image.confidence,
            "margin": image.margin,
            "of_label": None if image.probs is None or image.label is None else float(image.probs[image.label]),
        }
        for image in (content.images[position] for position in positions)
    ]


def _read_as(content: JobContent) -> list[dict[str, Any]]:
    all_of_them = max(int(content.by_class["n"].sum()), 1)
    return [{**line, "share": line["n"] / all_of_them} for line in records(content.by_class)]


def _confidence(content: JobContent, t: Translate) -> dict[str, Any] | None:
    if not content.bins["n"].any():
        return None
    calibration = content.calibration
    return {
        "calibration": calibration,
        "bins": calibration.to_dict()["bins"] if calibration else None,
        "reliability": diagrams.reliability_diagram(calibration, t) if calibration else None,
        "histogram": diagrams.confidence_diagram(content.bins, t),
        "counts": records(content.bins),
        "coverage": None,
        "sets": None,
    }


def _add_labelled(page: Page, content: JobContent, place: dict[int, int], t: Translate) -> None:
    """The sections about the images with a label."""
    counts, names = content.confusion, content.class_names
    right, support, guessed = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    n, n_right = int(support.sum()), int(right.sum())
    low, high = wilson_interval(n_right, n)
    wrong = [content.images[position] for position in content.mistakes]
    kept = confusion_counts(
        np.array([image.label for image in wrong], np.int64),
        np.array([i.prediction for i in wrong], np.int64),
        len(names),
    )
    page.notes += accuracy_warnings_of(right, support, guessed, names)
    page.data["misreads"] = [place[position] for position in content.mistakes]
    page.sections |= {
        "headline": {
            "accuracy": n_right / n, "accuracy_low": low, "accuracy_high": high, "n": n, "misread": n - n_right,
            **class_means_of(right, support, guessed),
        },
        "confusion": confusion_section(counts, names, t, kept),
        "classes": per_class_dict(per_class_table(counts, tuple(names))),
        "gallery": {"rows": _rows(content, content.mistakes)} if wrong else None,
    }  # fmt: skip
    if content.doubtful:
        positions = [doubt.image for doubt in content.doubtful]
        rows = _rows(content, positions)
        more = [f"{row['of_label']:.2%}" for row in rows]  # what it is stands above the list
        page.data["lists"]["doubts"] = _list(place, positions, more)
        suggested = [names[doubt.suggested] for doubt in content.doubtful]
        page.sections["doubts"] = {"flagged": content.flagged, "rows": rows, "suggested": suggested}
