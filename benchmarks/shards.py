"""Images a second of predicting shards: one process without shards, local workers, Ray, Ray Data, PyTorch's DataLoader.

    python benchmarks/shards.py RUN FOLDER [--images 60000] [--shards 12] [--only serial,workers-2] [--json FILE]

FOLDER gets tar files of MNIST's training images as PNG (`MISREAD_DATA` names where they are); RUN was trained on 28x28
grey images. Every way decodes the same files and predicts with the same network. Wall time counts from the start of the
command or function to its end, starting processes included. CPU time is that of all its processes, and is left out for
workers and Ray, whose processes are not children that end with the command.
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
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

import misread
from misread.data.geometry import fit_picture
from misread.scale.predictor import Predictor
from misread.scale.shard_images import read_shard
from misread.scale.shards import find_shards


def write_shards(folder: Path, images: np.ndarray, shards: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(np.array_split(np.arange(len(images)), shards)):
        path = folder / f"{number:03}.tar"
        if path.exists():
            continue
        with tarfile.open(path, "w") as tar:
            for row in part:
                file = io.BytesIO()
                Image.fromarray(images[row, ..., 0]).save(file, "png")
                member = tarfile.TarInfo(f"{row:06}.png")
                member.size = file.tell()
                file.seek(0)
                tar.addfile(member, file)


def serial(run: Path, folder: Path) -> None:
    """One process, no output: decode and predict."""
    predictor = Predictor(run)
    for shard in find_shards([str(path) for path in sorted(folder.glob("*.tar"))]):
        for block in read_shard(shard, predictor.class_names, predictor.geometry):
            predictor(block.images)


def command(*options: str) -> Callable[[Path, Path], None]:
    def do(run: Path, folder: Path) -> None:
        out = folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        given = [str(path) for path in sorted(folder.glob("*.tar"))]
        program = [sys.executable, "-m", "misread", "predict", str(run), *given, "--out", str(out), "--quiet", *options]
        subprocess.run(program, check=True, stdout=subprocess.DEVNULL)

    return do


def members(path: str) -> Iterator[bytes]:
    with tarfile.open(path) as tar:
        for member in tar:
            yield tar.extractfile(member).read()  # type: ignore[union-attr]


def decoded(contents: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(contents)))[..., None]


def data_loader(run: Path, folder: Path) -> None:
    """PyTorch's DataLoader with two workers, which decode; the main process predicts."""
    import torch
    from torch.utils.data import DataLoader, IterableDataset, get_worker_info

    class Tars(IterableDataset):  # type: ignore[type-arg]
        def __iter__(self) -> Iterator[np.ndarray]:
            info = get_worker_info()
            paths = sorted(folder.glob("*.tar"))
            for path in paths if info is None else paths[info.id :: info.num_workers]:
                yield from map(decoded, members(str(path)))

    predictor = Predictor(run)
    for batch in DataLoader(Tars(), batch_size=1000, num_workers=2):
        predictor(torch.as_tensor(batch).numpy())


def ray_data(run: Path, folder: Path) -> None:
    """Ray Data: `read_webdataset`, then batches to the predictor."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    predictor = Predictor(run)
    geometry = predictor.geometry

    def predict(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        images = np.stack(
            [fit_picture(np.asarray(image).reshape(28, 28, -1)[..., :1], geometry) for image in batch["png"]]
        )
        return {"probs": predictor(images)}

    table = ray.data.read_webdataset([str(path) for path in sorted(folder.glob("*.tar"))])
    table.map_batches(predict, batch_size=1000).write_parquet(str(folder / "ray-data"))
    ray.shutdown()


WAYS: dict[str, Callable[[Path, Path], None]] = {
    "serial": serial,
    "workers-1": command("--workers", "1"),
    "workers-2": command("--workers", "2"),
    "workers-4": command("--workers", "4"),
    "ray": command("--ray", "local"),
    "ray-data": ray_data,
    "data-loader": data_loader,
}


def measured(name: str, run: Path, folder: Path, images: int) -> dict[str, object]:
    """The way in a process of its own, so that its CPU time is known."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); "
        f"import shards; from pathlib import Path; shards.WAYS[{name!r}](Path({str(run)!r}), Path({str(folder)!r}))"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    found: dict[str, object] = {
        "way": name, "wall_seconds": round(seconds, 2), "images_per_second": round(images / seconds),
        "load_average": round(os.getloadavg()[0], 1),
    }  # fmt: skip
    if name in ("serial", "data-loader"):
        found["cpu_seconds"] = round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--shards", type=int, default=12)
    parser.add_argument("--only", default=",".join(WAYS))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    write_shards(given.folder, misread.load("mnist").train.images[: given.images], given.shards)
    results = []
    for name in given.only.split(","):
        results.append(measured(name, given.run, given.folder, given.images))
        print(json.dumps(results[-1]), flush=True)
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
