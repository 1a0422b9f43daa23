// Tiles: an image with its reading, and lists of them of which only those in sight are drawn.

import { make, percent } from "./elements.js";

const BEYOND = 600; // pixels above and below the window that are drawn as well

/** From a label to a prediction; only the prediction where there is no label. */
export function fromTo(items, from, to) {
  const names = from === null ? [items.className(to)] : [items.className(from), `→ ${items.className(to)}`];
  return make("span", { class: "caption" }, ...names.map((name) => make("span", {}, name)));
}

/** An element that is only for the eye: a screen reader says the hidden sentence instead of its arrow and numbers. */
function seen(element) {
  element?.setAttribute("aria-hidden", "true");
  return element;
}

/**
 * A button that shows an image and enlarges it. open: called with the place. t: texts. more: said of it, instead of its
 * confidence.
 */
export function tile(items, place, open, { t, more: given }) {
  const item = items.at(place);
  const more = given ?? percent(item.confidence, 2);
  const name = items.name(place, t);
  const [label, read] = [items.className(item.label), items.className(item.prediction)];
  const key = item.label === null ? "tile.unlabelled" : label === read ? "tile.right" : "tile.wrong";
  const button = make(
    "button",
    { type: "button", class: "tile", "data-item": place },
    make("span", { class: "hidden" }, t(key, { label, read, more, name })),
    items.picture(place, ""),
    ...[
      fromTo(items, item.label, item.prediction),
      make("span", { class: "detail" }, more),
      items.hasPictures ? null : make("span", { class: items.columns.file ? "detail clip" : "detail" }, name),
    ].map(seen),
  );
  button.addEventListener("click", () => open(place));
  return button;
}

/**
 * A list of any length whose tiles exist only near the window. All have the same height, so the rows that are missing
 * above and below are padding. A tile with the focus stays. To print, all are drawn.
 * list: an empty ul in a grid of equal columns. build: makes the button of a place. signal: ends it.
 */
export class Tiles {
  constructor(list, build, signal) {
    Object.assign(this, { list, build, places: [], drawn: new Map(), all: false });
    list.addEventListener("keydown", (event) => this.#move(event), { signal });
    addEventListener("scroll", () => this.draw(), { passive: true, signal });
    addEventListener("resize", () => this.draw(), { signal });
    const size = new ResizeObserver(() => list.clientWidth !== this.width && this.#layout());
    size.observe(list); // also when it is shown
    signal?.addEventListener("abort", () => size.disconnect());
    for (const [name, all] of [["beforeprint", true], ["afterprint", false]]) {
      const draw = () => {
        this.all = all;
        this.draw();
      };
      addEventListener(name, draw, { signal });
    }
  }
  show(places) {
    this.places = places;
    this.drawn.clear();
    this.list.replaceChildren();
    this.height = 0;
    this.#layout();
  }
  /** Focuses the tile of a place, and scrolls to it; false if it is not in the list. */
  focus(place, options) {
    const at = this.places.indexOf(place);
    if (at < 0) return false;
    if (!this.drawn.has(place)) {
      const top = scrollY + this.list.getBoundingClientRect().top + Math.floor(at / this.columns) * this.height;
      scrollTo({ top: top - innerHeight / 2, behavior: "instant" });
      this.draw();
    }
    this.drawn.get(place).firstElementChild.focus(options);
    return true;
  }
  /** Counts the columns and measures a row; the width of the list may have changed. */
  #layout() {
    if (this.all || !this.places.length) return this.draw();
    const style = getComputedStyle(this.list);
    const width = this.list.clientWidth;
    if (this.height && this.width === width) return this.draw();
    this.width = width;
    this.columns = style.gridTemplateColumns.split(" ").length;
    this.list.style.gridAutoRows = "";
    if (!this.list.firstElementChild) this.list.append(this.#line(0));
    const height = Math.ceil(this.list.firstElementChild.getBoundingClientRect().height);
    this.height = height + (Number.parseFloat(style.rowGap) || 0);
    this.list.style.gridAutoRows = `${height}px`;
    this.draw();
  }
  #line(at) {
    const place = this.places[at];
    let line = this.drawn.get(place);
    if (!line) {
      line = make("li", { "aria-setsize": this.places.length, "aria-posinset": at + 1 }, this.build(place));
      this.drawn.set(place, line);
    }
    return line;
  }
  /** Draws the rows near the window, and removes the others. */
  draw() {
    const { list, places } = this;
    const rows = Math.ceil(places.length / this.columns) || 0;
    let [first, last] = [0, rows];
    if (!this.all && rows) {
      const top = -list.getBoundingClientRect().top;
      const few = Math.ceil((innerHeight + BEYOND) / this.height); // drawn even where the list is out of sight
      first = Math.max(0, Math.min(Math.floor((top - BEYOND) / this.height), rows - few));
      last = Math.min(rows, Math.max(Math.ceil((top + innerHeight + BEYOND) / this.height), first + few));
    }
    list.style.paddingTop = `${first * this.height || 0}px`;
    list.style.paddingBottom = `${(rows - last) * this.height || 0}px`;
    const [from, to] = [first * this.columns || 0, Math.min(last * this.columns || 0, places.length)];
    const wanted = new Set(places.slice(from, to));
    for (const [place, line] of this.drawn) {
      const stays = wanted.has(place);
      const focused = !stays && line.contains(document.activeElement);
      line.classList.toggle("away", focused);
      if (stays || focused) continue;
      line.remove();
      this.drawn.delete(place);
    }
    let next = list.firstElementChild;
    for (let at = from; at < to; at++) {
      while (next?.classList.contains("away")) next = next.nextElementSibling;
      const line = this.#line(at);
      if (line === next) next = next.nextElementSibling;
      else list.insertBefore(line, next);
    }
  }
  /** Arrow keys, Home and End move between tiles. */
  #move(event) {
    const button = event.target.closest("[data-item]");
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns }[event.key];
    const end = { Home: 0, End: this.places.length - 1 }[event.key];
    if (!button || (by === undefined && end === undefined) || event.ctrlKey || event.altKey || event.metaKey) return;
    const to = end ?? this.places.indexOf(Number(button.dataset.item)) + by;
    if (to < 0 || to >= this.places.length) return;
    event.preventDefault();
    this.focus(this.places[to]);
  }
}
