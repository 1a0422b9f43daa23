"""The program beside an ONNX file, run without misread and torch."""

import ast
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

pytest.importorskip("onnxruntime")

import misread
from misread.data.geometry import Geometry, fit_picture, measure_geometry
from misread.data.picture import read_picture
from misread.lab.predict_script import predict_script

ALLOWED = {"json", "sys", "dataclasses", "pathlib", "numpy", "PIL", "onnxruntime"}
BLOCKED = """
import runpy, sys
for name in ("misread", "torch", "pandas", "scipy"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_the_program_imports_little() -> None:
    imports = [node for node in ast.walk(ast.parse(predict_script())) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {(i.module or "") if isinstance(i, ast.ImportFrom) else i.names[0].name for i in imports}
    assert names == ALLOWED


def run_program(folder: Path, *pictures: Path) -> str:
    command = [sys.executable, "-I", "-W", "error", "-c", BLOCKED, folder / "predict.py", *pictures]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_program_checks_the_file_and_classifies_pictures(run: misread.Run, tmp_path: Path) -> None:
    misread.export(run)
    pictures = list(some_pictures(tmp_path))
    out = run_program(run.folder / "export")
    assert out.startswith("80 images: largest difference ")
    assert out.endswith(", 0 changed\n")
    lines = run_program(run.folder / "export", *pictures).splitlines()
    for line, picture in zip(lines, pictures, strict=True):
        best = [f"{name} {prob:.2%}" for name, prob in run.predict_file(picture)[:3]]
        assert line.split("  ") == [str(picture), *best]


def some_pictures(folder: Path) -> Iterator[Path]:
    """A photograph, a pencilled digit on shaded paper, a palette with transparency, 16 bits, a turned photograph."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 200, 90 * 70 * 3).reshape(90, 70, 3) + rng.normal(0, 20, (90, 70, 3))
    photograph = Image.fromarray(ramp.clip(0, 255).astype(np.uint8))
    digit = Image.fromarray(misread.load("digits").test.images[3, ..., 0]).resize((300, 340))
    paper = np.linspace(150, 230, 700 * 600).reshape(700, 600)
    paper[200:540, 100:400] -= np.asarray(digit.filter(ImageFilter.GaussianBlur(2))) * 0.5
    shaded = Image.fromarray((paper + rng.normal(0, 4, paper.shape)).clip(0, 255).astype(np.uint8))
    turned = photograph.getexif()
    turned[0x0112] = 6
    clear = Image.new("RGBA", (50, 50), (0, 0, 0, 0))
    clear.paste((200, 20, 30, 255), (10, 10, 30, 40))
    deep = Image.fromarray((np.asarray(shaded).astype(np.uint16) * 257)[::3, ::3])
    for name, image, more in [
        ("photograph.jpg", photograph, {}), ("shaded.png", shaded, {}), ("clear.png", clear.quantize(8), {}),
        ("deep.png", deep, {}), ("turned.jpg", photograph, {"exif": turned}),
        ("small.png", Image.fromarray(np.asarray(photograph)[:8, :8]), {}),
    ]:  # fmt: skip
        image.save(folder / name, **more)
        yield folder / name


def test_the_program_lays_pictures_as_misread_does(tmp_path: Path) -> None:
    (tmp_path / "predict.py").write_text(predict_script())
    program: dict[str, Any] = runpy.run_path(str(tmp_path / "predict.py"))
    digits = misread.load("digits").train.images
    geometries = [
        measure_geometry(digits), measure_geometry(255 - digits), Geometry(32, 32, 3), Geometry(20, 30, 1),
        Geometry(32, 32, 3, "light", 24, "box"),
    ]  # fmt: skip
    for picture in some_pictures(tmp_path):
        with Image.open(picture) as image:
            pixels = program["grey_or_rgb"](program["ImageOps"].exif_transpose(image))
        for geometry in geometries:
            laid = program["fit_picture"](pixels, program["Geometry"](**vars(geometry)))
            np.testing.assert_array_equal(laid, fit_picture(read_picture(picture), geometry))
