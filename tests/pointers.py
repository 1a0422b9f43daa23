"""Fingers and pens on a page: events of the browser itself, not of a script."""

from typing import Any

Place = tuple[float, float]


class Pointers:
    """Places are in CSS pixels of the window. Of fingers, all that are down are named each time."""

    def __init__(self, page: Any) -> None:
        self.session = page.context.new_cdp_session(page)

    def down(self, *fingers: Place) -> None:
        self._touch("touchStart", fingers)

    def move(self, *fingers: Place) -> None:
        self._touch("touchMove", fingers)

    def up(self) -> None:
        """Lifts all fingers."""
        self._touch("touchEnd", ())

    def pinch(self, start: tuple[Place, Place], end: tuple[Place, Place], steps: int = 4) -> None:
        """One finger comes down, then another; both move; both are lifted."""
        self.down(start[0])
        self.down(*start)
        for i in range(1, steps + 1):
            share = i / steps
            self.move(*((a + (c - a) * share, b + (d - b) * share) for (a, b), (c, d) in zip(start, end, strict=True)))
        self.up()

    def pen(self, *places: Place, force: float = 0.5, lift: bool = True) -> None:
        """A stroke through places. force: 0 to 1."""
        self._pen("mousePressed", places[0], force)
        for place in places[1:]:
            self.pen_to(place, force)
        if lift:
            self.lift_pen(places[-1])

    def pen_to(self, place: Place, force: float = 0.5) -> None:
        self._pen("mouseMoved", place, force)

    def lift_pen(self, place: Place) -> None:
        self._pen("mouseReleased", place, 0)

    def _touch(self, kind: str, fingers: tuple[Place, ...]) -> None:
        points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(fingers)]
        self.session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def _pen(self, kind: str, place: Place, force: float) -> None:
        event = {"type": kind, "x": place[0], "y": place[1], "button": "left", "buttons": 1, "clickCount": 1}
        self.session.send("Input.dispatchMouseEvent", {**event, "pointerType": "pen", "force": force})
