"""Named sets: found where they may lie, verified, downloaded whole or not at all."""

import dataclasses
import gzip
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import misread
from misread.data import download
from misread.data.idx import idx_bytes, sha256
from misread.data.image_set import ImageSet
from misread.data.load import load
from misread.data.named import FILES, NAMED, NamedData
from misread.errors import DataError, DownloadError
from samples import blocks


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
    place = next(p for p in download.places(small) if p.what == where)
    put(place.path, files)
    said: list[str] = []
    data = load("mnist", progress=said.append)
    assert data.class_names == tuple("abcd")
    assert len(data.train) == 40
    assert where in said[0]


def test_the_npz_of_keras_is_verified_by_the_same_hashes(small: NamedData) -> None:
    (train, labels), (test, test_labels) = blocks(40, side=28), blocks(20, side=28, seed=1)
    path = next(p.path for p in download.places(small) if p.what == "Keras's copy")
    path.parent.mkdir(parents=True)
    arrays = {"x_train": train.squeeze(-1), "y_train": labels, "x_test": test.squeeze(-1), "y_test": test_labels}
    np.savez(path, **arrays)  # type: ignore[arg-type]
    np.testing.assert_array_equal(load("mnist").train.images, train)
    arrays["y_train"] = (labels + 1) % 4
    np.savez(path, **arrays)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"mnist.npz: its arrays are not those of mnist"):
        load("mnist")
    del arrays["y_train"]
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


