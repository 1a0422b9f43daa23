"""Diagrams as inline SVG. Colours are the page's CSS classes, so that they follow its theme."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup

from misread.analysis.calibration import Calibration
from misread.analysis.records import records
from misread.figures.ticks import percent
from misread.messages import Translate

WIDTH, HEIGHT = 440, 280
LEFT, RIGHT, TOP, BOTTOM = 58, 20, 12, 46
DOTS = 30  # a curve of at most so many points gets a mark for each
CURVE = 240  # points of a drawn curve; the eye sees no more
CELLS = 10_000  # of a map of confused pairs: each takes 150 characters of the page
SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹"

Points = Sequence[tuple[float, float]]


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers 1, 2 or 5 times a power of ten apart, about `count` of them, from low to high."""
    if not high > low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


@dataclass(frozen=True)
class Axis:
    """name: written beside the axis. marks: (value, text)."""

    name: str
    low: float
    high: float
    marks: Sequence[tuple[float, str]]

    @classmethod
    def of(cls, name: str, low: float, high: float, *, as_percent: bool = False, count: int = 5) -> "Axis":
        low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
        text = percent if as_percent else lambda value: f"{value:.6g}"
        return cls(name, low, high, [(value, text(value)) for value in ticks(low, high, count)])


class Diagram:
    """One pair of axes; later drawings cover earlier ones. description: the text for screen readers."""

    def __init__(self, x: Axis, y: Axis, description: str) -> None:
        self.x, self.y, self.description = x, y, description
        self._drawn: list[Markup] = []

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Picture coordinates of a value; values beyond the axes are moved to their ends."""
        across = (min(max(x, self.x.low), self.x.high) - self.x.low) / (self.x.high - self.x.low)
        up = (min(max(y, self.y.low), self.y.high) - self.y.low) / (self.y.high - self.y.low)
        return (
            round(LEFT + across * (WIDTH - LEFT - RIGHT), 1),
            round(HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM), 1),
        )

    def line(self, points: Points, style: str, *, dots: bool = False) -> None:
        self._add('<polyline class="line {}" points="{}"/>', style, self._path(points))
        if dots:
            for x, y in points:
                self.dot(x, y, style)

    def band(self, lower: Points, upper: Points, style: str) -> None:
        self._add('<polygon class="band {}" points="{}"/>', style, self._path([*lower, *reversed(upper)]))

    def dot(self, x: float, y: float, style: str, tooltip: str = "") -> None:
        """A disc, or a square in style b, so that the two differ without colour."""
        left, top = self.place(x, y)
        shape = (
            Markup('<rect class="dot {}" x="{}" y="{}" width="7" height="7">{}</rect>').format(
                style, left - 3.5, top - 3.5, _title(tooltip)
            )
            if style == "b"
            else Markup('<circle class="dot {}" cx="{}" cy="{}" r="3.8">{}</circle>').format(
                style, left, top, _title(tooltip)
            )
        )
        self._drawn.append(shape)

    def bar(self, low: float, high: float, y: float, tooltip: str) -> None:
        """A bar from the bottom to y, between two values of x."""
        (left, top), (right, _) = self.place(low, y), self.place(high, y)
        bottom = HEIGHT - BOTTOM
        self._add(
            '<rect class="bar a" x="{}" y="{}" width="{}" height="{}">{}</rect>',
            left + 1, top, round(right - left - 2, 1), round(bottom - top, 1), _title(tooltip),
        )  # fmt: skip

    def whisker(self, x: float, low: float, high: float, style: str) -> None:
        (left, bottom), (_, top) = self.place(x, low), self.place(x, high)
        self._add('<line class="whisker {}" x1="{}" x2="{}" y1="{}" y2="{}"/>', style, left, left, bottom, top)

    def marker(self, x: float, y: float, name: str) -> None:
        """A ring that the page's script moves. name: its id."""
        self._add('<circle class="marker" id="{}" cx="{}" cy="{}" r="6"/>', name, *self.place(x, y))

    def svg(self) -> Markup:
        return Markup('<svg class="diagram" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}</svg>').format(
            WIDTH, HEIGHT, self.description, self._axes(), Markup("").join(self._drawn)
        )

    def _add(self, pattern: str, *values: object) -> None:
        self._drawn.append(Markup(pattern).format(*values))

    def _path(self, points: Iterable[tuple[float, float]]) -> str:
        return " ".join("{},{}".format(*self.place(x, y)) for x, y in points)

    def _axes(self) -> Markup:
        bottom, middle = HEIGHT - BOTTOM, (HEIGHT - BOTTOM + TOP) / 2
        parts = []
        for value, text in self.y.marks:
            _, top = self.place(self.x.low, value)
            parts.append(
                Markup(
                    '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>'
                    '<text x="{}" y="{}" text-anchor="end">{}</text>'
                ).format(LEFT, WIDTH - RIGHT, top, top, LEFT - 7, top + 4, text)
            )
        for value, text in self.x.marks:
            left, _ = self.place(value, self.y.low)
            parts.append(
                Markup(
                    '<line class="tick" x1="{}" x2="{}" y1="{}" y2="{}"/>'
                    '<text x="{}" y="{}" text-anchor="middle">{}</text>'
                ).format(left, left, bottom, bottom + 4, left, bottom + 18, text)
            )
        parts.append(
            Markup(
                '<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>'
                '<text class="name" x="{}" y="{}" text-anchor="middle">{}</text>'
                '<text class="name" transform="translate(13 {}) rotate(-90)" text-anchor="middle">{}</text>'
            ).format(
                LEFT,
                WIDTH - RIGHT,
                bottom,
                bottom,
                (LEFT + WIDTH - RIGHT) / 2,
                HEIGHT - 8,
                self.x.name,
                middle,
                self.y.name,
            )
        )
        return Markup("").join(parts)


