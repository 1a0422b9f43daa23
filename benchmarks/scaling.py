"""How time and memory grow with the number of images, and a training on more images than memory may hold.

Run it as `.venv/bin/python benchmarks/scaling.py --readme`.
"""

import argparse
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from children import answers_of, say
from misread.training.recipe import recipe_names
from results_file import RESULTS, write_json
from scaling_run import write_folder
from table import replace_in_readme

HERE = Path(__file__).resolve().parent
RECIPES = [name for name in ("tutorial-mlp", "fast") if name in recipe_names()]
SIZES = (6_000, 20_000, 60_000, 200_000, 600_000)
EPOCHS = 3
MIB = 2**20


def main() -> int:
    args = parse_arguments()
    results = {
        "date": time.strftime("%Y-%m-%d"),
        "sizes": [measure(recipe, size) for recipe in args.recipes for size in args.sizes],
        "limited": measure_limited(args.recipes[0], args.limit_mib, args.limited_images),
    }
    write_json(args.out, results)
    text = markdown(results)
    print(text)
    if args.readme:
        say(replace_in_readme(HERE / "README.md", "scaling", text))
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time and memory of misread for small and large sets of images.")
    parser.add_argument("recipes", nargs="*", default=RECIPES, metavar="RECIPE")
    parser.add_argument("--sizes", nargs="*", type=int, default=SIZES, metavar="N")
    parser.add_argument("--limit-mib", type=int, default=512, help="of the training on mapped images")
    parser.add_argument(
        "--limited-images", type=int, metavar="N", help="in that training; by default a few more than fit"
    )
    parser.add_argument(
        "--out", type=Path, default=RESULTS / f"scaling-{time.strftime('%Y-%m-%d')}.json", metavar="FILE"
    )
    parser.add_argument("--readme", action="store_true", help="put the table into benchmarks/README.md")
    return parser.parse_args()


def measure(recipe: str, size: int) -> dict[str, Any]:
    measured = run(recipe, EPOCHS, str(size))
    say(f"{recipe}, {size:,} images: {in_short(measured)}")
    return {"recipe": recipe, "images": size, **measured}


def measure_limited(recipe: str, limit_mib: int, images: int | None = None) -> dict[str, Any]:
    """One epoch under a limit on the process's own memory, on a few more images than fit into it, or on so many.

    Mapped from a file, which the limit leaves out, and, to see that the limit holds, in memory.
    """
    count = images or limit_mib * MIB * 21 // 20 // 784
    with tempfile.TemporaryDirectory() as folder:
        write_folder(Path(folder), count)
        before = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (limit_mib * MIB, before[1]))  # children inherit it
        try:
            mapped, held = run(recipe, 1, folder), run(recipe, 1, str(count))
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, before)
    say(f"{recipe}, {count:,} images under {limit_mib} MiB: mapped: {in_short(mapped)}; in memory: {in_short(held)}")
    return {"recipe": recipe, "images": count, "limit_bytes": limit_mib * MIB, "mapped": mapped, "in_memory": held}


def run(recipe: str, epochs: int, where: str) -> dict[str, Any]:
    return answers_of([sys.executable, HERE / "scaling_run.py", recipe, str(epochs), where])


def in_short(measured: dict[str, Any]) -> str:
    if "failed" in measured:
        return f"failed: {measured['failed']}"
    return f"epochs of {', '.join(f'{s:.2f}' for s in measured['epoch_seconds'])} s"


def markdown(results: dict[str, Any]) -> str:
    good = [m for m in results["sizes"] if "failed" not in m]
    lines = [
        "| recipe | images | warm epoch, s | µs an image | largest memory, MiB | of that images, MiB | the rest, MiB |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *(f"| {' | '.join(cells(m))} |" for m in good),
    ]
    failures = [
        f"{m['recipe']} on {m['images']:,} images failed: {m['failed']}" for m in results["sizes"] if m not in good
    ]
    return "\n\n".join([conditions(results, good), "\n".join(lines), *failures, limited_line(results["limited"])])


def conditions(results: dict[str, Any], good: list[dict[str, Any]]) -> str:
    if not good:
        return f"Measured {results['date']}."
    machine = good[0]["environment"]
    return (
        f"Measured {results['date']} on {machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads; "
        f"misread {machine['misread']}, torch {machine['torch']}. One run of {EPOCHS} epochs each."
    )


def cells(m: dict[str, Any]) -> list[str]:
    warm = statistics.median(m["epoch_seconds"][1:])
    peak, data = m["peak_rss_bytes"] / MIB, m["data_bytes"] / MIB
    each = 1e6 * warm / m["n_train"]
    return [
        m["recipe"],
        f"{m['images']:,}",
        f"{warm:.2f}",
        f"{each:.1f}",
        f"{peak:.0f}",
        f"{data:.0f}",
        f"{peak - data:.0f}",
    ]


def limited_line(limited: dict[str, Any]) -> str:
    size = f"{limited['images']:,} images ({limited['images'] * 784 / MIB:.0f} MiB)"
    return (
        f"Under a limit of {limited['limit_bytes'] / MIB:.0f} MiB on the process's own memory (RLIMIT_DATA), one epoch "
        f"of {limited['recipe']} on {size}: mapped from a file, {outcome(limited['mapped'])}; "
        f"the same images in memory, {outcome(limited['in_memory'])}."
    )


def outcome(measured: dict[str, Any]) -> str:
    if "failed" in measured:
        return f"failed ({measured['failed']})"
    return f"{measured['epoch_seconds'][0]:.2f} s, test accuracy {measured['test_accuracy']:.2%}"


if __name__ == "__main__":
    sys.exit(main())
