"""Pictures are laid out in the page as `predict_file` lays them: every pixel, within one grey level."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from network_pages import NetworkPage
from PIL import Image, ImageDraw, ImageFilter, ImageFont

import misread
from misread.data.geometry import Geometry, fit_picture, measure_geometry
from misread.data.picture import read_picture

PHOTOGRAPHS = [Geometry(32, 32, 3), Geometry(20, 28, 3), Geometry(16, 16, 1)]
LIGHT = Geometry(24, 20, 1, "light", 16, "box")
COLOUR = Geometry(24, 24, 3, "dark", 18, "mass")

LAY_OUT = """
const { layOut } = await load("network/geometry.js");
const results = [];
for (const { name, shape, geometry } of argument) {
  const blob = new Blob([await file(name)]);
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const image = context.getImageData(0, 0, bitmap.width, bitmap.height);
  results.push([...layOut(image, shape, geometry)]);
}
return results;"""


def paper(text: str, size: int, turn: float, rng: np.random.Generator) -> Image.Image:
    """A digit in print, on shaded and grainy paper, in colour."""
    ink = Image.new("L", (size, size))
    font = ImageFont.load_default(size * 0.7)
    ImageDraw.Draw(ink).text((size * 0.3, size * 0.1), text, 255, font)
    share = np.asarray(ink.rotate(turn).filter(ImageFilter.GaussianBlur(1)), float)[..., None] / 255
    shade = 200 + np.linspace(-40, 30, size)[None, :, None] + rng.normal(0, 5, (size, size, 1))
    return Image.fromarray((shade * (1 - share * 0.7) * [1, 0.97, 0.88]).clip(0, 255).astype(np.uint8))


def drawn(kind: str, width: int, height: int, thickness: int) -> Image.Image:
    """Black strokes on nothing, as on the page's paper."""
    image = Image.new("RGBA", (width, height))
    points = [(0.3, 0.2), (0.7, 0.25), (0.45, 0.8)] if kind == "seven" else [(0.5, 0.1), (0.5, 0.9)]
    ImageDraw.Draw(image).line([(x * width, y * height) for x, y in points], "black", thickness, joint="curve")
    return image


def saved(image: Image.Image, form: str, **how: object) -> bytes:
    memory = io.BytesIO()
    image.save(memory, form, **how)
    return memory.getvalue()


def pictures() -> Iterator[tuple[str, bytes, Geometry]]:
    rng = np.random.default_rng(5)
    digits = measure_geometry(misread.load("digits").train.images)
    for k in range(10):
        side = int(rng.integers(60, 700))
        yield f"print{k}", saved(paper(str(k), side, float(rng.uniform(-15, 15)), rng), "PNG"), digits
    for k in range(4):
        yield f"photograph{k}.jpg", saved(paper(str(k), 180 + 40 * k, 0, rng), "JPEG", quality=95), digits
    for kind, width, height, thickness in (
        ("seven", 280, 280, 20), ("seven", 28, 28, 2), ("seven", 40, 300, 3), ("one", 300, 60, 1), ("one", 5, 40, 1),
        ("one", 400, 400, 90), ("seven", 600, 520, 30),
    ):  # fmt: skip
        for geometry in (digits, LIGHT, COLOUR):
            name = f"{kind}-{width}x{height}-{geometry.ground}{geometry.channels}"
            yield name, saved(drawn(kind, width, height, thickness), "PNG"), geometry
    for geometry in (digits, *PHOTOGRAPHS):
        for height, width, channels in ((1, 1, 3), (3, 90, 4), (50, 41, 3), (64, 64, 1), (140, 33, 3)):
            noise = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
            if channels == 4:  # a canvas keeps colours in proportion to their alpha, so half of the pixels are clear
                noise[..., 3] = rng.integers(0, 2, (height, width)) * 255
            picture = Image.fromarray(noise.squeeze(-1) if channels == 1 else noise)
            yield f"noise{height}x{width}x{channels}-{geometry}", saved(picture, "PNG"), geometry
    gradient = Image.fromarray(np.add.outer(np.arange(90), np.arange(120)).astype(np.uint8))
    yield "grey.jpg", saved(gradient, "JPEG"), PHOTOGRAPHS[0]
    yield "empty", saved(Image.new("RGBA", (200, 150)), "PNG"), digits
    yield "white", saved(Image.new("RGB", (28, 28), "white"), "PNG"), digits


def test_pictures_are_laid_out_as_predict_file_lays_them(page: NetworkPage, tmp_path: Path) -> None:
    asked, expected = [], []
    for name, data, geometry in pictures():
        path = tmp_path / "picture"
        path.write_bytes(data)
        expected.append((name, fit_picture(read_picture(path), geometry).ravel().astype(int)))
        page.given[f"picture-{len(asked)}"] = data
        shape = [geometry.height, geometry.width, geometry.channels]
        own = {"ground": geometry.ground, "box": geometry.box, "centre": geometry.centre}
        asked.append({"name": f"picture-{len(asked)}", "shape": shape, "geometry": own if geometry.ground else None})
    assert len(asked) >= 40
    found = page.run(LAY_OUT, asked)
    worst = {name: int(np.abs(np.array(own) - image).max()) for (name, image), own in zip(expected, found, strict=True)}
    assert {name: difference for name, difference in worst.items() if difference > 1} == {}


@pytest.mark.parametrize("alpha", [0, 1, 60, 127, 128, 200, 254, 255])
def test_half_transparent_pixels_lie_on_white_as_pillow_lays_them(alpha: int, page: NetworkPage) -> None:
    values = np.arange(256, dtype=np.uint8)
    pixels = np.stack([values, values[::-1], values // 2, np.full(256, alpha, np.uint8)], axis=1)
    image = Image.fromarray(pixels[None])
    expected = np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image))[..., :3]
    found = page.run(
        """const { fromImageData } = await load("network/picture.js");
        const { channels, data } = fromImageData({ width: 256, height: 1, data: Uint8ClampedArray.from(argument) });
        return [channels, [...data]];""",
        pixels.ravel().tolist(),
    )
    assert found == [3, expected.ravel().tolist()] or (alpha == 0 and found == [1, [255] * 256])
