"""All that a page needs to show a training, from the events so far: for pages that are opened or reloaded later."""

from typing import Any

MAX_POINTS = 3000  # of a curve by steps; then every second one is left out, so a long training stays small
LAST = ("now", "misreads", "weights", "dead")  # parts of an event of which only the last counts


class Snapshot:
    """The state of a training as plain values. `add` takes its events in their order."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {"losses": [], "accuracies": [], "rows": [], "notes": [], "rates": []}

    def add(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "started":
                self.values["started"] = event
            case "progress":
                self.values |= {name: event[name] for name in LAST if name in event}
                for name in ("losses", "accuracies"):
                    self.values[name] = thinned([*self.values[name], *event[name]])
                self.values["rows"] = [*self.values["rows"], *event["rows"]]
            case "rate":
                self.values["rates"] = [*self.values["rates"], event]
            case "note":
                self.values["notes"] = [*self.values["notes"], event["text"]][-20:]
            case "finished":
                self.values["finished"] = event


def thinned(points: list[Any]) -> list[Any]:
    """At most `MAX_POINTS` of the points, the last one always among them."""
    while len(points) > MAX_POINTS:
        points = points[len(points) % 2 == 0 :: 2]
    return points
