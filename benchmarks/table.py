"""Measurements as Markdown: the conditions, tables of training and predicting for each recipe, and whole commands."""

import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from limit import Work, limit_seconds

REFERENCE = "misread"
RATES = {"misread-mixed": "bfloat16_flops"}  # what a contestant multiplies matrices in; float32 where it is not here

Measurement = dict[str, Any]
Results = dict[str, Any]


def markdown(results: Results) -> str:
    """All that a results file says, for people."""
    measurements = results["measurements"]
    recipes = list(dict.fromkeys(m["recipe"] for m in measurements))
    parts = [recipe_tables(r, [m for m in measurements if m["recipe"] == r], results) for r in recipes]
    return "\n\n".join([conditions(results), *parts, *(commands(results) if results["start_up"] else [])])


def conditions(results: Results) -> str:
    machine = results["machine"]
    bfloat16 = machine["bfloat16_flops"]
    others = values(results["measurements"], "others_cpu_share")
    return (
        f"Measured {results['date']} on {machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads, "
        f"load average {machine['load_average_before']:.2f} before. The machine at that time: matrix product "
        f"{machine['float32_flops'] / 1e9:.0f} GFLOP/s in float32 and "
        + (f"{bfloat16 / 1e9:.0f}" if bfloat16 else "none")
        + f" in bfloat16, copying {machine['copy_bytes'] / 1e9:.1f} GB/s. "
        + (f"Other work took {spread(others, '{:.0%}', ' to ')} of the processor meanwhile. " if others else "")
        + f"{all_versions(results['measurements'])}.\n"
        f"Each cell: the median over the runs, below it lowest – highest."
    )


def all_versions(measurements: list[Measurement]) -> str:
    versions = {name: version for m in measurements for name, version in m.get("versions", {}).items()}
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def recipe_tables(recipe: str, measurements: list[Measurement], results: Results) -> str:
    """One recipe's tables, a line a contestant; below them, who failed and why."""
    contestants = list(dict.fromkeys(m["contestant"] for m in measurements))
    good = {c: [m for m in measurements if m["contestant"] == c and "failed" not in m] for c in contestants}
    runs = {c: ms for c, ms in good.items() if ms}
    counts = " or ".join(str(n) for n in sorted({len(ms) for ms in runs.values()})) or "no"
    epochs = measurements[0]["epochs"]
    training = table(
        "training",
        {
            "warm epoch, s": lambda c, ms: cell(values(ms, "warm_epoch_seconds"), "{:.2f}"),
            "times misread's": lambda c, ms: ratio(ms, runs.get(REFERENCE, []), "warm_epoch_seconds"),
            "of the limit": lambda c, ms: share_of_limit(c, ms, recipe, results),
            "first epoch, s": lambda c, ms: cell(values(ms, "first_epoch_seconds"), "{:.2f}"),
            f"fit, {epochs} epochs, s": lambda c, ms: cell(values(ms, "fit_seconds"), "{:.1f}"),
            "process, s": lambda c, ms: cell(values(ms, "process_seconds"), "{:.1f}"),
            "memory, MiB": lambda c, ms: cell([b / 2**20 for b in values(ms, "peak_rss_bytes")], "{:.0f}"),
            "test accuracy": lambda c, ms: cell(values(ms, "test_accuracy"), "{:.2%}"),
        },
        runs,
    )
    predicting = table(
        "predicting",
        {
            "images a second": lambda c, ms: cell(values(ms, "predict_images_per_second"), "{:,.0f}"),
            "times misread's": lambda c, ms: ratio(ms, runs.get(REFERENCE, []), "predict_images_per_second"),
            "best batch size": lambda c, ms: f"{statistics.mode(values(ms, 'predict_batch_size')):,}",
            "batch size changes probabilities by": lambda c, ms: f"{max(values(ms, 'predict_largest_difference')):.0e}",
        },
        runs,
    )
    notes = dict.fromkeys(f"{m['contestant']}: {m['note']}" for m in measurements if m.get("note"))
    failures = dict.fromkeys(f"{m['contestant']} failed: {m['failed']}" for m in measurements if "failed" in m)
    remarks = [f"{remark}." for remark in (*notes, *failures)]
    return "\n\n".join([f"**{recipe}**, {plural(counts, 'run')} of each", training, predicting, *remarks])


