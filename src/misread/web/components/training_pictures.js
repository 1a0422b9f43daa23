// Pictures of a training: the weights of the first layer, dead units, and validation images that changed.

import { fromBase64 } from "./base64.js";
import { make } from "./elements.js";
import { drawImage, drawNumbers, signedScale } from "./pixels.js";

/** The weights of the first layer: one canvas a unit, negative and positive in two colours. */
export class WeightPictures {
  #canvases = [];

  constructor(t) {
    this.t = t;
    this.root = make("div", { class: "weight-pictures", role: "img" });
  }

  show(weights) {
    if (!weights || weights === this.shown) return;
    this.shown = weights;
    const [units, height, width, channels] = weights.shape;
    if (this.#canvases.length !== units) {
      this.#canvases = Array.from({ length: units }, () => make("canvas", { class: "pixels" }));
      this.root.replaceChildren(...this.#canvases);
    }
    this.root.setAttribute("aria-label", this.t("train.weights-label", { n: units, scale: weights.scale.toPrecision(2) }));
    const all = fromBase64(weights.pixels);
    const size = height * width * channels;
    const scale = channels === 1 ? signedScale(this.root) : null;
    this.#canvases.forEach((canvas, unit) => {
      const part = all.subarray(unit * size, (unit + 1) * size);
      if (scale) drawNumbers(canvas, Float32Array.from(part, (v) => v - 128), [height, width], scale, 127);
      else drawImage(canvas, part, [height, width, channels]);
    });
  }
}

/** A bar for each layer with ReLU: the share of its units that are 0 for every image looked at. */
export function deadUnits(t, layers) {
  if (!layers?.length) return make("p", { class: "quiet" }, t("train.dead-none"));
  const rows = layers.map(({ layer, units, dead }) => {
    const rod = make("span", { class: "rod" }, make("span"));
    rod.style.setProperty("--share", (100 * dead) / units);
    return make("li", {}, make("span", {}, layer), rod, make("span", { class: "n" }, t("train.dead-of", { dead, units })));
  });
  return make("ul", { class: "dead-units" }, ...rows);
}

/** Some validation images of a kind: each with its label, and what was read before and now. */
export function changedImages(t, pictures, classNames) {
  const items = pictures.map(({ label, before, now, shape, pixels }) => {
    const canvas = make("canvas", { class: "pixels", role: "img" });
    drawImage(canvas, fromBase64(pixels), shape);
    const names = { label: classNames[label], before: before === null ? "–" : classNames[before], now: classNames[now] };
    canvas.setAttribute("aria-label", t("train.image", names));
    const caption = before === null || before === now ? `${names.label}: ${names.now}` : `${names.before} → ${names.now}`;
    return make("li", { title: t("train.image", names) }, canvas, make("span", {}, caption));
  });
  return make("ul", { class: "changed-images" }, ...items);
}
