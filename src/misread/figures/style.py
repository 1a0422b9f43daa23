"""One look for all pictures: colours for colour-blind readers too, and readable sizes."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from misread.files import replacing
from misread.notebook import display_in_notebook

# Okabe and Ito 2008, "Color Universal Design"
BLUE, ORANGE, GREEN, VERMILLION, BLACK, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#1a1a1a", "#6b6b6b"
DPI = 110
MAX_PIXELS = 30_000  # a side of a picture; beyond it image viewers give up


class Picture(Figure):
    """A matplotlib figure without pyplot. Notebooks show it; elsewhere `show()` does. `save` writes it whole.

    width, height: inches at `DPI`, or at a lower resolution if a side would be longer than `MAX_PIXELS`.
    """

    def __init__(self, width: float, height: float, **settings: Any) -> None:
        dpi = min(DPI, MAX_PIXELS / max(width, height))
        super().__init__(figsize=(width, height), dpi=dpi, facecolor="white", **settings)
        FigureCanvasAgg(self)

    def png(self) -> bytes:
        buffer = io.BytesIO()
        with self._laid_out():
            self.savefig(buffer, format="png", dpi="figure")
        return buffer.getvalue()

    @contextmanager
    def _laid_out(self) -> Iterator[None]:
        """Compute the layout before the block. matplotlib would draw everything once more to do it when it saves."""
        engine = self.get_layout_engine()
        if engine:
            engine.execute(self)
        self.set_layout_engine(None)
        try:
            yield
        finally:
            if engine:
                self.set_layout_engine(engine)

    def _repr_png_(self) -> bytes:
        return self.png()

    def show(self, warn: bool = True) -> None:
        """Show the picture below the cell of a notebook; elsewhere in the system's image viewer."""
        if not display_in_notebook(self):
            from PIL import Image

            Image.open(io.BytesIO(self.png())).show()

    def save(self, path: Path) -> None:
        """Write the picture, whole or not at all, as PNG or SVG by the suffix. Raises OSError: it cannot be written."""
        with replacing(path) as partial, self._laid_out():
            self.savefig(partial, dpi="figure")


def plain_axes(axes: Axes) -> None:
    """The style of all diagrams: a light grid behind the data, no frame at the top and right."""
    axes.grid(True, color=GREY, alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
