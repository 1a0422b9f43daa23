"""How quickly the studio's pages answer: strokes, the next image in Look inside, the map, and the start.

    python benchmarks/studio_page.py RUN [RUN ...] [--strokes 60] [--points 70000] [--out FILE]

The first RUN is also used for the start and the map. Everything is measured in headless Chromium by the page's own
clock, from the time stamp of the event to the end of the frame that shows the answer; a message that is posted in the
frame is delivered after the page has painted. Prints a table; --out writes every single measurement as JSON.
"""

import argparse
import contextlib
import json
import math
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from machine import measure_machine
from results_file import write_json

STARTS = 5
IMAGES = 40  # looked at in Look inside
PAN_SECONDS = 8

# Milliseconds from the first event of a frame to the end of the frame. The room registers its frame before this does.
TIME_STROKES = """() => {
    window.times = [];
    let first = 0;
    const ended = new MessageChannel();
    ended.port1.onmessage = ({ data }) => window.times.push(performance.now() - data);
    const moved = ({ timeStamp, buttons }) => {
        if (!buttons || first) return;
        first = timeStamp;
        requestAnimationFrame(() => { ended.port2.postMessage(first); first = 0; });
    };
    const paper = document.querySelector("canvas.paper");
    for (const name of ["pointerdown", "pointermove"]) paper.addEventListener(name, moved);
}"""
# Milliseconds from a key to the end of the frame in which the title, which names the image, has changed.
TIME_IMAGES = """() => {
    window.times = [];
    let pressed = 0;
    const ended = new MessageChannel();
    ended.port1.onmessage = ({ data }) => window.times.push(performance.now() - data);
    addEventListener("keydown", ({ timeStamp }) => (pressed = timeStamp), true);
    new MutationObserver(() => {
        if (!pressed) return;
        const start = pressed;
        pressed = 0;
        requestAnimationFrame(() => ended.port2.postMessage(start));
    }).observe(document.querySelector(".reading"), { childList: true, characterData: true, subtree: true });
}"""
# A map of n random points in place of the page, moved by one step a frame. Milliseconds between frames.
PAN = """async ([n, seconds, kind]) => {
    const { MapView } = await import("/web/components/map_view.js");
    const root = document.createElement("div");
    root.style.cssText = "position: fixed; inset: 0; background: Canvas";
    document.body.append(root);
    const stop = new AbortController();
    const on = { hover() {}, choose() {}, moved() {}, pictures() {} };
    const map = new MapView(root, { label: "points", on, picture: () => null, draw: kind, signal: stop.signal });
    const normal = () => 0.25 * Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
    map.setPlaces(Float32Array.from({ length: 2 * n }, () => Math.max(-1, Math.min(1, normal()))));
    const colours = Uint8Array.from({ length: 4 * n }, (_, i) => (i % 4 === 3 ? 255 : 256 * Math.random()));
    map.setLook(colours, new Float32Array(n).fill(3), () => true);
    const frames = [];
    const end = performance.now() + 1000 * seconds;
    for (let last = performance.now(), step = 0; last < end; step++) {
        map.moveBy(6 * Math.cos(step / 20), 6 * Math.sin(step / 20));
        await new Promise(requestAnimationFrame);
        const now = performance.now();
        frames.push(now - last);
        last = now;
    }
    stop.abort();
    root.remove();
    return { kind: map.plot.kind, frames };
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--strokes", type=int, default=60)
    parser.add_argument("--points", type=int, default=70_000)
    parser.add_argument("--out", type=Path, metavar="FILE")
    options = parser.parse_args()
    results: dict[str, list[float]] = {}
    machine = measure_machine()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for _ in range(STARTS):
            for what, value in start(browser, options.runs[0]).items():
                results.setdefault(what, []).append(value)
        for run in options.runs:
            with studio(run) as url:
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                page.set_default_timeout(600_000)
                page.goto(f"{url}&lang=en#room=draw")
                results[f"stroke to bars, {run.name}"] = strokes(page, options.strokes)
                page.evaluate("location.hash = 'room=inside&split=test&row=0'")
                results[f"next image in Look inside, {run.name}"] = images(page)
                if run == options.runs[0]:
                    results[f"a frame of the map, {options.points:,} points"] = pan(page, options.points)
                page.close()
        browser.close()
    sys.stdout.write(table(results))
    if options.out:
        write_json(options.out, {"machine": machine, "milliseconds": results})


@contextlib.contextmanager
def studio(run: Path) -> Iterator[str]:
    """The address of a studio that shows this run."""
    command = [sys.executable, "-m", "misread", "studio", str(run), "--no-browser", "--json", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        text = ""
        for line in process.stdout or ():
            text += line
            if line == "}\n":
                break
        yield json.loads(text)["url"]
    finally:
        process.terminate()
        process.communicate()


def start(browser: Any, run: Path) -> dict[str, float]:
    begun = time.perf_counter()
    with studio(run) as url:
        answered = time.perf_counter()
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(url)
        page.wait_for_selector("#main section")
        paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        page.close()
    address = 1000 * (answered - begun)
    return {"start to address": address, "start to first paint": address + paint}


def strokes(page: Page, n: int) -> list[float]:
    """n strokes of ten moves each; the drawing is cleared after every second one, as a digit has one or two."""
    page.wait_for_selector("canvas.paper")
    page.evaluate(TIME_STROKES)
    box = page.locator("canvas.paper").bounding_box()
    assert box is not None
    place = random.Random(0)
    for i in range(n):
        corners = [(place.uniform(0.2, 0.8), place.uniform(0.2, 0.8)) for _ in range(3)]
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=5)
        page.mouse.up()
        page.wait_for_timeout(250)  # networks that are slow read the drawing by all their views when the pointer rests
        if i % 2:
            page.keyboard.press("c")
    times: list[float] = page.evaluate("window.times")
    assert len(times) >= n, "a stroke was not timed"
    return times


def images(page: Page) -> list[float]:
    page.wait_for_selector(".stages section")
    page.evaluate(TIME_IMAGES)
    for i in range(IMAGES):
        page.keyboard.press(".")
        page.wait_for_function("n => window.times.length === n", arg=i + 1)
    times: list[float] = page.evaluate("window.times")
    return times


def pan(page: Page, points: int) -> list[float]:
    frames: list[float] = page.evaluate(PAN, [points, PAN_SECONDS, None])["frames"]
    return frames[5:]  # the first ones include the set-up


def table(results: dict[str, list[float]]) -> str:
    lines = ["| milliseconds | median | 95th percentile | largest | n |", "|---|---|---|---|---|"]
    for what, times in results.items():
        ordered = sorted(times)
        high = ordered[math.ceil(0.95 * len(ordered)) - 1]
        lines.append(f"| {what} | {statistics.median(ordered):.0f} | {high:.0f} | {ordered[-1]:.0f} | {len(ordered)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