def _title(tooltip: str) -> Markup:
    return Markup("<title>{}</title>").format(tooltip) if tooltip else Markup("")


def history_diagrams(history: pd.DataFrame, t: Translate) -> list[Markup]:
    """Loss and accuracy against epochs; training in style a, validation in style b. t: texts of the page."""
    return [_history_diagram(history, metric, t) for metric in ("loss", "accuracy")]


def _history_diagram(history: pd.DataFrame, metric: str, t: Translate) -> Markup:
    rows = records(history)
    curves = {
        style: [(float(row["epoch"]), float(row[name])) for row in rows if row.get(name) is not None]
        for style, name in (("a", metric), ("b", f"val_{metric}"))
    }
    values = [value for curve in curves.values() for _, value in curve if math.isfinite(value)]
    low, high = (min([*values, 0.99]), 1.0) if metric == "accuracy" else (0.0, max([*values, 1e-6]))
    epochs = float(rows[0]["epoch"]), float(rows[-1]["epoch"])
    whole = [(value, f"{value:.0f}") for value in ticks(*epochs, 8) if value == round(value)]
    last = [
        t(f"diagram.{name}", value=f"{curve[-1][1]:.4g}")
        for name, curve in zip(("training", "validation"), curves.values(), strict=True)
        if curve
    ]
    diagram = Diagram(
        Axis(t("diagram.epoch"), *epochs, whole),
        Axis.of(t(f"diagram.{metric}"), low, high, as_percent=metric == "accuracy"),
        t(f"diagram.history-{metric}", n=len(history), values=last),
    )
    for style, curve in curves.items():
        diagram.line([point for point in curve if math.isfinite(point[1])], style, dots=len(curve) <= DOTS)
    return diagram.svg()


def reliability_diagram(calibration: Calibration, t: Translate) -> Markup:
    """Accuracy against confidence in bins, as predicted in style a, after temperature scaling in style b."""
    unit = [(v / 5, percent(v / 5)) for v in range(6)]
    scaling = calibration.scaling
    ece = f"{calibration.ece:.2%}"
    diagram = Diagram(
        Axis(t("diagram.confidence"), 0, 1, unit),
        Axis(t("diagram.right"), 0, 1, unit),
        t("diagram.reliability-scaled", ece=ece, after=f"{scaling.ece_after:.2%}")
        if scaling
        else t("diagram.reliability", ece=ece),
    )
    diagram.line([(0, 0), (1, 1)], "ideal")
    for style, table in [("a", calibration.table), *([("b", scaling.table)] if scaling else [])]:
        bins = [line for line in records(table) if line["n"]]
        for line in bins:
            diagram.whisker(line["confidence"], line["accuracy_low"], line["accuracy_high"], style)
        diagram.line([(line["confidence"], line["accuracy"]) for line in bins], f"{style} thin")
        for line in bins:
            shares = {name: f"{line[name]:.1%}" for name in ("confidence", "accuracy")}
            tooltip = t("diagram.bin", images=line["n"], **shares)
            diagram.dot(line["confidence"], line["accuracy"], style, tooltip)
    return diagram.svg()


