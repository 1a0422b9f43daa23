"""From content to page: the sections that the template reads, and the data that the script reads."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from misread.analysis.calibration import Calibration
from misread.analysis.causes import Cause
from misread.analysis.comparison import BOTH, BROKEN, FIXED
from misread.analysis.confusion import Confusion, confused_pairs
from misread.analysis.explanation import Explanation
from misread.analysis.label_issues import flagged_issues, label_issues, suggested_labels
from misread.analysis.per_class import PerClass
from misread.analysis.records import records
from misread.analysis.risk_coverage import RiskCoverage, risk_coverage_table
from misread.analysis.scored import Scored
from misread.messages import Translate, recognised, translator
from misread.report import diagrams
from misread.report.content import Confidence, Content, SecondModel, TrainingCurves
from misread.report.items import Items
from misread.report.page import Page, texts_of

DOUBTFUL = 60  # labels to decide on; `misread labels` lists any number
MATRIX = 24  # the most classes of a readable matrix; with more it becomes a map of squares
PAIRS = 12  # confused pairs beside the matrix
STEPS = 100  # of the slider


def page_of(content: Content, language: str = "en") -> Page:
    """The page that shows this content. language: "en" or "ko". Raises RunError: another language."""
    t = translator(texts_of(language))
    page = Page(content.title, content.subtitle, notes=list(content.notes), language=language)
    second = content.second
    items = Items(content.scored, content.images, second.scored if second else None)
    if content.confidence:
        _add_analysis(page, items, content.scored, content.confidence, t)
    if content.explanation:
        _add_causes(page, items, content.explanation)
    if second:
        _add_comparison(page, items, second)
    page.sections["training"] = _training(content.training, t) if content.training else None
    if content.playground:
        page.data["playground"] = content.playground.data()
        page.sections["playground"] = True
    data = items.data()
    page.sections |= {
        "facts": [*content.facts, *_playground_facts(content)],
        "files": "file" in data["items"],
        "changed": changed_pictures(data["pictures"]),
    }
    page.data |= {"classes": list(content.scored.class_names), **data}
    return page


def changed_pictures(pictures: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What the pictures of items and of training images differ from the images in; None if in nothing."""
    return {name: pictures.get(name, {}).get("changed") for name in ("items", "training")}


def _playground_facts(content: Content) -> list[tuple[str, str]]:
    return [("Draw and Look inside", content.playground.note())] if content.playground else []


def _add_analysis(page: Page, items: Items, scored: Scored, confidence: Confidence, t: Translate) -> None:
    page.notes += scored.accuracy_warnings()
    page.data["misreads"] = items.add(scored.misread_positions)
    page.sections |= {
        "headline": scored.metrics(),
        "confusion": confusion_section(Confusion(scored).counts, scored.class_names, t),
        "classes": PerClass(scored).to_dict(),
        "gallery": len(scored.misread_positions) or None,
        "confidence": _confidence(page, scored, confidence.calibration, t) | {"sets": confidence.sets},
    }
    if items.have_images:
        _add_doubtful(page, items, scored)


def confusion_section(
    counts: np.ndarray, names: Sequence[str], t: Translate, kept: np.ndarray | None = None
) -> dict[str, Any]:
    """counts: (K, K), rows true. kept: (K, K), how many of them are on the page; None if all misread ones are."""
    pairs = confused_pairs(counts, tuple(names))
    index = {name: k for k, name in enumerate(names)}
    shown = [
        {**pair, "from": index[pair["label"]], "to": index[pair["prediction"]]} for pair in records(pairs.head(PAIRS))
    ]
    is_map = len(names) > MATRIX and len(pairs)
    return {
        "names": names,
        "counts": counts.tolist(),
        "kept": (counts if kept is None else kept).tolist(),
        "most": int(pairs["n"].max()) if len(pairs) else 1,
        "pairs": shown,
        "n_pairs": len(pairs),
        "map": diagrams.heat_map(counts, names, t, kept) if is_map else None,
        "in_map": min(diagrams.CELLS, len(pairs)),
        "readable": len(names) <= MATRIX,
    }


def _confidence(page: Page, scored: Scored, calibration: Calibration, t: Translate) -> dict[str, Any]:
    risk_coverage = RiskCoverage(scored)
    limit = 0.1 if scored.misread.mean() < 0.05 else 0.5
    steps = risk_coverage_table(risk_coverage.curve, tuple(1 - limit * i / STEPS for i in range(STEPS + 1)))
    diagram, places = diagrams.risk_coverage_diagram(risk_coverage.curve, steps, limit, t)
    columns = ("left", "n", "misread", "threshold", "error", "error_low", "error_high")
    page.data["coverage"] = [
        {**line, **place} for line, place in zip(records(steps[list(columns)]), places, strict=True)
    ]
    return {
        "calibration": calibration,
        "bins": calibration.to_dict()["bins"],
        "reliability": diagrams.reliability_diagram(calibration, t),
        "coverage": diagram,
        "histogram": None,
        "limit": limit,
        "table": risk_coverage.to_dict()["table"],
    }


def _add_doubtful(page: Page, items: Items, scored: Scored) -> None:
    """The most doubtful labels for which another class is suggested."""
    labels, probs = scored.labels, scored.probs.astype(np.float64)
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


def _add_causes(page: Page, items: Items, explanation: Explanation) -> None:
    items.explain(explanation)
    counts = explanation.reasons["cause"].value_counts()
    page.sections["causes"] = [(str(cause), int(counts[cause])) for cause in Cause if cause in counts]
    page.sections["advice"] = explanation.advice


def _add_comparison(page: Page, items: Items, second: SecondModel) -> None:
    changes = second.changes
    page.data["changes"] = {
        name: items.add(changes.index[changes["change"] == change].to_numpy())
        for name, change in (("broken", BROKEN), ("fixed", FIXED), ("both", BOTH))
    }
    page.data["names"] = list(second.names)
    page.sections["comparison"] = second.summary


def _training(curves: TrainingCurves, t: Translate) -> dict[str, Any] | None:
    history = curves.history
    if history.empty:
        return None
    return {
        "rows": records(history),
        "validation": recognised(curves.validation, "validation"),
        "diagrams": diagrams.history_diagrams(history, t) if len(history) > 1 else [],
    }
