// The gallery of misread images: filters with counts, search, order, and the list.

import { byId, make, number } from "./elements.js";
import { causeName } from "./items.js";
import { Tiles, tile } from "./tiles.js";

const PREVIEW = 18; // of the most confident mistakes, at the top of the page

export class Gallery {
  /**
   * misreads: their places, the most confident first. open: called with the places shown, one of them, and a function
   * that gives the focus back to one.
   * address: {read, write}. t: texts. keep: a further filter, from a place to whether it is shown. dress: called with
   * each tile and its place. counted: the text that says how many are shown. signal: ends the gallery.
   */
  constructor(items, misreads, open, { address, t, keep = null, dress = null, counted = "gallery.count", signal }) {
    Object.assign(this, { items, misreads, shown: misreads, address, t, keep, counted });
    const { label, file, index, margin, loss } = items.columns;
    this.names = file?.map((name) => name.toLowerCase()) ?? index.map(String);
    this.keys = { confidence: items.confidence, margin, loss, index };
    this.text = byId("by-name");
    this.sort = byId("sort");
    const pair = (place) => `${label[place]} ${items.prediction[place]}`;
    const name = (k) => items.className(k);
    this.facets = [
      this.#facet("label", (place) => label[place], name),
      this.#facet("prediction", (place) => items.prediction[place], name),
      this.#facet("pair", pair, (value) => value.split(" ").map(name).join(" → ")),
      this.#facet("cause", (place) => items.cause(place), (cause) => causeName(cause, t)),
    ].filter((facet) => facet.select);
    [this.label, this.prediction, this.pair] = this.facets.map((facet) => facet.select);
    this.cause = byId("by-cause");
    const build = (place) => {
      const button = tile(items, place, (p) => open(this.shown, p, this.back), { t });
      dress?.(button, place);
      return button;
    };
    this.tiles = new Tiles(byId("tiles"), build, signal);
    this.back = (place) => this.tiles.focus(place);

    const setBoth = () => {
      [this.label.value, this.prediction.value] = this.pair.value ? this.pair.value.split(" ") : ["", ""];
    };
    this.pair.addEventListener("change", setBoth, { signal });
    for (const { select } of this.facets) select.addEventListener("change", () => this.update(), { signal });
    this.sort.addEventListener("change", () => this.update(), { signal });
    this.text.addEventListener("input", () => this.update(), { signal });
    byId("tools").addEventListener("submit", (event) => event.preventDefault(), { signal });
    byId("tools").addEventListener("reset", () => setTimeout(() => this.update()), { signal });
    for (const button of document.querySelectorAll("[data-cause]")) {
      button.addEventListener("click", () => this.choose({ cause: button.dataset.cause }));
    }
    for (const cell of document.querySelectorAll("#confusion [data-label]")) {
      cell.addEventListener("click", () => this.choose(cell.dataset));
    }
    if (byId("preview")) this.#preview(open);
    this.restore(address.read());
  }
  #preview(open) {
    const { items, misreads, t } = this;
    const list = byId("preview");
    const focus = (place) => list.querySelector(`[data-item="${place}"]`)?.focus();
    const few = misreads.slice(0, PREVIEW);
    list.append(...few.map((place) => make("li", {}, tile(items, place, (p) => open(misreads, p, focus), { t }))));
  }
  /** A list of the values that misread images have, with how many have each. numbers: of the option of each image. */
  #facet(id, of, name) {
    const select = byId(`by-${id}`);
    const values = select ? this.misreads.map(of) : [];
    const counts = new Map();
    for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
    const byCount = id === "pair" ? ([, n], [, m]) => m - n : ([a], [b]) => (a < b ? -1 : 1);
    const sorted = [...counts].sort(byCount).map(([value]) => value);
    const options = sorted.map((value) => make("option", { value, "data-name": name(value) }));
    const numberOf = new Map(sorted.map((value, number) => [value, number]));
    select?.append(...options);
    return { id, select, options, numbers: values.map((value) => numberOf.get(value)) };
  }
  /** Whether each filter keeps an image. A pair is a choice of label and prediction, so it is no filter of its own. */
  #tests() {
    const { items, label, prediction, cause } = this;
    const text = this.text.value.trim().toLowerCase();
    const isName = items.columns.file ? (p) => this.names[p].includes(text) : (p) => this.names[p].startsWith(text);
    const labels = items.columns.label;
    return {
      label: label.value && ((p) => labels[p] === Number(label.value)),
      prediction: prediction.value && ((p) => items.prediction[p] === Number(prediction.value)),
      cause: cause?.value && ((p) => items.cause(p) === cause.value),
      text: text && isName,
      more: this.keep,
    };
  }
  /** Every option with the number of images that choosing it would show. */
  #count(tests) {
    for (const { id, options, numbers } of this.facets) {
      const own = id === "pair" ? ["label", "prediction"] : [id];
      const others = Object.keys(tests).filter((name) => tests[name] && !own.includes(name));
      const counts = options.map(() => 0);
      this.misreads.forEach((place, i) => {
        if (others.every((name) => tests[name](place))) counts[numbers[i]] += 1;
      });
      options.forEach((option, i) => {
        option.textContent = `${option.dataset.name} (${number(counts[i])})`;
      });
    }
  }
  update() {
    const { items, label, prediction, pair, cause, text, sort } = this;
    const both = `${label.value} ${prediction.value}`;
    pair.value = label.value && prediction.value && [...pair.options].some((option) => option.value === both) ? both : "";
    const tests = this.#tests();
    const all = Object.values(tests).filter(Boolean);
    const [key, up] = sort.value.split("-");
    const order = key === "index" || up ? 1 : -1;
    const values = this.keys[key];
    this.shown = this.misreads
      .filter((place) => all.every((test) => test(place)))
      .sort((p, q) => order * (values[p] - values[q]));
    this.#count(tests);
    this.tiles.show(this.shown);
    const named = text.value.trim();
    const { t } = this;
    const chosen = [
      label.value && t("gallery.labelled", { label: items.className(label.value) }),
      prediction.value && t("gallery.read-as", { label: items.className(prediction.value) }),
      cause?.value && causeName(cause.value, this.t),
      named && t(items.columns.shard ? "gallery.key" : items.columns.file ? "gallery.file" : "gallery.index", { name: named }),
    ].filter(Boolean);
    byId("count").textContent =
      t(this.counted, { shown: this.shown.length, n: this.misreads.length }) +
      (chosen.length ? `: ${chosen.join(", ")}` : "");
    for (const button of document.querySelectorAll("#matrix button")) {
      const same = button.dataset.label === label.value && button.dataset.prediction === prediction.value;
      button.setAttribute("aria-pressed", String(same));
    }
    this.address.write({
      label: label.value && items.className(label.value),
      prediction: prediction.value && items.className(prediction.value),
      cause: cause?.value,
      name: named,
      sort: sort.selectedIndex ? sort.value : "",
    });
  }
  /** Sets the filters, without a search. */
  choose({ label = "", prediction = "", cause = "" }) {
    this.label.value = label;
    this.prediction.value = prediction;
    if (this.cause) this.cause.value = cause;
    this.text.value = "";
    this.update();
    byId("gallery").scrollIntoView();
    if (!this.shown.length || !this.tiles.focus(this.shown[0], { preventScroll: true })) this.label.focus();
  }
  /** Shows what an address asks for; what the page does not have is left out. */
  restore(state) {
    const classOf = (name) => String(this.items.classes.indexOf(state.get(name)));
    const set = (select, value) => {
      if (!select) return;
      select.value = value ?? "";
      if (select.selectedIndex < 0) select.selectedIndex = 0;
    };
    set(this.label, classOf("label"));
    set(this.prediction, classOf("prediction"));
    set(this.cause, state.get("cause"));
    set(this.sort, state.get("sort"));
    this.text.value = state.get("name") ?? "";
    this.update();
  }
}
