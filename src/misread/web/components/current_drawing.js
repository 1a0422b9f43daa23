// The drawing that rooms hand to each other: its strokes, and the image that the network was given. It survives a reload
// of the page, in the storage of the tab.

import { fromBase64, toBase64 } from "./base64.js";

const NAME = "misread-drawing";
const held = { shape: "", strokes: [], image: null };

/** Keeps a drawing. strokes: vectors only; pictures are not kept, but their image is. */
export function keepDrawing(strokes, image, shape) {
  Object.assign(held, { strokes, image, shape: String(shape) });
  try {
    sessionStorage.setItem(NAME, JSON.stringify({ ...held, image: image && toBase64(image) }));
  } catch {
    // the page works without
  }
}

/** { strokes, image } of the drawing for images of this shape; the image is null if there is none. */
export function currentDrawing(shape) {
  if (!held.shape) {
    try {
      const stored = JSON.parse(sessionStorage.getItem(NAME));
      if (stored) Object.assign(held, stored, { image: stored.image && fromBase64(stored.image) });
    } catch {
      // as if nothing had been drawn
    }
  }
  return held.shape === String(shape) ? { strokes: held.strokes, image: held.image } : { strokes: [], image: null };
}
