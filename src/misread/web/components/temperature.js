// From logits to probabilities: softmax(logit / T), with the temperature T to drag.

import { softmax } from "../network/activations.js";
import { make, percent } from "./elements.js";
import { field, panel } from "./form.js";
import { written } from "./explanation.js";
import { Probabilities } from "./probabilities.js";

export class Temperature {
  constructor(t, classNames) {
    this.t = t;
    this.slider = make("input", { type: "range", min: -1, max: 1, step: 0.02, value: 0 });
    this.said = make("p", { class: "sum" });
    this.bars = new Probabilities(make("ol"), classNames);
    this.slider.addEventListener("input", () => this.#draw());
    this.element = panel(t, "inside.temperature", field(t, "inside.temperature-slider", this.slider), this.said, this.bars.list);
  }
  show(logits) {
    this.logits = logits;
    this.#draw();
  }
  #draw() {
    const temperature = 10 ** Number(this.slider.value);
    const probs = softmax(this.logits.map((v) => v / temperature));
    const order = [...probs.keys()].sort((a, b) => probs[b] - probs[a]);
    const [first, second] = order;
    this.slider.setAttribute("aria-valuetext", temperature.toFixed(2));
    this.said.textContent = this.t("inside.temperature-said", {
      temperature: temperature.toFixed(2),
      first: written(this.logits[first]),
      second: written(this.logits[second] ?? 0),
      share: percent(probs[first]),
    });
    this.bars.show(probs);
  }
}
