"""The probabilities of real Keras for a model by `misread export --to keras`. The backend is KERAS_BACKEND.

python keras_predicts.py MODEL.keras IMAGES.npz OUT.npy     # IMAGES.npz has `images`, uint8 (N, H, W, C)
"""

import sys

import keras
import numpy as np

model = keras.models.load_model(sys.argv[1], compile=False)
with np.load(sys.argv[2]) as arrays:
    images = arrays["images"]
np.save(sys.argv[3], np.asarray(model.predict(images.astype(np.float32), verbose=0, batch_size=500)))
