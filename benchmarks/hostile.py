"""Inputs made to do harm. Each must end in success or one message, in bounded memory and time."""

import gzip
import json
import os
import pickle
import struct
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from forked import misread
from misread.data.idx import idx_bytes, idx_header
from works import Row

SECONDS, MEGABYTES = 120.0, 3000  # a command may take; torch and the forked parent are about 500 MB of it
NAMES = (
    "日本",
    "Ελληνικά",
    "עברית",
    "👩‍🔬",
    "a b",
    "=1+1",
    "-x",
    "%s{0}",
    "<b>",
    "'\"",
    "e\u0301",
    "한국어",
    "x" * 200,
)


def pictures(folder: Path, count: int = 12, classes: tuple[str, ...] = ("a", "b")) -> Path:
    rng = np.random.default_rng(0)
    for i in range(count):
        path = folder / classes[i % len(classes)] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
    return folder


def png(width: int, height: int, rows: int) -> bytes:
    """A grey PNG whose header claims a size; of its rows, some are there."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes((width + 1) * rows), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def pixel_bomb(folder: Path) -> list[object]:
    pictures(folder)
    (folder / "a" / "bomb.png").write_bytes(png(30_000, 30_000, 100))
    (folder / "b" / "claim.png").write_bytes(png(2**31 - 1, 2**31 - 1, 0))
    return ["data", "info", folder]


def pipes_and_devices(folder: Path) -> list[object]:
    pictures(folder)
    os.mkfifo(folder / "a" / "pipe.png")
    (folder / "a" / "zero.png").symlink_to("/dev/zero")
    (folder / "b" / "tty.png").symlink_to("/dev/tty")
    return ["data", "info", folder]


def links(folder: Path) -> list[object]:
    pictures(folder)
    (folder / "a" / "up").symlink_to(folder)
    (folder / "a" / "self.png").symlink_to(folder / "a" / "self.png")
    (folder / "c.png").symlink_to("/etc/passwd")
    (folder / "circle").symlink_to(folder / "circle")
    return ["data", "info", folder]


def table_out_of_the_folder(folder: Path) -> list[object]:
    pictures(folder)
    (folder / "metadata.csv").write_text("file_name,label\na/0.png,x\n../../../etc/passwd,y\n")
    return ["data", "info", folder]


def gzip_bomb(folder: Path) -> list[object]:
    folder.mkdir()
    with gzip.open(folder / "train-images-idx3-ubyte.gz", "wb", 1) as file:
        file.write(idx_header((10, 28, 28)))
        for _ in range(2000):
            file.write(bytes(10**6))
    (folder / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(10, dtype=np.uint8)))
    return ["data", "info", folder]


def idx_of_19_gb(folder: Path) -> list[object]:
    folder.mkdir()
    (folder / "train-images-idx3-ubyte").write_bytes(idx_header((24_000_000, 28, 28)) + bytes(1000))
    (folder / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(10, dtype=np.uint8)))
    return ["data", "info", folder]


def npz_of_19_gb(folder: Path) -> list[object]:
    folder.mkdir()
    with zipfile.ZipFile(folder / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for key in ("x_train", "y_train"):
            with archive.open(f"{key}.npy", "w") as file:
                shape = {"descr": "|u1", "fortran_order": False, "shape": (24_000_000, 28, 28)}
                np.lib.format.write_array_header_1_0(file, shape)
                file.write(bytes(1000))
    return ["data", "info", folder / "x.npz"]


class Harm:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch /tmp/misread-unpickled",)


def pickles(folder: Path) -> list[object]:
    folder.mkdir()
    np.savez(folder / "x.npz", x_train=np.array([Harm()], dtype=object), y_train=np.arange(1))
    return ["data", "info", folder / "x.npz"]


def pickled_patch(folder: Path) -> list[object]:
    folder.mkdir()
    (folder / "fixes.jsonl").write_bytes(pickle.dumps({"a": 1}))
    return ["labels", "show", folder / "fixes.jsonl"]


def names_of_any_script(folder: Path) -> list[object]:
    return ["data", "info", pictures(folder, 3 * len(NAMES), NAMES)]


def files_200_000(folder: Path) -> list[object]:
    pictures(folder)
    contents = (folder / "a" / "0.png").read_bytes()
    for i in range(200_000):
        (folder / "ab"[i % 2] / f"n{i}.png").write_bytes(contents)
    return ["data", "info", folder]


def line_of_a_gigabyte(suffix: str, beginning: str) -> Callable[[Path], list[object]]:
    def make(folder: Path) -> list[object]:
        folder.mkdir()
        path = folder / f"metadata{suffix}"
        with path.open("w") as file:
            file.write(beginning)
            for _ in range(1000):
                file.write("1," * 500_000)
        return ["data", "info", path] if suffix != ".patch" else ["labels", "show", path]

    return make


def size_of_a_million(folder: Path) -> list[object]:
    return ["data", "info", pictures(folder), "--size", "1000000"]


INPUTS: dict[str, Callable[[Path], list[object]]] = {
    "a picture of 900 million pixels, and one that claims 2**62": pixel_bomb,
    "a pipe and links to devices among pictures": pipes_and_devices,
    "links out of the folder, and in circles": links,
    "a table that names files out of its folder": table_out_of_the_folder,
    "a gzipped IDX file of 2 GB that says 8 kB": gzip_bomb,
    "an IDX header that claims 19 GB": idx_of_19_gb,
    "an `.npz` header that claims 19 GB": npz_of_19_gb,
    "pickles in an `.npz`": pickles,
    "a pickle as a label patch": pickled_patch,
    "class names of many scripts, with quotes and signs": names_of_any_script,
    "pictures resized to 1,000,000 x 1,000,000": size_of_a_million,
    "a `.csv` with a line of 1 GB": line_of_a_gigabyte(".csv", "1,"),
    "a table with a line of 1 GB": line_of_a_gigabyte(".csv", "file_name,label\n"),
    "a `.jsonl` with a line of 1 GB": line_of_a_gigabyte(".jsonl", "["),
    "a label patch with a line of 1 GB": line_of_a_gigabyte(".patch", "["),
    "200,000 files": files_200_000,
}


def rows(root: Path, inputs: Collection[str] = INPUTS) -> Iterator[Row]:
    """What was done, once, and what was wrong."""
    for name in inputs:
        with tempfile.TemporaryDirectory(dir=root) as folder:
            arguments = INPUTS[name](Path(folder) / "input")
            started = time.monotonic()
            result = misread(arguments, root / "log.txt", kill_after=SECONDS)
            wrong = [] if result.is_clean else [f"{result.code}: {result.said}"]
            if result.peak_mb > MEGABYTES:
                wrong.append(f"{result.peak_mb:,} MB of memory")
            if Path("/tmp/misread-unpickled").exists():
                wrong.append("a pickle was loaded")
            said = json.dumps(result.said[:200], ensure_ascii=False)
            print(f"  {time.monotonic() - started:.1f} s, {result.peak_mb:,} MB, {result.code}: {said}", flush=True)
            yield Row(name, 1, wrong, result.said)
