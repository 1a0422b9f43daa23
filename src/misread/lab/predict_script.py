"""The program beside an ONNX file: it lays pictures as misread does, and needs neither misread nor torch.

It is put together from the functions here and in `data`, so that it cannot lay a picture in another way.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from misread.data.geometry import Geometry, fit_picture
from misread.data.picture import grey_or_rgb
from misread.lab.source_parts import parts_of, source_of

BEGINNING = '''"""Classifies pictures with the ONNX file in this folder. Needs onnxruntime, numpy and pillow.

    python predict.py PICTURE...     the most probable classes of each picture
    python predict.py                checks that the file predicts here what it predicted where it was written

Everything above `main` lays a picture like the training images; `misread export` wrote it.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

'''
END = """

if __name__ == "__main__":
    main(sys.argv[1:])
"""


def main(pictures: list[str]) -> None:
    """Print the three most probable classes of each picture; without pictures, compare with parity.npz."""
    import onnxruntime

    folder = Path(sys.argv[0]).parent
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    facts = session.get_modelmeta().custom_metadata_map
    names, geometry = json.loads(facts["class_names"]), Geometry(**json.loads(facts["geometry"]))
    for picture in pictures:
        image = ImageOps.exif_transpose(Image.open(picture))
        pixels = fit_picture(grey_or_rgb(image), geometry)
        probs = session.run(None, {"images": pixels[None]})[0][0]
        best = np.argsort(-probs, kind="stable")[:3]
        print(picture, *(f"{names[k]} {probs[k]:.2%}" for k in best), sep="  ")
    if not pictures:
        parity = np.load(folder / "parity.npz")
        probs = session.run(None, {"images": parity["images"]})[0]
        changed = (probs.argmax(axis=1) != parity["probs"].argmax(axis=1)).sum()
        print(f"{len(probs)} images: largest difference {np.abs(probs - parity['probs']).max():.1e}, {changed} changed")


def predict_script() -> str:
    """The program's text."""
    constants, parts = parts_of([Geometry, main])
    lines = [f"{name} = {value!r}" for name, value in constants.items()]
    sources = [source_of(part) for part in parts]
    return BEGINNING + "\n".join(lines) + "\n\n\n" + "\n\n\n".join(sources) + "\n" + END