def test_a_missing_file_of_a_copy_is_named(
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


def test_an_interrupted_download_continues_with_the_next_file(
    small: NamedData, files: dict[str, bytes], serve: type[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = dict(list(packed(files).items())[:1])
    mirrors(monkeypatch, small, serve(first).url)
    with pytest.raises(DownloadError, match=r"no mirror provided train-labels-idx1-ubyte.gz"):
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
def test_a_bad_download_leaves_no_file_and_the_error_has_the_reason(
    harm: object, reason: str, small: NamedData, files: dict[str, bytes], serve: type[Server],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    server = serve(harm(packed(files)))  # type: ignore[operator]
    mirrors(monkeypatch, small, server.url)
    with pytest.raises(DownloadError, match=rf"no mirror provided train-images-idx3-ubyte.gz.\n.*{reason}"):
        load("mnist")
    assert list((download.cache_folder() / "mnist").iterdir()) == []


def test_a_lost_connection_leaves_no_file(
    small: NamedData, files: dict[str, bytes], serve: type[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    mirrors(monkeypatch, small, serve(packed(files), cut=True).url)
    with pytest.raises(DownloadError, match="no connection, or the connection was lost"):
        load("mnist")
    assert list((download.cache_folder() / "mnist").iterdir()) == []


def test_without_a_network_the_error_says_what_to_do(small: NamedData) -> None:
    with pytest.raises(DownloadError, match=r"(?s)no connection.*set MISREAD_DATA to its parent folder"):
        load("mnist")


# the decompressed copies


@pytest.fixture
def copies(small: NamedData, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the copies, after a first load from $MISREAD_DATA."""
    monkeypatch.setenv("MISREAD_DATA", str(tmp_path))
    put(tmp_path / "mnist", files)
    load("mnist")
    return download.cache_folder() / "decompressed" / "mnist"


def no_source(path: Path) -> bytes:
    raise AssertionError(f"{path} was read again")


def test_a_later_load_reads_only_the_copies_and_gives_the_same(
    copies: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {p.name: p.read_bytes() for p in copies.iterdir() if p.name != "source.json"} == {
        name.removesuffix(".gz"): contents for name, contents in files.items()
    }
    monkeypatch.setattr(download, "read_bytes", no_source)
    data = load("mnist")
    (train, train_labels), (test, test_labels) = blocks(40, side=28), blocks(20, side=28, seed=1)
    np.testing.assert_array_equal(data.train.images, train)
    np.testing.assert_array_equal(data.train.labels, train_labels)
    np.testing.assert_array_equal(data.test.images, test)
    np.testing.assert_array_equal(data.test.labels, test_labels)
    assert not data.train.images.flags.writeable  # type: ignore[union-attr]  # nobody can change the copy through it
    arrays = ImageSet.from_arrays(train, train_labels, test=(test, test_labels), class_names=list("abcd"))
    assert data.fingerprint == arrays.fingerprint


def flip(path: Path, position: int = -1) -> None:
    contents = bytearray(path.read_bytes())
    contents[position] ^= 1
    path.write_bytes(contents)


IMAGES = "train-images-idx3-ubyte"


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: flip(folder / IMAGES),
        lambda folder: flip(folder / IMAGES, 3),
        lambda folder: flip(folder / "t10k-labels-idx1-ubyte"),
        lambda folder: (folder / IMAGES).write_bytes((folder / IMAGES).read_bytes()[:-1]),
        lambda folder: (folder / IMAGES).write_bytes(b""),
        lambda folder: (folder / IMAGES).unlink(),
        lambda folder: (folder / IMAGES).write_bytes((folder / "train-labels-idx1-ubyte").read_bytes()),
        lambda folder: (folder / "source.json").unlink(),
        lambda folder: (folder / "source.json").write_text("{"),
        lambda folder: (folder / "source.json").write_text("[]"),
        lambda folder: (folder / "source.json").write_bytes(b"\xff"),
    ],
)
@pytest.mark.parametrize("hashes", ["published", "noted"])
def test_damaged_copies_are_not_used_and_written_again(
    harm: Callable[[Path], object], hashes: str, small: NamedData, files: dict[str, bytes], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("MISREAD_DATA", str(tmp_path))
    put(tmp_path / "mnist", files)
    if hashes == "noted":  # as for KMNIST: of the .gz files only
        gz = tuple(sha256((tmp_path / "mnist" / name).read_bytes()) for name in FILES.values())
        monkeypatch.setitem(NAMED, "mnist", dataclasses.replace(small, contents_sha256=None, gz_sha256=gz))
    first = load("mnist")
    copies = download.cache_folder() / "decompressed" / "mnist"
    whole = {p.name: p.read_bytes() for p in copies.iterdir()}
    harm(copies)
    again = load("mnist")
    np.testing.assert_array_equal(again.train.images, first.train.images)
    np.testing.assert_array_equal(again.test.labels, first.test.labels)
    assert {p.name: p.read_bytes() for p in copies.iterdir()} == whole
    monkeypatch.setattr(download, "read_bytes", no_source)
    assert load("mnist").fingerprint == first.fingerprint


def test_a_source_that_changed_is_read_again(copies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "mnist" / FILES["test", "images"]
    os.utime(source, ns=(1, 1))
    assert len(load("mnist").test) == 20
    with monkeypatch.context() as patch:  # and then it is known again
        patch.setattr(download, "read_bytes", no_source)
        load("mnist")
    source.write_bytes(gzip.compress(b"something else"))
    with pytest.raises(DataError, match=rf"{source.name}: the SHA-256 of its contents is"):
        load("mnist")
    source.unlink()
    with pytest.raises(DataError, match=rf"has no {source.name}"):
        load("mnist")


@pytest.mark.parametrize("where", ["a file", "a folder nobody may write to"])
def test_a_cache_that_cannot_be_written_never_fails_a_load(
    where: str, small: NamedData, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISREAD_DATA", str(tmp_path))
    put(tmp_path / "mnist", files)
    cache = tmp_path / "cache"
    cache.touch() if where == "a file" else cache.mkdir(mode=0o500)
    monkeypatch.setenv("MISREAD_CACHE", str(cache))
    assert len(load("mnist").train) == len(load("mnist").train) == 40


FULL = """
import dataclasses, json, resource, sys
from misread.data.load import load
from misread.data.named import NAMED
hashes = tuple(json.loads(sys.argv[1]))
NAMED["mnist"] = dataclasses.replace(NAMED["mnist"], contents_sha256=hashes, class_names=tuple("abcd"))
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))  # as a full disk: what is longer breaks off in the middle
print(len(load("mnist").train), len(load("mnist").train))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the limit is POSIX's")
def test_a_full_disk_leaves_no_incomplete_file(
    small: NamedData, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISREAD_DATA", str(tmp_path))
    put(tmp_path / "mnist", files)
    command = [sys.executable, "-B", "-c", FULL, json.dumps(small.contents_sha256)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.stdout == "40 40\n", finished.stderr
    assert list((download.cache_folder() / "decompressed" / "mnist").iterdir()) == []


def test_several_processes_may_load_at_once(
    small: NamedData, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISREAD_DATA", str(tmp_path))
    put(tmp_path / "mnist", files)
    with ThreadPoolExecutor(8) as pool:
        fingerprints = {data.fingerprint for data in pool.map(lambda _: load("mnist"), range(40))}
    assert len(fingerprints) == 1
    monkeypatch.setattr(download, "read_bytes", no_source)
    load("mnist")
    left = {p.name for p in (download.cache_folder() / "decompressed" / "mnist").iterdir()}
    assert left == {"source.json", *(name.removesuffix(".gz") for name in files)}


def test_a_run_trains_on_the_copies_without_changing_them(copies: Path, tmp_path: Path) -> None:
    before = {p.name: p.read_bytes() for p in copies.iterdir()}
    run = misread.train("mnist", "tutorial-mlp", epochs=1, out=tmp_path / "runs", progress=False)
    assert run.record.data.fingerprint == load("mnist").fingerprint
    assert {p.name: p.read_bytes() for p in copies.iterdir()} == before


@pytest.mark.parametrize("name", NAMED)
def test_every_named_set_has_a_licence_and_a_second_mirror(name: str) -> None:
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
