"""A minimal server of FastAPI and PyTorch for the network that `misread export --to torch` wrote.

    python benchmarks/peers/fastapi_server.py model.pt2 PORT

It answers POST /predict with a picture as the body, and POST /infer with images as JSON. It has no limits, no metrics
and no logs.
"""

import io
import sys

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, Request
from PIL import Image
from pydantic import BaseModel

torch.set_num_threads(1)
network = torch.export.load(sys.argv[1]).module()
app = FastAPI()


class Images(BaseModel):
    """shape: (N, H, W, C). data: its pixels, flat."""

    shape: list[int]
    data: list[int]


def probs_of(images: np.ndarray) -> list[list[float]]:
    with torch.inference_mode():
        return network(torch.from_numpy(images)).tolist()


@app.post("/predict")
async def predict(request: Request) -> dict[str, object]:
    pixels = np.array(Image.open(io.BytesIO(await request.body())).convert("L"))
    (probs,) = probs_of(pixels[None, ..., None])
    return {"prediction": int(np.argmax(probs)), "confidence": max(probs), "probs": probs}


@app.post("/infer")
async def infer(images: Images) -> dict[str, object]:
    return {"probs": probs_of(np.array(images.data, np.uint8).reshape(images.shape))}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[2]), log_level="warning", access_log=False)
