// The probabilities of the classes as bars, the prediction marked.

import { argmax } from "../network/argmax.js";
import { make, percent } from "./elements.js";

const ALL_UP_TO = 12; // classes: with more, only the likeliest are shown
const SHOWN = 10;

export class Probabilities {
  /** list: an empty ol or ul. */
  constructor(list, classNames) {
    Object.assign(this, { list, classNames });
    list.classList.add("probabilities");
    const count = classNames.length <= ALL_UP_TO ? classNames.length : SHOWN;
    this.rows = Array.from({ length: count }, () => {
      const [name, rod, share] = [make("span", { class: "name" }), make("span", {}), make("span", { class: "n" })];
      const row = make("li", {}, name, make("span", { class: "rod", "aria-hidden": "true" }, rod), share);
      return { row, name, rod, share };
    });
    list.replaceChildren(...this.rows.map(({ row }) => row));
    this.show(null);
  }
  /** probs: one number a class; null if there is nothing to read. */
  show(probs) {
    const { classNames, rows } = this;
    let order = classNames.map((_, i) => i);
    if (rows.length < order.length && probs) order.sort((a, b) => probs[b] - probs[a]);
    order = order.slice(0, rows.length);
    const best = probs ? argmax(probs) : -1;
    rows.forEach(({ row, name, rod, share }, i) => {
      const k = order[i];
      const p = probs ? probs[k] : 0;
      if (name.textContent !== classNames[k]) name.textContent = classNames[k];
      rod.style.setProperty("--share", 100 * p);
      share.textContent = probs ? percent(p) : "–";
      row.classList.toggle("best", k === best);
    });
  }
}
