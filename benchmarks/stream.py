"""Training on shards larger than the memory that it may use; and reading shards beside WebDataset.

    python benchmarks/stream.py make FOLDER --images 10000000 --shards 200 [--parquet]
    python benchmarks/stream.py train FOLDER [--limit-mib 1536] [--window-mib 256] [--recipe tutorial-mlp]
    python benchmarks/stream.py read FOLDER --python PYTHON [--rounds 3] [--window-mib 256]

`make` writes shards of PNG and labels: MNIST's training images (`MISREAD_DATA` names where they are), each as often as
needed, in an order by a seed. `train` decodes them and trains one epoch in a process whose own memory (RLIMIT_DATA) is
limited, as is that of the processes that decode. `read` compares, in turns, the processor time of an image: decoded
into the cache, taken from there in the order of the windows, and decoded by a PyTorch DataLoader over WebDataset with a
shuffle buffer. PYTHON is an interpreter that has webdataset and misread.
"""

import argparse
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

MIB = 2**20
BATCH = 128
BUFFER = 10_000  # images in WebDataset's shuffle buffer


def make(folder: Path, images: int, shards: int, parquet: bool) -> None:
    from PIL import Image

    import misread

    train = misread.load("mnist").train
    pngs = []
    for image in np.asarray(train.images):
        file = io.BytesIO()
        Image.fromarray(image[..., 0]).save(file, "png")
        pngs.append(file.getvalue())
    folder.mkdir(parents=True, exist_ok=True)
    rows = np.arange(images) % len(pngs)
    np.random.default_rng(0).shuffle(rows)
    for number, part in enumerate(np.array_split(rows, shards)):
        write = write_parquet if parquet else write_tar
        write(folder / f"train-{number:05}", part, pngs, train.labels)
    write(folder / "test-00000", np.arange(10_000), pngs, train.labels)


def write_parquet(path: Path, rows: np.ndarray, pngs: list[bytes], labels: np.ndarray) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"image": pa.array([pngs[row] for row in rows], pa.binary()), "label": labels[rows]})
    pq.write_table(table, path.with_suffix(".parquet"), row_group_size=10_000, compression="none")


def write_tar(path: Path, rows: np.ndarray, pngs: list[bytes], labels: np.ndarray) -> None:
    with path.with_suffix(".tar").open("wb") as file:
        for number, row in enumerate(rows):
            for ending, contents in (("png", pngs[row]), ("cls", str(labels[row]).encode())):
                member = tarfile.TarInfo(f"{number:07}.{ending}")
                member.size = len(contents)
                file.write(member.tobuf(tarfile.USTAR_FORMAT) + contents + bytes(-len(contents) % 512))
        file.write(bytes(1024))


def child(
    code: str, *arguments: object, python: str = sys.executable, limit_mib: int = 0, **variables: str
) -> dict[str, Any]:
    """What a process says last, a line of JSON, with its own seconds and those of its children."""

    def limited() -> None:
        if limit_mib:
            resource.setrlimit(resource.RLIMIT_DATA, (limit_mib * MIB, limit_mib * MIB))

    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [python, "-W", "ignore", __file__, code, *map(str, arguments)], stdout=subprocess.PIPE, text=True,
        preexec_fn=limited, env={**os.environ, **variables}, check=False,
    )  # fmt: skip
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    said = json.loads(done.stdout.strip().splitlines()[-1]) if done.returncode == 0 else {"failed": done.returncode}
    return {**said, "process_seconds": round(seconds, 1), "process_cpu_seconds": round(cpu, 1)}


