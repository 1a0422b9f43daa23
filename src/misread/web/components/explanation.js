// How one value was computed, in numbers: the window, the kernel, the products, their sum, the bias, the activation.

import { position } from "../network/explain.js";
import { make } from "./elements.js";
import { largest } from "./pixels.js";

const PARTS = 8; // strongest contributions shown on each side
const LARGEST_TABLE = 7; // rows and columns of a window that is written out in numbers

const digits = (value) => (Math.abs(value) >= 1000 ? value.toFixed(0) : Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(3));
export const written = (value) => digits(value).replace("-", "−");

/** A table of numbers, shaded by their size. marked: a cell to mark. */
function matrix(name, numbers, [height, width], marked = -1) {
  const limit = largest(numbers.map((v) => v ?? 0)) || 1;
  const cell = (i) => {
    const value = numbers[i];
    const element = make("td", { class: i === marked ? "chosen" : "" }, value === null ? "·" : written(value));
    element.style.setProperty("--share", `${Math.round((70 * Math.abs(value ?? 0)) / limit)}%`);
    if (value < 0) element.classList.add("negative");
    return element;
  };
  const row = (y) => make("tr", {}, ...Array.from({ length: width }, (_, x) => cell(y * width + x)));
  const table = make("table", { class: "cells", "aria-label": name }, ...Array.from({ length: height }, (_, y) => row(y)));
  return make("figure", {}, make("figcaption", {}, name), table);
}

