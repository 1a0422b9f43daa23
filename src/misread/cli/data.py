"""`misread data list|info|get|check|show|cache`."""

from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from misread.cli import options
from misread.cli.output import check_picture_name, print_json, print_lines, print_table, warn, write_file, write_table
from misread.errors import DataError, RecipeError

if TYPE_CHECKING:
    import pandas as pd

    from misread.data.cache import CacheEntry
    from misread.data.image_set import ImageSet
    from misread.figures.style import Picture

PAIRS_SHOWN, PAIRS_DRAWN = 20, 24
VERSIONS = 8  # of each image, in a picture of augmentation

app = typer.Typer(help="List, describe, fetch, check and show data sets.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_data(json: options.Json = False) -> None:
    """List the named data sets and their places on this machine."""
    from misread.data.download import places
    from misread.data.load import EMBEDDED
    from misread.data.named import NAMED

    found = {name: next((p for p in places(data) if p.exists()), None) for name, data in NAMED.items()}
    rows = [
        {"name": n, "title": d.title, "licence": d.licence, "path": (p := found[n]) and str(p.path)}
        for n, d in NAMED.items()
    ]
    rows.append(
        {
            "name": EMBEDDED,
            "title": "scikit-learn's 1,797 handwritten digits, brought to 28x28",
            "licence": "CC BY 4.0 (Alpaydin, Kaynak; UCI)",
            "path": "embedded",
        }
    )
    if json:
        print_json(rows)
        return
    table = [
        [
            r["name"],
            r["title"],
            str(r["licence"]).split(" (")[0],
            r["path"] or f"not here; misread data get {r['name']}",
        ]
        for r in rows
    ]
    print_table(["Name", "What it is", "Licence", "Where"], table)


@app.command()
def info(
    data: options.Data, size: options.Size = None, strict: options.Strict = False, json: options.Json = False
) -> None:
    """Splits, shape, classes and fingerprint of a data set."""
    described = _describe(_load(data, size, strict))
    if json:
        print_json(described)
        return
    _print_description(described)


@app.command()
def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="mnist, fashion-mnist or kmnist.", show_default=False)],
) -> None:
    """Find a named data set on this machine, or download it; verified either way."""
    from misread.data.load import EMBEDDED, load
    from misread.data.named import NAMED
    from misread.names import nearest

    if name not in (*NAMED, EMBEDDED):
        raise DataError(
            f"There is no named data set {name!r}.{nearest(name, NAMED)} Known: {', '.join((*NAMED, EMBEDDED))}."
        )
    images = load(name, progress=warn)
    print_lines(f"{images!r}", f"Verified, in {images.location}")


@app.command()
def check(
    data: options.Data,
    size: options.Size = None,
    strict: options.Strict = False,
    csv: Annotated[Path | None, typer.Option(help="Write all pairs of duplicates there.", show_default=False)] = None,
    png: Annotated[
        Path | None, typer.Option(help="Write a picture of the worst pairs there (PNG or SVG).", show_default=False)
    ] = None,
    json: options.Json = False,
) -> None:
    """Read a whole data set and report its problems; exit code 1 if there are any."""
    from misread.analysis.data_check import check_data

    check_picture_name(png)
    images = _load(data, size, strict)
    described, found = _describe(images), check_data(images)
    pairs = found.duplicates
    written = []
    if csv:
        write_table(csv, pairs)
        written.append(f"Table: {csv}")
    if png:
        write_file(png, lambda path: _picture(images, pairs).save(path))
        written.append(f"Picture: {png}")
    if json:
        tables = {"duplicates": pairs.to_dict("records"), "constant": found.constant.to_dict("records")}
        print_json({**described, "problems": found.problems, "notes": found.notes, **tables})
        warn(*written)
    else:
        _print_description(described)
        problems = [f"Problem: {p}" for p in found.problems] or ["No problems found."]
        print_lines("", *problems, *(f"Note: {n}" for n in found.notes))
        _print_pairs(pairs)
        if written:
            print_lines("", *written)
    if found.problems:
        raise typer.Exit(1)


@app.command()
def show(
    data: options.Data,
    augmented: Annotated[bool, typer.Option("--augmented", help="Draw augmented versions of each image.")] = False,
    recipe: Annotated[str, typer.Option("--recipe", "-r", help="The recipe with the augmentation.")] = "accurate",
    set: options.Set = None,
    split: options.Split = "train",
    grid: Annotated[
        int | None, typer.Option(min=1, help="The number of images; 16, or 10 with --augmented.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the choice, and of augmentation.")] = 0,
    png: Annotated[
        Path | None,
        typer.Option(help="Write the picture there (PNG or SVG); else in this folder.", show_default=False),
    ] = None,
    size: options.Size = None,
    strict: options.Strict = False,
    json: options.Json = False,
) -> None:
    """Draw images with their labels, class by class; with --augmented, also augmented versions of them."""
    import numpy as np

    from misread.data.examples import pick_examples
    from misread.figures.examples import augmented_figure, examples_figure
    from misread.training.recipe import load_recipe

    spec = load_recipe(recipe, set or []).augmentation if augmented else None
    if augmented and spec is None:
        raise RecipeError(
            f"The recipe {recipe!r} augments nothing. Name another, or say how: --set augmentation.rotation=10"
        )
    check_picture_name(png)
    images = _load(data, size, strict)
    shown = images.split(split)
    shown = shown.take(pick_examples(shown.labels, grid or (10 if spec else 16), seed))
    labels = [images.class_names[k] for k in shown.labels]
    pixels = np.asarray(shown.images)
    title = f"{images.name} {split}"
    if spec is None:
        picture = examples_figure(pixels, labels, title)
    else:
        import torch

        from misread.training.augment import versions

        varied = versions(torch.tensor(pixels), spec, VERSIONS, seed).numpy()
        picture = augmented_figure(pixels, varied, labels, f"{title}, augmented: {spec}")
    png = png or Path(f"{images.name}-{split}{'-augmented' if spec else ''}.png")
    write_file(png, lambda path: picture.save(path))
    if json:
        print_json({"png": str(png), "rows": shown.rows.tolist(), "labels": labels})
    else:
        print_lines(f"Picture: {png}, {len(shown)} images of {title}" + (f"; {spec}" if spec else ""))


