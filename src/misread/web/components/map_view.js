// A map of points to move, zoom and choose from: by pointer, wheel, two fingers or keys.

import { make } from "./elements.js";
import { pointPlot } from "./point_plot.js";
import { PointSearch } from "./point_search.js";

const FEW = 260; // points in sight at most, so that their pictures are shown
const LARGEST = 400; // times the whole map
const REACH = 12; // CSS pixels from the pointer to a point under it
const TAP = 8; // CSS pixels that a finger may move while it taps
const STEP = 0.15; // of the window, moved by an arrow key
const REST = 120; // ms without a movement before pictures are asked for

export class MapView {
  #dirty = false;
  #pointers = new Map();
  #pressed = [0, 0]; // where the last pointer came down
  #shape = null;
  #hovered = -1;
  #rest = null;
  #few = null; // the points in sight, if their pictures are shown
  #half = [1, 1]; // of the points' extent
  #fitted = 0; // the scale of the whole map when the view was last set

  /**
   * root: an element of some size. label: what the map is, for screen readers. draw: as `pointPlot` takes it. signal: ends it.
   * on: {hover(point or -1, x, y), choose(points), moved(view), pictures(points)}. `pictures` is called with the points in
   * sight when they are few; `picture(point)` then gives a canvas, or nothing yet.
   */
  constructor(root, { label, on, picture, draw = null, signal }) {
    Object.assign(this, { root, on, picture, tool: "move", view: { x: 0, y: 0, scale: 1 }, frames: 0 });
    this.points = make("canvas", { class: "map-points", "aria-hidden": "true" });
    this.over = make("canvas", { class: "map-over", tabindex: "0", role: "application", "aria-label": label });
    root.replaceChildren(this.points, this.over);
    this.plot = pointPlot(this.points, draw);
    this.plot.onRestored = () => this.redraw();
    this.keeps = () => true;
    const size = new ResizeObserver(() => this.#resize());
    size.observe(root);
    signal.addEventListener("abort", () => {
      size.disconnect();
      clearTimeout(this.#rest);
    });
    this.#listen(signal);
  }

  /** places: (N, 2) Float32Array in -1..1. */
  setPlaces(places) {
    this.places = places;
    this.#half = [0.05, 0.05];
    places.forEach((value, at) => (this.#half[at % 2] = Math.max(this.#half[at % 2], Math.abs(value))));
    this.whole({ tell: false });
    this.search = new PointSearch(places);
    this.#hovered = -1;
  }

  /** colours: (N, 4) Uint8Array. sizes: (N) Float32Array. keeps: whether a point is shown. */
  setLook(colours, sizes, keeps) {
    this.keeps = keeps;
    this.plot.set(this.places, colours, sizes);
    this.redraw();
  }

  whole(how) {
    this.#go({ x: 0, y: 0, scale: this.#fit }, how);
  }
  show(view) {
    if ([view.x, view.y, view.zoom].every(Number.isFinite)) this.#go({ x: view.x, y: view.y, scale: this.#fit * view.zoom });
  }
  get zoom() {
    return this.view.scale / this.#fit;
  }
  get #fit() {
    const [x, y] = this.#half;
    return Math.min(this.over.clientWidth / 2 / x, this.over.clientHeight / 2 / y) * 0.93 || 1;
  }

  /** Zooms by a factor; the place under (px, py), CSS pixels from the corner, stays. By default that is the middle. */
  zoomBy(factor, px = this.over.clientWidth / 2, py = this.over.clientHeight / 2) {
    const scale = Math.max(this.#fit * 0.5, Math.min(this.#fit * LARGEST, this.view.scale * factor));
    const [x, y] = this.placeAt(px, py);
    const [dx, dy] = [px - this.over.clientWidth / 2, py - this.over.clientHeight / 2];
    this.#go({ x: x - dx / scale, y: y + dy / scale, scale });
  }
  moveBy(dx, dy) {
    const { x, y, scale } = this.view;
    this.#go({ x: x - dx / scale, y: y + dy / scale, scale });
  }
  /** tell: whether the reader moved the map, so that `moved` is called. */
  #go({ x, y, scale }, { tell = true } = {}) {
    const within = (value) => Math.max(-1.2, Math.min(1.2, value));
    this.view = { x: within(x), y: within(y), scale };
    this.#fitted = this.#fit;
    this.redraw();
    clearTimeout(this.#rest);
    this.#rest = setTimeout(() => {
      if (tell) this.on.moved(this.view);
      if (this.#few) this.on.pictures(this.#few);
    }, REST);
  }

  placeAt(px, py) {
    const { x, y, scale } = this.view;
    return [x + (px - this.over.clientWidth / 2) / scale, y - (py - this.over.clientHeight / 2) / scale];
  }
  pixelsOf(i) {
    const { x, y, scale } = this.view;
    return [(this.places[2 * i] - x) * scale + this.over.clientWidth / 2, (y - this.places[2 * i + 1]) * scale + this.over.clientHeight / 2];
  }
  inView() {
    const [x0, y1] = this.placeAt(0, 0);
    const [x1, y0] = this.placeAt(this.over.clientWidth, this.over.clientHeight);
    return this.search.inRectangle(x0, y0, x1, y1).filter((i) => this.keeps(i));
  }

  redraw() {
    if (this.#dirty || !this.places) return;
    this.#dirty = true;
    requestAnimationFrame(() => {
      this.#dirty = false;
      this.frames += 1;
      this.#draw();
    });
  }

  #resize() {
    const ratio = Math.min(devicePixelRatio || 1, 2);
    for (const canvas of [this.points, this.over]) {
      Object.assign(canvas, { width: Math.round(this.root.clientWidth * ratio), height: Math.round(this.root.clientHeight * ratio) });
    }
    if (this.#fitted) this.#go({ ...this.view, scale: (this.view.scale * this.#fit) / this.#fitted }, { tell: false });
    else this.whole({ tell: false });
  }

  #draw() {
    const grow = Math.max(1, Math.min(3.5, Math.sqrt(this.zoom) * 0.9));
    this.plot.draw(this.view, grow);
    const context = this.over.getContext("2d");
    const ratio = this.over.width / this.over.clientWidth || 1;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.over.clientWidth, this.over.clientHeight);
    context.strokeStyle = context.fillStyle = getComputedStyle(this.over).color;
    this.#drawPictures(context);
    if (this.#hovered >= 0) {
      const [px, py] = this.pixelsOf(this.#hovered);
      context.lineWidth = 2;
      context.beginPath();
      context.arc(px, py, 7 * Math.sqrt(grow), 0, 2 * Math.PI);
      context.stroke();
    }
    if (this.#shape) this.#drawShape(context);
  }
  #drawPictures(context) {
    this.#few = null;
    if (this.zoom < 1.5 && this.places.length / 2 > FEW) return;
    const points = this.inView();
    if (points.length > FEW) return;
    this.#few = points;
    const room = Math.sqrt((this.over.clientWidth * this.over.clientHeight) / Math.max(points.length, 1));
    const side = Math.max(18, Math.min(56, room * 0.6));
    context.imageSmoothingEnabled = false;
    for (const i of points) {
      const picture = this.picture(i);
      if (!picture) continue;
      const [px, py] = this.pixelsOf(i);
      const [width, height] = [side, (side * picture.height) / picture.width];
      context.drawImage(picture, px - width / 2, py - height - 5, width, height);
    }
  }
  #drawShape(context) {
    const corners = this.#shape.map(([x, y]) => [(x - this.view.x) * this.view.scale + this.over.clientWidth / 2, (this.view.y - y) * this.view.scale + this.over.clientHeight / 2]);
    context.beginPath();
    for (const [px, py] of this.tool === "rectangle" ? corners.length > 1 ? box(corners) : [] : corners) context.lineTo(px, py);
    context.closePath();
    context.globalAlpha = 0.12;
    context.fill();
    context.globalAlpha = 1;
    context.lineWidth = 1.5;
    context.setLineDash([6, 4]);
    context.stroke();
    context.setLineDash([]);
  }

  #listen(signal) {
    const { over } = this;
    const add = (name, act, options = {}) => over.addEventListener(name, act, { signal, ...options });
    const at = (event) => [event.offsetX, event.offsetY];
    add("wheel", (event) => {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 16 : 1;
      this.zoomBy(Math.exp(-event.deltaY * lines * 0.0016), ...at(event));
    }, { passive: false });
    add("pointerdown", (event) => {
      over.setPointerCapture(event.pointerId);
      over.focus({ preventScroll: true });
      this.#pointers.set(event.pointerId, at(event));
      this.#pressed = at(event);
      if (event.pointerType === "touch") this.#hover(-1, 0, 0);
      if (this.#pointers.size === 2) this.#shape = null; // two fingers zoom, whatever one was doing
      else if (this.tool !== "move" && event.button === 0) this.#shape = [this.placeAt(...at(event))];
    });
    add("pointermove", (event) => this.#moved(event, at(event)));
    const end = (event) => {
      if (!this.#pointers.delete(event.pointerId)) return;
      if (this.#shape && event.type === "pointerup") this.#choose();
      else if (event.pointerType === "touch" && this.#isTap(event, at(event))) this.#hover(this.#pointAt(...at(event)), ...at(event));
      this.#shape = null;
      this.redraw();
    };
    add("pointerup", end);
    add("pointercancel", end);
    add("pointerleave", (event) => event.pointerType === "touch" || this.#hover(-1, 0, 0)); // a finger that leaves has tapped
    add("dblclick", (event) => this.zoomBy(2, ...at(event)));
    add("keydown", (event) => this.#key(event));
  }
  /** Whether a finger only touched the map: what a mouse does by hovering. */
  #isTap(event, [px, py]) {
    const [x, y] = this.#pressed;
    return event.type === "pointerup" && this.#pointers.size === 0 && Math.hypot(px - x, py - y) < TAP;
  }
  #moved(event, [px, py]) {
    const before = this.#pointers.get(event.pointerId);
    if (!before) return this.#hover(this.#pointAt(px, py), px, py);
    this.#pointers.set(event.pointerId, [px, py]);
    if (this.#pointers.size === 2) {
      const other = [...this.#pointers].find(([id]) => id !== event.pointerId)[1];
      const apart = (a) => Math.hypot(a[0] - other[0], a[1] - other[1]) || 1;
      const middle = (a) => [(a[0] + other[0]) / 2, (a[1] + other[1]) / 2];
      const [from, to] = [middle(before), middle([px, py])];
      this.moveBy(to[0] - from[0], to[1] - from[1]);
      this.zoomBy(apart([px, py]) / apart(before), ...to);
    } else if (this.#shape) {
      if (this.tool === "rectangle") this.#shape = [this.#shape[0], this.placeAt(px, py)];
      else this.#shape.push(this.placeAt(px, py));
      this.redraw();
    } else {
      this.moveBy(px - before[0], py - before[1]);
    }
  }
  #pointAt(px, py) {
    if (!this.search) return -1;
    return this.search.nearest(...this.placeAt(px, py), REACH / this.view.scale, (i) => this.keeps(i));
  }
  #hover(i, px, py) {
    if (i !== this.#hovered) {
      this.#hovered = i;
      this.redraw();
    }
    this.on.hover(i, px, py);
  }
  #choose() {
    const shape = this.#shape;
    const polygon = this.tool === "rectangle" ? (shape.length > 1 ? box(shape) : []) : shape;
    this.on.choose(this.search.inPolygon(polygon).filter((i) => this.keeps(i)));
  }
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const by = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!by) return;
    event.preventDefault();
    this.moveBy(by[0] * STEP * this.over.clientWidth, by[1] * STEP * this.over.clientHeight);
  }
}

/** The corners of the box around two corners. */
const box = ([[x0, y0], [x1, y1]]) => [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
