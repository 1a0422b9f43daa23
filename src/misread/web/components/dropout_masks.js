// Dropout at work: masks are drawn as in training, and the rest of the network predicts with each.

import { softmax } from "../network/activations.js";
import { argmax } from "../network/argmax.js";
import { make, percent } from "./elements.js";
import { button } from "./form.js";

const EVERY = 700; // milliseconds between two masks

/** The values as dropout gives them in training: a share `rate` is 0, the others are larger by 1 / (1 - rate). */
export function dropped(values, rate, random = Math.random) {
  return values.map((value) => (random() < rate ? 0 : value / (1 - rate)));
}

export class DropoutMasks {
  #timer = 0;
  /** draw: called with the stage as it is with a mask, or as it is without one. */
  constructor(t, model, draw) {
    Object.assign(this, { t, model, draw, counts: new Map() });
    this.play = button(t, "inside.masks", () => (this.#timer ? this.stop() : this.#start()), { "aria-pressed": "false" });
    this.once = button(t, "inside.one-mask", () => this.#mask());
    this.said = make("p", { class: "quiet" });
    this.element = make("div", { class: "tools" }, this.play, this.once, this.said);
  }
  show(stage) {
    this.stage = stage;
    this.counts.clear();
    this.said.textContent = "";
  }
  #start() {
    // who asked for less motion draws masks one by one
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return this.#mask();
    this.#mask();
    this.#timer = setInterval(() => this.#mask(), EVERY);
    this.play.setAttribute("aria-pressed", "true");
  }
  #mask() {
    const { stage, model, t } = this;
    const values = dropped(stage.values, stage.layer.spec.rate);
    const probs = softmax(model.logitsOf(model.traceFrom(stage.index, values)));
    const k = argmax(probs);
    this.counts.set(k, (this.counts.get(k) ?? 0) + 1);
    this.draw({ ...stage, values });
    const total = [...this.counts.values()].reduce((a, b) => a + b);
    const all = [...this.counts].sort((a, b) => b[1] - a[1]).map(([each, n]) => t("inside.mask-count", { class: model.classNames[each], n }));
    const zero = values.reduce((n, v, i) => n + (v === 0 && stage.values[i] !== 0), 0);
    this.said.textContent = t("inside.mask-said", { class: model.classNames[k], share: percent(probs[k]), zero, total, counts: all.join(", ") });
  }
  stop() {
    clearInterval(this.#timer);
    this.#timer = 0;
    this.play.setAttribute("aria-pressed", "false");
    if (this.stage) this.draw(this.stage);
  }
}