export class Explanation {
  /** placed: called with the box that the value looks at, { box, channel }, or null, to mark it. */
  constructor(t, placed) {
    Object.assign(this, { t, placed, channel: null });
    this.title = make("h2");
    this.body = make("div");
    this.element = make("div", { class: "explanation" }, this.title, this.body);
  }
  /** stages: of stagesOf; the value is stages[place].values[at]. explained: what explainValue gave. */
  show(stages, place, at, explained) {
    const { t } = this;
    const stage = stages[place];
    if (this.place !== place) this.channel = null;
    Object.assign(this, { stages, place, at, explained });
    const [row, column, channel] = position(stage.shape, at);
    const where = stage.shape.length === 1 ? t("inside.unit-at", { unit: channel }) : t("inside.pixel-at", { map: channel, row, column });
    this.title.textContent = `${stage.layer ? stage.name : t("inside.input")}: ${where}`;
    const lines = this[`_${explained.kind}`](explained, stage);
    this.body.replaceChildren(...lines.filter(Boolean));
  }
  #line(key, values) {
    return make("p", { class: "sum" }, this.t(`inside.${key}`, values));
  }
  #activated({ sum, activation, output }) {
    const { t } = this;
    if (activation === "linear") return this.#line("linear", { output: written(output) });
    if (activation === "softmax") return this.#line("softmax", { sum: written(sum), output: written(output) });
    const silent = activation === "relu" && output === 0;
    return make("p", { class: silent ? "sum wrong" : "sum" }, t(silent ? "inside.silenced" : "inside.activated", { activation, sum: written(sum), output: written(output) }));
  }
  _convolution(explained) {
    const { t } = this;
    const { window, channels, bias, sum } = explained;
    const order = [...channels].sort((a, b) => Math.abs(b.sum) - Math.abs(a.sum));
    const shown = channels[this.channel ?? order[0].channel] ?? order[0];
    const shape = [window.height, window.width];
    this.placed({ box: window, channel: shown.channel });
    const small = Math.max(...shape) <= LARGEST_TABLE;
    const tables = [["inside.window", shown.inputs], ["inside.kernel", shown.weights], ["inside.products", shown.products]];
    const of = channels.reduce((total, each) => total + each.sum, 0);
    return [
      channels.length > 1 ? this.#channels(order, shown) : null,
      small ? make("div", { class: "matrices" }, ...tables.map(([key, numbers]) => matrix(t(key), numbers, shape))) : null,
      this.#line(channels.length > 1 ? "sum-of-channel" : "sum-of-products", { n: shown.products.length, sum: written(shown.sum), channel: shown.channel }),
      channels.length > 1 ? this.#line("sum-of-channels", { n: channels.length, sum: written(of) }) : null,
      this.#line("plus-bias", { products: written(of), bias: written(bias), sum: written(sum) }),
      this.#activated(explained),
    ];
  }
  /** Which channel of the input is written out; the one that adds most comes first. */
  #channels(order, shown) {
    const { t } = this;
    const options = order.map(({ channel, sum }) => make("option", { value: channel }, t("inside.channel", { channel, sum: written(sum) })));
    const chooser = make("select", {}, ...options);
    chooser.value = shown.channel;
    chooser.addEventListener("change", () => {
      this.channel = Number(chooser.value);
      this.show(this.stages, this.place, this.at, this.explained);
      this.body.querySelector("select").focus();
    });
    return make("label", { class: "field", title: t("inside.input-map-title") }, t("inside.input-map"), chooser);
  }
  _dense(explained, stage) {
    const { parts, bias, sum } = explained;
    this.placed(null);
    const order = parts.filter((part) => part.product !== 0).sort((a, b) => b.product - a.product);
    const total = parts.reduce((all, part) => all + part.product, 0);
    const most = Math.max(1e-9, ...order.map((part) => Math.abs(part.product)));
    const plus = order.slice(0, PARTS).filter((part) => part.product > 0);
    const minus = order.slice(-PARTS).filter((part) => part.product < 0).reverse();
    const list = (key, some) =>
      make("div", {}, make("h3", {}, this.t(`inside.${key}`)), make("ol", { class: "contributions" }, ...some.map((part) => this.#part(part, stage, most))));
    return [
      make("div", { class: "side-by-side" }, list("strongest-for", plus), list("strongest-against", minus)),
      this.#line("sum-of-inputs", { n: parts.length, sum: written(total) }),
      this.#line("plus-bias", { products: written(total), bias: written(bias), sum: written(sum) }),
      this.#activated(explained),
    ];
  }
  #part({ from, value, weight, product }, stage, most) {
    const rod = make("span");
    rod.style.setProperty("--share", (100 * Math.abs(product)) / most);
    return make(
      "li",
      { title: `${written(value)} × ${written(weight)}` },
      make("span", { class: "name" }, this.#source(stage, from)),
      make("span", { class: product < 0 ? "rod negative" : "rod", "aria-hidden": "true" }, rod),
      make("span", { class: "n" }, written(product)),
    );
  }
  /** The name of an input of a dense layer; through Flatten and Dropout, the pixel of the map that it was. */
  #source(stage, from) {
    let before = this.stages[stage.from];
    while (before.layer && ["Flatten", "Dropout"].includes(before.layer.type)) before = this.stages[before.from];
    const [row, column, channel] = position(before.shape, from);
    return before.shape.length === 1 ? this.t("inside.unit-at", { unit: channel }) : this.t("inside.pixel-at", { map: channel, row, column });
  }
  _pooling({ window, channel, inputs, chosen, output }) {
    const { t } = this;
    this.placed({ box: window, channel });
    const shape = [window.height, window.width];
    const small = Math.max(...shape) <= LARGEST_TABLE;
    const [row, column] = [window.y + Math.floor(chosen / window.width), window.x + (chosen % window.width)];
    return [
      small ? make("div", { class: "matrices" }, matrix(t("inside.window"), inputs, shape, chosen)) : null,
      chosen < 0 ? this.#line("mean", { output: written(output) }) : this.#line("largest", { output: written(output), row, column }),
    ];
  }
  _normalization({ input, mean, variance, gamma, beta, epsilon, output }) {
    this.placed(null);
    const numbers = { input, mean, variance, gamma, beta, epsilon, output };
    return [this.#line("normalised", Object.fromEntries(Object.entries(numbers).map(([name, value]) => [name, written(value)])))];
  }
  _activation({ input, activation, output }) {
    this.placed(null);
    return [this.#activated({ sum: input, activation, output })];
  }
  _residual({ input, inner, output }) {
    this.placed(null);
    return [this.#line("residual", { input: written(input), inner: written(inner), output: written(output) })];
  }
  _unchanged({ output }) {
    this.placed(null);
    return [this.#line("unchanged", { output: written(output) })];
  }
  _pixel({ output }) {
    this.placed(null);
    return [this.#line("pixel", { output: written(output), grey: Math.round(255 * output) })];
  }
}
