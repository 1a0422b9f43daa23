// The training images that are nearest to an image by the network's features. It needs a server.

import { toBase64 } from "./base64.js";
import { make } from "./elements.js";
import { panel } from "./form.js";
import { drawImage } from "./pixels.js";

const REST = 400; // milliseconds without a change before the server is asked

export class NearestImages {
  #timer = 0;
  #asked = 0;
  constructor(studio) {
    const { t } = studio;
    this.studio = studio;
    this.list = make("ol", { class: "thumbnails" });
    this.state = make("p", { class: "quiet", role: "status" });
    this.element = panel(t, "draw.nearest", this.state, this.list);
  }
  show(image) {
    clearTimeout(this.#timer);
    this.#asked += 1; // an answer that comes later is for another image
    this.state.textContent = "";
    if (!image) this.list.replaceChildren();
    else this.#timer = setTimeout(() => this.#ask(image), REST);
  }
  async #ask(image) {
    const { studio } = this;
    const asked = this.#asked;
    if (!this.list.children.length) this.state.textContent = studio.t("draw.searching");
    try {
      const found = await studio.server.post(`/api/runs/${studio.run.id}/nearest`, { pixels: toBase64(image) });
      const { pixels } = await studio.images.get("train", found.map((item) => item.row));
      if (asked !== this.#asked) return;
      this.state.textContent = "";
      this.list.replaceChildren(...found.map((item, i) => this.#item(item, pixels[i])));
    } catch (error) {
      if (asked === this.#asked) this.state.textContent = error.message;
    }
  }
  #item({ row, label, distance }, pixels) {
    const { t, run } = this.studio;
    const canvas = make("canvas", { class: "pixels", role: "img", "aria-label": t("draw.training-image", { row }) });
    drawImage(canvas, pixels, run.data.image_shape);
    const title = t("draw.distance", { row, distance: distance.toPrecision(3) });
    return make("li", { title }, canvas, make("span", {}, run.data.class_names[label]));
  }
  stop() {
    clearTimeout(this.#timer);
    this.#asked += 1;
  }
}