@app.command()
def cache(
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="Only what is of this folder or named set.", show_default=False)
    ] = None,
    clear: Annotated[
        bool, typer.Option("--clear", help="Remove the copies; what was downloaded stays.", show_default=False)
    ] = False,
    json: options.Json = False,
) -> None:
    """What is in the cache and how large it is: decoded folders, and decompressed and downloaded named sets."""
    from misread.data.cache import cache_entries, remove_entry
    from misread.data.download import cache_folder

    entries = cache_entries(data)
    removed = [entry for entry in entries if clear and entry.is_copy]
    for entry in removed:
        remove_entry(entry)
    total = sum(entry.bytes for entry in (removed if clear else entries))
    if json:
        rows = [
            {
                "kind": e.kind, "what": e.what, "path": str(e.path), "size_bytes": e.bytes, "images": e.images,
                "size": e.size, "orphaned": e.orphaned, "removed": e in removed,
            }
            for e in entries
        ]  # fmt: skip
        print_json({"cache": str(cache_folder()), "size_bytes": total, "entries": rows})
        return
    shown = removed if clear else entries
    if shown:
        print_table(["Kind", "Megabytes", "Images", "Of"], [_cache_row(entry) for entry in shown], right=[1, 2])
    print_lines(f"{'Removed' if clear else 'Cache'}: {total / 1e6:,.1f} MB in {cache_folder()}")


def _cache_row(entry: "CacheEntry") -> list[str]:
    images = "" if entry.images is None else f"{entry.images:,}"
    resized = f" at {entry.size[0]}x{entry.size[1]}" if entry.size else ""
    gone = " (no longer there)" if entry.what and entry.orphaned else ""
    return [entry.kind, f"{entry.bytes / 1e6:,.1f}", images, f"{entry.what or entry.path}{resized}{gone}"]


def _picture(images: "ImageSet", pairs: "pd.DataFrame") -> "Picture":
    from misread.analysis.duplicates import pair_images
    from misread.figures.duplicates import duplicates_figure

    worst = pairs.head(PAIRS_DRAWN)
    title = f"{len(worst):,} of {len(pairs):,} pairs of duplicates in {images.name}"
    return duplicates_figure(worst, *pair_images(images, worst), title)


def _print_pairs(pairs: "pd.DataFrame") -> None:
    if not len(pairs):
        return
    shown = pairs.head(PAIRS_SHOWN).to_dict("records")
    lines = [
        [p["kind"], f"{p['correlation']:.4f}", *(_place(p, which) for which in ("first", "second"))] for p in shown
    ]
    print_lines("")
    print_table(["Kind", "Correlation", "First", "Second"], lines, right=[1])
    if len(pairs) > len(shown):
        print_lines(f"and {len(pairs) - len(shown):,} more pairs; --csv FILE has all of them")


def _place(pair: dict[Hashable, Any], which: str) -> str:
    split, index, file, label = (pair[f"{which}_{key}"] for key in ("split", "index", "file", "label"))
    return f"{split} {file or f'{index:,}'}, labelled {label}"


def _load(data: str, size: str | None, strict: bool) -> "ImageSet":
    from misread.data.load import load

    return load(data, size=options.parse_size(size), strict=strict, progress=warn)


def _describe(images: "ImageSet") -> dict[str, Any]:
    import numpy as np

    from misread.data.named import NAMED

    named = NAMED.get(images.name) if images.source == images.name else None
    counts = {
        name: dict(zip(images.class_names, np.bincount(s.labels, minlength=images.n_classes).tolist(), strict=True))
        for name, s in images.splits.items()
    }
    return {
        "name": images.name,
        "title": named.title if named else "",
        "location": images.location,
        "licence": named.licence if named else "",
        "homepage": named.homepage if named else "",
        "image_shape": images.image_shape,
        "splits": {name: len(split) for name, split in images.splits.items()},
        "carved_test": images.carved_test,
        "counts": counts,
        "fingerprint": images.fingerprint,
        "load_seconds": images.load_seconds,
        "skipped": list(images.skipped),
    }


def _print_description(described: dict[str, Any]) -> None:
    height, width, channels = described["image_shape"]
    lines = [described["title"] or described["name"]]
    lines.append(f"Where        {described['location']}")
    lines += [f"{k.capitalize():<12} {described[k]}" for k in ("licence", "homepage") if described[k]]
    lines.append(f"Images       {height}x{width}, {'grey' if channels == 1 else 'RGB'}")
    if described["carved_test"]:
        lines.append("Test split   there was none: a fifth of each class was set aside, the same for every run")
    lines.append(f"Fingerprint  {described['fingerprint']}")
    print_lines(*lines, "")
    splits = list(described["counts"])
    rows = [[name, *(f"{described['counts'][s][name]:,}" for s in splits)] for name in described["counts"][splits[0]]]
    rows.append(["all", *(f"{described['splits'][s]:,}" for s in splits)])
    print_table(["Class", *splits], rows, right=range(1, len(splits) + 1))
    if described["skipped"]:
        print_lines("", *(f"Skipped: {line}" for line in described["skipped"]))
