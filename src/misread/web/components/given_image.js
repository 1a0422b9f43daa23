// What the network is given, enlarged, with the occlusion map over it on request.

import { occlusion } from "../network/saliency.js";
import { make } from "./elements.js";
import { drawImage, drawNumbers, onTheme, overlayScale } from "./pixels.js";
import { Latest } from "./slices.js";

const REST = 150; // milliseconds without a change before the map is computed

export class GivenImage {
  #latest = new Latest();
  #timer = 0;
  #map = null;
  constructor(t, model) {
    const [height, width] = model.imageShape;
    Object.assign(this, { t, model, image: null });
    this.picture = make("canvas", { class: "pixels", width, height, role: "img", "aria-label": t("draw.given") });
    this.overlay = make("canvas", { class: "pixels over-it", width, height, "aria-hidden": "true" });
    this.box = make("input", { type: "checkbox" });
    this.state = make("span", { class: "quiet", "aria-live": "off" });
    this.box.addEventListener("change", () => this.#ask(0));
    const frame = make("div", { class: "stacked" }, this.picture, this.overlay);
    frame.style.aspectRatio = `${width} / ${height}`;
    this.element = make(
      "figure",
      { class: "given" },
      make("figcaption", {}, t("draw.given"), " ", make("span", { class: "quiet" }, `${width}×${height}`)),
      frame,
      make("label", { class: "check", title: t("draw.occlusion-title") }, this.box, t("draw.occlusion"), " ", this.state),
    );
    this.endTheme = onTheme(() => this.#drawMap());
  }
  /** image: bytes, or null for none. k: the class whose probability the map is about. */
  show(image, k) {
    Object.assign(this, { image, k });
    if (image) drawImage(this.picture, image, this.model.imageShape);
    else this.picture.getContext("2d").clearRect(0, 0, this.picture.width, this.picture.height);
    this.#ask(REST);
  }
  #ask(wait) {
    this.#latest.stop();
    clearTimeout(this.#timer);
    this.#map = null;
    this.state.textContent = "";
    this.#drawMap();
    if (this.box.checked && this.image) this.#timer = setTimeout(() => this.#compute(), wait);
  }
  async #compute() {
    const map = await this.#latest.run(occlusion(this.model, this.image, this.k), ({ done, total }) => {
      this.state.textContent = `${Math.round((100 * done) / total)}%`;
    });
    if (!map) return;
    this.#map = map;
    this.state.textContent = this.t("draw.occlusion-legend");
    this.#drawMap();
  }
  #drawMap() {
    this.overlay.hidden = !this.#map;
    if (this.#map) drawNumbers(this.overlay, this.#map, this.model.imageShape, overlayScale(this.overlay, "var(--wrong)"));
  }
  stop() {
    this.#latest.stop();
    clearTimeout(this.#timer);
    this.endTheme();
  }
}
