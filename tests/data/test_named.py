"""Named sets: found where they may lie, verified, downloaded whole or not at all."""

import dataclasses
import gzip
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from conftest import blocks
from misread.data import obtain
from misread.data.idx import idx_bytes, sha256
from misread.data.load import load
from misread.data.named import FILES, NAMED, NamedData
from misread.errors import DataError, DownloadError


@pytest.fixture
def files() -> dict[str, bytes]:
    """The four decompressed files of a small stand-in for MNIST."""
    (train, train_labels), (test, test_labels) = blocks(40, side=28), blocks(20, side=28, seed=1)
    arrays = (train.squeeze(-1), train_labels, test.squeeze(-1), test_labels)
    return {name: idx_bytes(array) for name, array in zip(FILES.values(), arrays, strict=True)}


@pytest.fixture
def small(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> NamedData:
    hashes = tuple(sha256(contents) for contents in files.values())
    data = dataclasses.replace(
        NAMED["mnist"], contents_sha256=hashes, class_names=tuple("abcd"), mirrors=("http://127.0.0.1:9/",)
    )
    monkeypatch.setitem(NAMED, "mnist", data)
    return data


def put(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, contents in files.items():
        (folder / name).write_bytes(gzip.compress(contents))
    return folder


class Server:
    """Serves what `answers` holds; a path it has not is a 404, and `cut` breaks an answer off in the middle."""

    def __init__(self, answers: dict[str, bytes], cut: bool = False) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = answers.get(self.path.lstrip("/"))
                if body is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2] if cut else body)

            def log_message(self, *args: object) -> None:
                """Quiet."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def serve() -> Iterator[type[Server]]:
    started: list[Server] = []

    def start(*args: object, **settings: object) -> Server:
        started.append(Server(*args, **settings))  # type: ignore[arg-type]
        return started[-1]

    yield start  # type: ignore[misc]
    for server in started:
        server.close()


def mirrors(monkeypatch: pytest.MonkeyPatch, data: NamedData, *urls: str) -> None:
    monkeypatch.setitem(NAMED, "mnist", dataclasses.replace(data, mirrors=urls))


def packed(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: gzip.compress(contents) for name, contents in files.items()}


@pytest.mark.parametrize("where", ["$MISREAD_DATA", "cache", "torchvision's copy"])
def test_a_copy_on_this_machine_is_found(
    where: str, small: NamedData, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISREAD_DATA", str(tmp_path / "mine"))
    place = next(p for p in obtain.places(small) if p.what == where)
    put(place.path, files)
    said: list[str] = []
    data = load("mnist", progress=said.append)
    assert data.class_names == tuple("abcd")
    assert len(data.train) == 40
    assert where in said[0]


def test_kerass_npz_is_verified_by_the_same_hashes(small: NamedData) -> None:
    (train, labels), (test, test_labels) = blocks(40, side=28), blocks(20, side=28, seed=1)
    path = next(p.path for p in obtain.places(small) if p.what == "Keras's copy")
    path.parent.mkdir(parents=True)
    arrays = {"x_train": train.squeeze(-1), "y_train": labels, "x_test": test.squeeze(-1), "y_test": test_labels}
    np.savez(path, **arrays)  # type: ignore[arg-type]
    np.testing.assert_array_equal(load("mnist").train.images, train)
    arrays["y_train"] = (labels + 1) % 4
    np.savez(path, **arrays)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"mnist.npz: its arrays are not those of mnist"):
        load("mnist")


def test_a_flipped_bit_is_found_by_the_hash_and_the_file_stays(
    small: NamedData, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISREAD_DATA", str(tmp_path))
    folder = put(tmp_path / "mnist", files)
    name = FILES["test", "images"]
    contents = bytearray(files[name])
    contents[-1] ^= 1
    (folder / name).write_bytes(gzip.compress(bytes(contents)))
    with pytest.raises(
        DataError, match=rf"{name}: the SHA-256 of its contents is [0-9a-f]{{64}}, not {sha256(files[name])}"
    ):
        load("mnist")
    assert (folder / name).exists()


def test_a_copy_with_a_file_missing_names_it(
    small: NamedData, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISREAD_DATA", str(tmp_path))
    folder = put(tmp_path / "mnist", files)
    (folder / FILES["test", "labels"]).unlink()
    with pytest.raises(DataError, match=r"has no t10k-labels-idx1-ubyte.gz"):
        load("mnist")


def test_download_takes_the_second_mirror_when_the_first_fails(
    small: NamedData, files: dict[str, bytes], serve: type[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    mirrors(monkeypatch, small, serve({}).url, serve(packed(files)).url)
    assert len(load("mnist").test) == 20
    # and the next load needs no network
    mirrors(monkeypatch, small, "http://127.0.0.1:9/")
    assert len(load("mnist").test) == 20


def test_a_download_that_was_cut_off_after_a_file_goes_on_where_it_was(
    small: NamedData, files: dict[str, bytes], serve: type[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = dict(list(packed(files).items())[:1])
    mirrors(monkeypatch, small, serve(first).url)
    with pytest.raises(DownloadError, match=r"train-labels-idx1-ubyte.gz came from no mirror"):
        load("mnist")
    rest = dict(list(packed(files).items())[1:])
    mirrors(monkeypatch, small, serve(rest).url)
    assert len(load("mnist").train) == 40


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda answers: {}, "404"),
        (lambda answers: dict.fromkeys(answers, b"<html>Log in to this network</html>"), "SHA-256"),
        (lambda answers: {n: gzip.compress(b"other") for n in answers}, "SHA-256"),
    ],
)
def test_a_bad_download_leaves_no_file_and_says_why(
    harm: object, reason: str, small: NamedData, files: dict[str, bytes], serve: type[Server],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    server = serve(harm(packed(files)))  # type: ignore[operator]
    mirrors(monkeypatch, small, server.url)
    with pytest.raises(DownloadError, match=rf"train-images-idx3-ubyte.gz came from no mirror.\n.*{reason}"):
        load("mnist")
    assert list((obtain.cache_folder() / "mnist").iterdir()) == []


def test_a_download_that_breaks_off_leaves_no_file(
    small: NamedData, files: dict[str, bytes], serve: type[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    mirrors(monkeypatch, small, serve(packed(files), cut=True).url)
    with pytest.raises(DownloadError, match="no connection, or it broke off"):
        load("mnist")
    assert list((obtain.cache_folder() / "mnist").iterdir()) == []


def test_without_a_network_the_error_says_what_to_do(small: NamedData) -> None:
    with pytest.raises(DownloadError, match=r"(?s)no connection.*set MISREAD_DATA to the folder above"):
        load("mnist")


@pytest.mark.parametrize("name", NAMED)
def test_every_named_set_says_whose_it_is_and_has_a_second_mirror(name: str) -> None:
    data = NAMED[name]
    assert data.licence
    assert data.homepage
    assert len(data.mirrors) >= 2
    assert len(data.class_names) == 10
    assert all(len(h) == 64 for h in data.contents_sha256 or data.gz_sha256)


@pytest.mark.mnist
def test_real_mnist_has_the_published_counts(mnist_root: Path) -> None:
    data = load("mnist")
    # the class counts of the training split as published with the data
    assert np.bincount(data.train.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(data.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert data.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert data.image_shape == (28, 28, 1)
