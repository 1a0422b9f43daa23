"""A site with the lesson's room alone: its modules, and the runs that it computes with, as files."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path

from misread import Run
from misread.training.recipe import Recipe
from misread.web.model_file import model_bytes

WEB = Path(str(files("misread.web")))
STYLES = ("tokens.css", "components.css", "lesson.css")


def write_run(folder: Path, run: Run, recipe: Recipe) -> None:
    """The files that the page reads of a run: its record, network, test images and probabilities."""
    test, found = run.data.test, run.predictions()
    record = {
        "id": folder.name,
        "name": folder.name,
        "title": folder.name,
        "data": {
            "name": run.data.name,
            "class_names": list(run.data.class_names),
            "image_shape": list(test.images.shape[1:]),
            "n_train": len(run.data.train),
            "n_test": len(test),
        },
        "recipe": recipe.model_dump(mode="json"),
        "history": json.loads(run.history.to_json(orient="records")),
        "labels": {"test": test.labels.tolist()},
    }
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "test.bin").write_bytes(test.images.tobytes())
    network = model_bytes(run.network, recipe.layers, run.data.class_names, test.images.shape[1:])
    (folder / "model.bin").write_bytes(network)
    served = folder.parent / "api" / "runs" / folder.name
    for name, content in (
        ("predictions", found.probs.astype("<f4").tobytes()),
        ("labels", json.dumps({"labels": test.labels.tolist(), "files": None}).encode()),
    ):
        (served / name).mkdir(parents=True)
        (served / name / "test").write_bytes(content)


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serves a folder, the package's modules at /web, its texts at /messages and the page at /; gives the address."""
    styles = b"\n".join((WEB / "style" / name).read_bytes() for name in STYLES)

    class Handler(SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            name = path.split("?")[0].lstrip("/")
            if name.startswith(("web/", "messages/")):
                return str(WEB.parent / name)
            return str(Path(__file__).with_name("lesson_page.html") if not name else folder / name)

        def do_GET(self) -> None:
            if self.path != "/style.css":
                return super().do_GET()
            self.send_response(200)
            self.send_header("Content-Type", "text/css")
            self.end_headers()
            self.wfile.write(styles)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
