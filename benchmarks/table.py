"""Measurements as Markdown: the conditions, a table for each recipe, and how long starting takes."""

import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

REFERENCE = "misread"
MARKERS = re.compile(r"(<!-- bench -->).*?(<!-- /bench -->)", re.DOTALL)
TIMES = {"warm_epoch_seconds": "warm epoch, s", "first_epoch_seconds": "first epoch, s",
         "process_seconds": "whole process, s"}  # fmt: skip
HEADINGS = ("contestant", *TIMES.values(), "peak memory, MiB", "test accuracy", "CPU taken by others")

Measurement = dict[str, Any]


def markdown(results: dict[str, Any]) -> str:
    """All that a results file says, for people."""
    measurements = results["measurements"]
    recipes = list(dict.fromkeys(m["recipe"] for m in measurements))
    tables = [recipe_table(recipe, [m for m in measurements if m["recipe"] == recipe]) for recipe in recipes]
    return "\n\n".join([conditions(results), *tables, start_up_line(results["start_up"])])


def conditions(results: dict[str, Any]) -> str:
    machine = results["machine"]
    float32, bfloat16, copied = (machine[k] / 1e9 for k in ("float32_flops", "bfloat16_flops", "copy_bytes"))
    return (
        f"Measured {results['date']} on {machine['cpu']}, {machine['cores']} cores ({machine['threads']} threads), "
        f"load average {machine['load_average_before']:.2f} before; "
        f"matrix product {float32:.0f} GFLOP/s in float32 and {bfloat16:.0f} in bfloat16, copying {copied:.1f} GB/s. "
        f"{all_versions(results['measurements'])}.\n"
        f"Medians (lowest to highest); ×: how many times misread's median."
    )


def all_versions(measurements: list[Measurement]) -> str:
    versions = {name: version for m in measurements for name, version in m.get("versions", {}).items()}
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def recipe_table(recipe: str, measurements: list[Measurement]) -> str:
    """One recipe's table, a line a contestant; below it, who failed and why."""
    contestants = list(dict.fromkeys(m["contestant"] for m in measurements))
    good = {c: [m for m in measurements if m["contestant"] == c and "failed" not in m] for c in contestants}
    reference = good.get(REFERENCE, [])
    counts = " or ".join(str(n) for n in sorted({len(ms) for ms in good.values() if ms}))
    lines = [
        f"**{recipe}**, epochs in each run: {measurements[0]['epochs']}, runs of each: {counts or 'none'}",
        "",
        f"| {' | '.join(HEADINGS)} |",
        f"|---|{'---:|' * (len(HEADINGS) - 1)}",
        *(f"| {' | '.join([c, *cells(ms, reference)])} |" for c, ms in good.items() if ms),
    ]
    reasons = dict.fromkeys(f"{m['contestant']} failed: {m['failed']}" for m in measurements if "failed" in m)
    return "\n".join([*lines, *(f"\n{reason}" for reason in reasons)])


def cells(measurements: list[Measurement], reference: list[Measurement]) -> list[str]:
    times = [spread(values(measurements, key), "{:.2f}") + ratio(measurements, reference, key) for key in TIMES]
    memory = [m["peak_rss_bytes"] / 2**20 for m in measurements]
    accuracy, others = values(measurements, "test_accuracy"), values(measurements, "others_cpu_share")
    return [*times, spread(memory, "{:.0f}"), spread(accuracy, "{:.2%}"), spread(others, "{:.0%}")]


def values(measurements: list[Measurement], key: str) -> list[float]:
    """A quantity of each measurement that has it; `warm_epoch_seconds` is the median of all epochs but the first."""
    if key == "warm_epoch_seconds":
        return [statistics.median(m["epoch_seconds"][1:]) for m in measurements if m["epochs"] > 1]
    return [m[key] for m in measurements if m[key] is not None]


def spread(numbers: list[float], style: str) -> str:
    """Median (lowest to highest); the number alone where there is one, a dash where there is none."""
    show: Callable[[float], str] = style.format
    if len(numbers) < 2:
        return show(numbers[0]) if numbers else "–"
    return f"{show(statistics.median(numbers))} ({show(min(numbers))} to {show(max(numbers))})"


def ratio(measurements: list[Measurement], reference: list[Measurement], key: str) -> str:
    own, theirs = values(measurements, key), values(reference, key)
    return f" {statistics.median(own) / statistics.median(theirs):.2f}×" if own and theirs else ""


def start_up_line(start_up: dict[str, list[float]]) -> str:
    said = ", ".join(f"`{command}` {spread(seconds, '{:.2f}')} s" for command, seconds in start_up.items())
    return f"Starting: {said}."


def replace_in_readme(path: Path, text: str) -> str:
    """Put the text between the markers of a file. Returns what was done, or why it could not be, in a sentence."""
    if not path.is_file():
        return f"There is no {path.name} to put the table into."
    before = path.read_text(encoding="utf-8")
    if not MARKERS.search(before):
        return f"{path.name} is as it was: it has no <!-- bench --> and <!-- /bench --> to put the table between."
    path.write_text(MARKERS.sub(lambda m: f"{m[1]}\n{text}\n{m[2]}", before), encoding="utf-8")
    return f"{path.name} has the table now."
