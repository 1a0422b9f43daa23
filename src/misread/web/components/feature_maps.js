// One layer's output as pictures: its feature maps in a grid on one canvas, or the units of a dense layer as cells.
// A pixel is chosen by hovering, tapping or the arrow keys.

import { position } from "../network/explain.js";
import { make } from "./elements.js";
import { drawImage, inkOf, largest } from "./pixels.js";

const MAP_SIDES = [58, 36]; // pixels of the page that a map is about as large as, if there are few and if there are many
const MANY_MAPS = 64;
const CELLS = [10, 5]; // pixels of a dense unit, if there are few and if there are many
const MANY_CELLS = 1500;
const IMAGE_SIDE = 224;

/** The smallest number of page pixels for one value, so that a map has about the size asked for. */
const scaleFor = (width, side) => Math.max(1, Math.round(side / width));

export class FeatureMaps {
  /** name: of the canvas, for screen readers. choose: called with the flat index that was chosen. */
  constructor(name, choose) {
    Object.assign(this, { choose, at: null, columns: 1 });
    this.canvas = make("canvas", { class: "pixels", tabindex: "0", role: "img", "aria-label": name });
    this.window = make("span", { class: "window", hidden: "" });
    this.cell = make("span", { class: "cell", hidden: "" });
    this.element = make("div", { class: "maps" }, this.canvas, this.window, this.cell);
    this.canvas.addEventListener("pointermove", (event) => this.#point(event));
    this.canvas.addEventListener("pointerdown", (event) => this.#point(event));
    this.canvas.addEventListener("keydown", (event) => this.#key(event));
    this.canvas.addEventListener("focus", () => this.at === null && this.canvas.matches(":focus-visible") && choose(0));
  }
  /** stage: one of `stagesOf`. image: the bytes to show as a picture instead of the values, for the first stage. */
  show(stage, scale, image) {
    const flat = stage.shape.length === 1;
    [this.height, this.width, this.count] = flat ? [1, 1, stage.shape[0]] : stage.shape;
    Object.assign(this, { stage, picture: Boolean(image) });
    this.scale = image ? scaleFor(this.width, IMAGE_SIDE) : this.width === 1 ? CELLS[Number(this.count > MANY_CELLS)] : scaleFor(this.width, MAP_SIDES[Number(this.count > MANY_MAPS)]);
    const tile = this.scale * this.width + this.#space;
    const room = this.element.clientWidth || 640;
    this.columns = this.picture ? 1 : Math.max(1, Math.min(this.count, Math.floor((room + this.#space) / tile)));
    if (image) drawImage(this.canvas, image, stage.shape);
    else this.#draw(scale);
    this.canvas.style.width = `${this.#size(this.columns, this.width)}px`;
    this.canvas.style.height = `${this.#size(Math.ceil((this.picture ? 1 : this.count) / this.columns), this.height)}px`;
    this.#mark(this.cell, this.at === null ? null : this.#boxOf(this.at));
  }
  get #space() {
    return this.picture ? 0 : this.width === 1 ? 1 : Math.max(2, this.scale);
  }
  #size(tiles, side) {
    return tiles * (side * this.scale + this.#space) - this.#space;
  }
  #draw(scale) {
    const { stage, width, height, count, columns } = this;
    const { values } = stage;
    const rows = Math.ceil(count / columns);
    const s = this.width === 1 ? this.scale : 1; // cells are drawn as they are seen, maps are enlarged by the page
    const space = this.width === 1 ? 1 : this.#space / this.scale;
    const [w, h] = [columns * (width * s + space) - space, rows * (height * s + space) - space];
    this.canvas.width = w;
    this.canvas.height = h;
    const data = new ImageData(w, h);
    const words = new Uint32Array(data.data.buffer);
    const limit = largest(values) || 1;
    for (let c = 0; c < count; c++) {
      const [left, top] = [(c % columns) * (width * s + space), Math.floor(c / columns) * (height * s + space)];
      for (let y = 0; y < height * s; y++) {
        for (let x = 0; x < width * s; x++) {
          const value = values[(Math.floor(y / s) * width + Math.floor(x / s)) * count + c];
          words[(top + y) * w + left + x] = inkOf(scale, value / limit);
        }
      }
    }
    this.canvas.getContext("2d").putImageData(data, 0, 0);
  }
  /** { left, top, width, height } in page pixels of a value, or of a box { y, x, height, width } of its map. */
  #boxOf(at, box = null) {
    const [row, column, channel] = position(this.stage.shape, at);
    const map = this.picture ? 0 : channel;
    const [tileWidth, tileHeight] = [this.width * this.scale + this.#space, this.height * this.scale + this.#space];
    const { y, x, height, width } = box ?? { y: row, x: column, height: 1, width: 1 };
    return {
      left: (map % this.columns) * tileWidth + x * this.scale,
      top: Math.floor(map / this.columns) * tileHeight + y * this.scale,
      width: width * this.scale,
      height: height * this.scale,
    };
  }
  #mark(element, box) {
    element.hidden = !box;
    if (!box) return;
    const shrink = this.canvas.clientWidth ? this.canvas.clientWidth / this.#size(this.columns, this.width) : 1;
    for (const [name, value] of Object.entries(box)) element.style[name] = `${value * shrink}px`;
  }
  /** Marks the chosen value; null: none. */
  mark(at) {
    this.at = at;
    this.#mark(this.cell, at === null ? null : this.#boxOf(at));
  }
  /** Marks the window that another layer looks at: { y, x, height, width } of a channel, or null. */
  markWindow(box, channel = 0) {
    this.#mark(this.window, box && this.#boxOf(this.picture ? 0 : channel, box));
  }
  #point(event) {
    if (event.type === "pointermove" && event.pointerType === "touch") return;
    const box = this.canvas.getBoundingClientRect();
    const shrink = box.width / this.#size(this.columns, this.width);
    const [x, y] = [(event.clientX - box.left) / shrink, (event.clientY - box.top) / shrink];
    const [tileWidth, tileHeight] = [this.width * this.scale + this.#space, this.height * this.scale + this.#space];
    const channel = this.picture ? 0 : Math.floor(y / tileHeight) * this.columns + Math.floor(x / tileWidth);
    const [column, row] = [Math.floor((x % tileWidth) / this.scale), Math.floor((y % tileHeight) / this.scale)];
    if (channel >= this.count || channel < 0 || column >= this.width || row >= this.height || column < 0 || row < 0) return;
    const at = (row * this.width + column) * this.count + channel;
    if (at !== this.at || event.type === "pointerdown") this.choose(at);
  }
  #key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const [row, column, channel] = position(this.stage.shape, this.at ?? 0);
    const flat = this.width * this.height === 1;
    const [dy, dx] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [0, 0];
    const page = { PageUp: -1, PageDown: 1 }[event.key] ?? 0;
    if (!dy && !dx && !page) return;
    event.preventDefault();
    const clamp = (value, count) => Math.max(0, Math.min(count - 1, value));
    const map = clamp(channel + page + (flat || event.shiftKey ? dx + dy * this.columns : 0), this.count);
    const [y, x] = event.shiftKey ? [row, column] : [clamp(row + dy, this.height), clamp(column + dx, this.width)];
    this.choose((y * this.width + x) * this.count + map);
  }
}