def table(
    name: str, columns: dict[str, Callable[[str, list[Measurement]], str]], runs: dict[str, list[Measurement]]
) -> str:
    lines = [[name, *columns], ["---", *["---:"] * len(columns)]]
    lines += [[contestant, *(column(contestant, ms) for column in columns.values())] for contestant, ms in runs.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def share_of_limit(contestant: str, measurements: list[Measurement], recipe: str, results: Results) -> str:
    measured = values(measurements, "warm_epoch_seconds")
    if not measured:
        return "–"
    machine = results["machine"]
    rate = machine[RATES.get(contestant, "float32_flops")] or machine["float32_flops"]
    limit = limit_seconds(Work(**results["work"][recipe]), rate, machine["copy_bytes"])
    return f"{limit / statistics.median(measured):.0%}"


def values(measurements: list[Measurement], key: str) -> list[float]:
    """A quantity of each measurement that has it; `warm_epoch_seconds` is the median of all epochs but the first."""
    if key == "warm_epoch_seconds":
        return [statistics.median(m["epoch_seconds"][1:]) for m in measurements if m["epochs"] > 1]
    return [m[key] for m in measurements if m.get(key) is not None]


def cell(numbers: list[float], style: str) -> str:
    """Median, and below it lowest – highest; the number alone where there is one, a dash where there is none."""
    if len(numbers) < 2:
        return style.format(numbers[0]) if numbers else "–"
    low, high = style.format(min(numbers)), style.format(max(numbers))
    return f"{style.format(statistics.median(numbers))}<br><sub>{low} – {high}</sub>"


def spread(numbers: list[float], style: str, to: str = " – ") -> str:
    """Median (lowest – highest) in a sentence."""
    low, high = style.format(min(numbers)), style.format(max(numbers))
    return f"{style.format(statistics.median(numbers))} ({low}{to}{high})"


def plural(count: object, noun: str) -> str:
    return f"{count} {noun}" if str(count) == "1" else f"{count} {noun}s"


def ratio(measurements: list[Measurement], reference: list[Measurement], key: str) -> str:
    own, theirs = values(measurements, key), values(reference, key)
    return f"{statistics.median(own) / statistics.median(theirs):.2f}" if own and theirs else "–"


def commands(results: Results) -> list[str]:
    """Whole commands, cold: a sentence on starting, and one on each recipe."""
    starting = ", ".join(f"`{name}` {spread(seconds, '{:.2f}')} s" for name, seconds in results["start_up"].items())
    said = [f"Starting: {starting}."]
    for recipe in dict.fromkeys(m["recipe"] for m in results["whole_commands"]):
        runs = [m for m in results["whole_commands"] if m["recipe"] == recipe]
        fit = [m["timing"]["fit_seconds"] for m in runs]
        said.append(
            f"`misread train mnist --recipe {recipe}`, from process start to the finished run folder: "
            f"{spread(values(runs, 'seconds'), '{:.2f}')} s, of which {spread(fit, '{:.2f}')} s training "
            f"({plural(runs[0]['epochs'], 'epoch')}); test accuracy {spread(values(runs, 'test_accuracy'), '{:.2%}')}."
        )
    return said


def replace_in_readme(path: Path, name: str, text: str) -> str:
    """Put the text between the markers `<!-- name -->` and `<!-- /name -->` of a file.

    Returns what was done, or why it could not be, in a sentence.
    """
    markers = re.compile(rf"(<!-- {name} -->).*?(<!-- /{name} -->)", re.DOTALL)
    if not path.is_file():
        return f"There is no {path.name} to put the table into."
    before = path.read_text(encoding="utf-8")
    if not markers.search(before):
        return f"{path.name} is as it was: it has no <!-- {name} --> and <!-- /{name} --> to put the table between."
    path.write_text(markers.sub(lambda m: f"{m[1]}\n{text}\n{m[2]}", before), encoding="utf-8")
    return f"{path.name} has the table now."
