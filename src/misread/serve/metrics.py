"""What the server counts, in the text format of Prometheus.

Source: prometheus.io/docs/instrumenting/exposition_formats, version 0.0.4.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from misread.serve.model import Model
from misread.version import __version__

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds


class Metrics:
    """Counters of one server. Routes are names from the server, never addresses from requests, so they stay few."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.requests: Counter[tuple[str, int]] = Counter()
        self.seconds: Counter[str] = Counter()
        self.buckets: dict[str, list[int]] = {}
        self.predictions = [0] * len(model.class_names)
        self.in_progress = 0

    def answered(self, route: str, status: int, seconds: float) -> None:
        self.requests[route, status] += 1
        buckets = self.buckets.setdefault(route, [0] * (len(BOUNDS) + 1))
        buckets[bisect_left(BOUNDS, seconds)] += 1
        self.seconds[route] += seconds  # type: ignore[assignment]  # a sum of floats

    def predicted(self, classes: Iterable[int]) -> None:
        """Count images by the class that was predicted."""
        for k in classes:
            self.predictions[k] += 1

    def text(self) -> str:
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        yield from _head("misread_model_info", "gauge", "The model that is served.")
        about = {"name": self.model.name, "platform": self.model.platform, "version": __version__}
        yield f"misread_model_info{_labels(about)} 1"
        yield from _head("misread_requests_in_progress", "gauge", "Requests that are not answered yet.")
        yield f"misread_requests_in_progress {self.in_progress}"
        yield from _head("misread_requests_total", "counter", "Answers, by route and status.")
        for (route, status), count in sorted(self.requests.items()):
            yield f"misread_requests_total{_labels({'route': route, 'status': str(status)})} {count}"
        yield from _head("misread_request_seconds", "histogram", "From the request's headers to the end of its answer.")
        for route, buckets in sorted(self.buckets.items()):
            below = 0
            for bound, count in zip((*map(str, BOUNDS), "+Inf"), buckets, strict=True):
                below += count
                yield f"misread_request_seconds_bucket{_labels({'route': route, 'le': bound})} {below}"
            yield f"misread_request_seconds_sum{_labels({'route': route})} {self.seconds[route]:.6f}"
            yield f"misread_request_seconds_count{_labels({'route': route})} {below}"
        yield from _head("misread_predictions_total", "counter", "Images, by predicted class.")
        for name, count in zip(self.model.class_names, self.predictions, strict=True):
            yield f"misread_predictions_total{_labels({'class': name})} {count}"


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def _labels(values: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in values.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