def peaks() -> dict[str, int]:
    """The largest resident memory of this process in MiB, mapped files included, and of its children."""
    own, others = (
        resource.getrusage(who).ru_maxrss // 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return {"peak_rss_mib": own, "children_peak_rss_mib": others, "data_mib": int(lines["VmData"].split()[0]) // 1024}


def decode_child(folder: str) -> None:
    import misread

    began, cpu = time.perf_counter(), time.process_time()
    data = misread.load(folder, progress=None)
    loaded = {"load_seconds": round(time.perf_counter() - began, 1), "load_cpu_seconds": time.process_time() - cpu}
    print(json.dumps({"images": sum(map(len, data.splits.values())), **loaded, **peaks()}))


def train_child(folder: str, recipe: str, window_mib: str) -> None:
    import misread

    began = time.perf_counter()
    data = misread.load(folder, progress=None)
    loaded = {"load_seconds": round(time.perf_counter() - began, 1), **{f"load_{k}": v for k, v in peaks().items()}}
    with tempfile.TemporaryDirectory() as out:
        settings = {"epochs": 1, "shuffle_window_mib": int(window_mib)}
        run = misread.train(data, recipe, settings=settings, out=out, progress=False, device="cpu")
        answer = {
            "n_train": run.record.data.n_train,
            "epoch_seconds": run.history["seconds"].tolist(),
            "test_accuracy": run.metrics["test"]["accuracy"],
            "pixels_mib": data.train.images.nbytes // MIB,
        }
    print(json.dumps({**answer, **loaded, **peaks()}))


def windows_child(folder: str, window_mib: str) -> None:
    """The batches of an epoch, gathered as a training does."""
    import torch

    import misread
    from misread.training.batches import Batches, Examples
    from misread.training.recipe import Recipe

    data = misread.load(folder, progress=None)
    examples = Examples.on(torch.device("cpu"), data.train.images, data.train.labels)
    batches = Batches(examples, Recipe(batch_size=BATCH, shuffle_window_mib=int(window_mib)), 0)
    began, cpu, count, step = time.perf_counter(), time.process_time(), 0, 0
    while step < batches.steps_per_epoch:
        batch = batches.take(0, step, 1)
        images, _ = batch.images[batch.rows], batch.labels[batch.rows]
        count, step = count + len(images), step + 1
    print(
        json.dumps({"images": count, "seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu})
    )


def webdataset_child(folder: str, workers: str) -> None:
    """The batches of an epoch by WebDataset: shards shuffled, a shuffle buffer, decoded, collated."""
    import torch
    import webdataset
    from PIL import Image
    from torch.utils.data import DataLoader

    torch.set_num_threads(1)

    def decoded(sample: dict[str, bytes]) -> tuple[np.ndarray, int]:
        return np.asarray(Image.open(io.BytesIO(sample["png"])))[..., None], int(sample["cls"])

    paths = sorted(str(path) for path in Path(folder).glob("train-*.tar"))
    began = time.perf_counter()
    samples = webdataset.WebDataset(paths, shardshuffle=len(paths), seed=0).shuffle(BUFFER).map(decoded)
    count = sum(len(labels) for _, labels in DataLoader(samples, batch_size=BATCH, num_workers=int(workers)))
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(json.dumps({"images": count, "seconds": time.perf_counter() - began,
                      "cpu_seconds": sum(u.ru_utime + u.ru_stime for u in used)}))  # fmt: skip


def read(folder: Path, python: str, rounds: int, window_mib: int) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as cache:
        for _ in range(rounds):
            shutil.rmtree(cache, ignore_errors=True)
            one = {"OMP_NUM_THREADS": "1", "MISREAD_CACHE": cache}
            ways = {
                "decode": child("decode-child", folder, **one),
                "windows": child("windows-child", folder, window_mib, **one),
                "webdataset, in the process": child("webdataset-child", folder, 0, python=python, **one),
                "webdataset, 2 workers": child("webdataset-child", folder, 2, python=python, **one),
            }
            for name, said in ways.items():
                cpu = said["process_cpu_seconds"] if name == "decode" else said.get("cpu_seconds", float("nan"))
                each = round(1e6 * cpu / said.get("images", 1), 1)
                print(json.dumps({"way": name, "cpu_us_per_image": each, **said}), flush=True)


def main() -> None:
    children = {"decode-child": decode_child, "train-child": train_child, "windows-child": windows_child,
                "webdataset-child": webdataset_child}  # fmt: skip
    if len(sys.argv) > 1 and sys.argv[1] in children:
        children[sys.argv[1]](*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("make", "train", "read"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--shards", type=int, default=20)
    parser.add_argument("--parquet", action="store_true")
    parser.add_argument("--recipe", default="tutorial-mlp")
    parser.add_argument("--limit-mib", type=int, default=1536)
    parser.add_argument("--window-mib", type=int, default=256)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if given.what == "make":
        make(given.folder, given.images, given.shards, given.parquet)
    elif given.what == "train":
        arguments = given.folder, given.recipe, given.window_mib
        print(json.dumps(child("train-child", *arguments, limit_mib=given.limit_mib)))
    else:
        read(given.folder, given.python, given.rounds, given.window_mib)


if __name__ == "__main__":
    main()