def confidence_diagram(bins: pd.DataFrame, t: Translate) -> Markup:
    """How many images have which confidence, as bars. bins: low, high and n. The scale is logarithmic."""
    top = math.ceil(math.log10(max(int(bins["n"].max()), 10)))
    step = -(-top // 6)
    diagram = Diagram(
        Axis(t("diagram.confidence"), 0, 1, [(v / 5, percent(v / 5)) for v in range(6)]),
        Axis(t("diagram.images-log"), math.log10(0.5), top, [(v, _power(v)) for v in range(0, top + 1, step)]),
        t("diagram.confidences", images=int(bins["n"].sum()), most=int(bins["n"].iloc[-1])),
    )
    for line in records(bins):
        if line["n"]:
            ends = {name: f"{line[name]:.0%}" for name in ("low", "high")}
            tooltip = t("diagram.confidence-bin", **ends, images=line["n"])
            diagram.bar(line["low"], line["high"], math.log10(line["n"]), tooltip)
    return diagram.svg()


def _power(exponent: int) -> str:
    """A power of ten, short enough for an axis."""
    return str(10**exponent) if exponent < 3 else "10" + "".join(SUPERSCRIPTS[int(digit)] for digit in str(exponent))


def risk_coverage_diagram(
    curve: pd.DataFrame, steps: pd.DataFrame, limit: float, t: Translate
) -> tuple[Markup, list[dict[str, float]]]:
    """Error against the share of images left to a person, up to `limit`; and the place of each of `steps` in it.

    curve, steps: columns of `risk_coverage_curve`; steps are the stops of the page's slider.
    """
    shown = curve[curve["coverage"] >= 1 - limit - 1e-9]
    shown = shown.iloc[:: -max(1, len(shown) // CURVE)]
    highest = max(float(shown["error_high"].max()), 1e-6)
    diagram = Diagram(
        Axis.of(t("diagram.left"), 0, limit, as_percent=True),
        Axis.of(t("diagram.rest"), 0, highest, as_percent=True),
        t(
            "diagram.coverage",
            all=f"{curve['error'].iloc[-1]:.2%}",
            least=f"{shown['error'].iloc[-1]:.2%}",
            left=f"{1 - shown['coverage'].iloc[-1]:.1%}",
        ),
    )
    left = (1 - shown["coverage"]).tolist()
    lower, upper, error = (
        list(zip(left, shown[name].tolist(), strict=True)) for name in ("error_low", "error_high", "error")
    )
    diagram.band(lower, upper, "a")
    diagram.line(error, "a")
    diagram.marker(*error[0], "coverage-marker")
    places = [diagram.place(1 - step["coverage"], step["error"]) for step in records(steps)]
    return diagram.svg(), [{"x": x, "y": y} for x, y in places]


def heat_map(counts: np.ndarray, names: Sequence[str], t: Translate, kept: np.ndarray | None = None) -> Markup:
    """A confusion matrix of many classes: a square for every pair of which the first was read as the second.

    counts: (K, K), rows true. At most `CELLS` are drawn, the most frequent. kept: (K, K), how many images of each pair
    are on the page; the others show none when they are chosen. None: all are.
    """
    side = len(names)
    wrong = np.where(np.eye(side, dtype=bool), 0, counts)
    first, second = np.nonzero(wrong)
    drawn = np.sort(np.argsort(-wrong[first, second], kind="stable")[:CELLS])
    most = max(int(wrong.max(initial=0)), 1)
    cells = []
    for i, j in zip(first[drawn].tolist(), second[drawn].tolist(), strict=True):
        n = int(wrong[i, j])
        chosen = Markup(' data-label="{}" data-prediction="{}"').format(i, j) if kept is None or kept[i, j] else ""
        cells.append(
            Markup(
                '<rect class="cell"{} x="{}" y="{}" width="1" height="1" style="--heat:{}"><title>{}</title></rect>'
            ).format(chosen, j, i, heat(n, most), t("diagram.pair", label=names[i], read=names[j], images=n))
        )
    return Markup(
        '<svg class="heat-map" viewBox="-0.5 -0.5 {0} {0}" role="img" aria-label="{3}">'
        '<rect class="frame" width="{1}" height="{1}"/><line class="diagonal" x2="{1}" y2="{1}"/>{2}</svg>'
    ).format(side + 1, side, Markup("").join(cells), t("diagram.heat-map", classes=side))


def heat(n: int, most: int) -> int:
    """The strength of a cell's colour, 12..100: by the square root, so that single images are visible."""
    return round(12 + 88 * math.sqrt(n / most))
