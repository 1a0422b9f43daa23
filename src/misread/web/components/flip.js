// "Make it misread": the smallest change that flips the prediction, as before, change and after.

import { smallestChange } from "../network/smallest_change.js";
import { make, percent } from "./elements.js";
import { button, field, panel, select } from "./form.js";
import { drawImage, drawNumbers, onTheme, signedScale } from "./pixels.js";
import { Latest } from "./slices.js";

export class Flip {
  #latest = new Latest();
  /** use: called with the changed image, to look inside at it. */
  constructor(t, model, use) {
    Object.assign(this, { t, model, image: null, found: null });
    const classes = model.classNames.map((name, k) => [k, name]);
    this.target = select([["", t("draw.any-class")], ...classes]);
    this.start = button(t, "draw.flip", () => this.#run(), { class: "main" });
    this.use = button(t, "draw.look-at-changed", () => use(this.found.image), { hidden: "" });
    this.state = make("p", { role: "status" });
    const figures = ["before", "change", "after"].map((name) => {
      const canvas = make("canvas", { class: "pixels", role: "img", "aria-label": t(`draw.${name}`) });
      const caption = make("figcaption");
      this[name] = { canvas, caption };
      return make("figure", {}, canvas, caption);
    });
    this.figures = make("div", { class: "three", hidden: "" }, ...figures);
    const tools = make("div", { class: "tools" }, field(t, "draw.target", this.target), this.start, this.use);
    this.element = panel(t, "draw.flip-panel", tools, this.state, this.figures);
    this.endTheme = onTheme(() => this.#draw());
    this.show(null);
  }
  /** Another image: what was found for the one before is gone. */
  show(image) {
    this.#latest.stop();
    Object.assign(this, { image, found: null });
    this.figures.hidden = this.use.hidden = true;
    this.start.disabled = !image;
    if (this.state.textContent) this.state.textContent = "";
  }
  async #run() {
    const { t, model, image } = this;
    const target = this.target.value === "" ? null : Number(this.target.value);
    this.figures.hidden = this.use.hidden = true;
    this.state.textContent = t("draw.searching", { step: 0 });
    const found = await this.#latest.run(smallestChange(model, image, target), ({ step }) => {
      this.state.textContent = t("draw.searching", { step });
    });
    if (found === undefined) return;
    this.found = found;
    if (!found) this.state.textContent = t("draw.no-change");
    else this.#draw();
  }
  #draw() {
    const { t, model, image, found } = this;
    if (!found) return;
    const shape = model.imageShape;
    const [height, width, channels] = shape;
    const probs = [image, found.image].map((at) => model.predict(at));
    const reading = (k, values) => t("draw.reading", { class: model.classNames[k], share: percent(values[k]) });
    drawImage(this.before.canvas, image, shape);
    drawImage(this.after.canvas, found.image, shape);
    const change = Float32Array.from({ length: height * width }, (_, i) => {
      let sum = 0;
      for (let c = 0; c < channels; c++) sum += found.image[i * channels + c] - image[i * channels + c];
      return sum / channels;
    });
    drawNumbers(this.change.canvas, change, shape, signedScale(this.change.canvas));
    this.before.caption.textContent = reading(found.from, probs[0]);
    this.change.caption.textContent = t("draw.change-caption", { largest: found.largest });
    this.after.caption.textContent = reading(found.to, probs[1]);
    this.state.textContent = t("draw.found", {
      from: model.classNames[found.from],
      to: model.classNames[found.to],
      distance: found.distance.toFixed(2),
      pixels: found.pixels,
      largest: found.largest,
    });
    this.figures.hidden = this.use.hidden = false;
  }
  stop() {
    this.#latest.stop();
    this.endTheme();
  }
}
