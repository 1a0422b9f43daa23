// A chart of curves on a canvas: several series over a common x axis.

import { make } from "./elements.js";
import { colourOf, onTheme } from "./pixels.js";

const MARGIN = { left: 46, right: 10, top: 8, bottom: 22 };
const TICKS = 4; // of the y axis, about

export class Curves {
  #series = [];
  #end = Infinity;
  #frame = 0;
  #watch;
  #colours = new Map(); // custom property -> the colour that a canvas understands, in the theme that is on

  /** label: of the chart, for screen readers. bounds: the lowest and highest y there can be, null for none. */
  constructor(label, { height = 220, bounds = [null, null] } = {}) {
    this.bounds = bounds;
    this.canvas = make("canvas", { class: "curves", role: "img", "aria-label": label });
    this.canvas.style.height = `${height}px`;
    this.#watch = new ResizeObserver(() => this.#ask());
    this.#watch.observe(this.canvas);
    this.endTheme = onTheme(() => {
      this.#colours.clear();
      this.#ask();
    });
  }

  /**
   * Draws at once, so it is called at most once a frame: drawn in the next one, the whole page would be painted twice.
   * series: [{points: [[x, y]], colour: a CSS custom property, dashed, thin, dots}]. end: the last x that is expected.
   */
  show(series, end = Infinity) {
    this.#series = series;
    this.#end = end;
    this.#draw();
  }

  close() {
    cancelAnimationFrame(this.#frame);
    this.#watch.disconnect();
    this.endTheme();
  }

  #ask() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  #draw() {
    const { canvas } = this;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width || !height) return;
    const scale = devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
    }
    const context = canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    const limits = this.#limits();
    if (!limits) return;
    const { x, y } = limits;
    const toX = (v) => MARGIN.left + ((v - x[0]) / (x[1] - x[0])) * (width - MARGIN.left - MARGIN.right);
    const toY = (v) => height - MARGIN.bottom - ((v - y[0]) / (y[1] - y[0])) * (height - MARGIN.top - MARGIN.bottom);
    this.#axes(context, { x, y, toX, toY, width, height });
    context.save();
    context.beginPath();
    context.rect(MARGIN.left - 3, MARGIN.top - 4, width - MARGIN.left - MARGIN.right + 8, height - MARGIN.top - MARGIN.bottom + 8);
    context.clip();
    for (const one of this.#series) drawSeries(context, this.#colour(one.colour), one, toX, toY);
    context.restore();
  }

  /** {x: [low, high], y: [low, high]} that hold all points; null without points. */
  #limits() {
    const points = this.#series.flatMap(({ points }) => points);
    if (!points.length) return null;
    let [right, low, high] = [0, Infinity, -Infinity];
    for (const [px, py] of points) {
      right = Math.max(right, px);
      low = Math.min(low, py);
      high = Math.max(high, py);
    }
    const room = (high - low || Math.abs(high) || 1) * 0.06;
    const [least, most] = this.bounds;
    const [bottom, top] = rounded(low - room, high + room);
    return { x: [0, Math.max(right, Math.min(reach(right), this.#end)) || 1], y: [Math.max(bottom, least ?? -Infinity), Math.min(top, most ?? Infinity)] };
  }

  #colour(property) {
    if (!this.#colours.has(property)) this.#colours.set(property, `rgb(${colourOf(this.canvas.parentElement, `var(${property})`)})`);
    return this.#colours.get(property);
  }

  #axes(context, { x, y, toX, toY, width, height }) {
    context.font = `12px ${getComputedStyle(this.canvas).fontFamily}`;
    context.fillStyle = this.#colour("--quiet");
    context.strokeStyle = this.#colour("--edge");
    context.lineWidth = 1;
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const value of ticks(...y, TICKS)) {
      const at = Math.round(toY(value)) + 0.5;
      context.beginPath();
      context.moveTo(MARGIN.left, at);
      context.lineTo(width - MARGIN.right, at);
      context.stroke();
      context.fillText(short(value), MARGIN.left - 6, at);
    }
    context.textBaseline = "top";
    for (const value of ticks(...x, Math.max(2, Math.floor(width / 110)))) {
      context.textAlign = toX(value) > width - MARGIN.right - 12 ? "right" : "center";
      context.fillText(short(value), toX(value), height - MARGIN.bottom + 6);
    }
  }
}

function drawSeries(context, colour, { points, dashed, thin, dots }, toX, toY) {
  context.strokeStyle = context.fillStyle = colour;
  context.globalAlpha = thin ? 0.7 : 1;
  context.lineWidth = thin ? 1.2 : 2.2;
  context.setLineDash(dashed ? [6, 4] : []);
  context.beginPath();
  points.forEach(([px, py], i) => context[i ? "lineTo" : "moveTo"](toX(px), toY(py)));
  context.stroke();
  context.setLineDash([]);
  context.globalAlpha = 1;
  if (!dots) return;
  for (const [px, py] of points) {
    context.beginPath();
    context.arc(toX(px), toY(py), 3, 0, 2 * Math.PI);
    context.fill();
  }
}

// The limits of the axes move seldom, so that the curves can be followed by eye.

/** Where the x axis ends for points up to `right`: at a power of 1.5. */
const reach = (right) => Math.max(1, 1.5 ** Math.ceil(Math.log(right || 1) / Math.log(1.5)));

/** The ticks around low and high. */
function rounded(low, high) {
  const step = tickStep(low, high, TICKS);
  return [Math.floor(low / step) * step, Math.ceil(high / step) * step];
}

/** A round number: the distance of about `count` ticks between low and high. */
function tickStep(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 2.5, 5, 10].map((k) => k * power).find((one) => one >= rough);
}

/** Round numbers between low and high, about `count` of them. */
export function ticks(low, high, count) {
  const step = tickStep(low, high, count);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(k * step);
  return found;
}

const short = (value) => String(Number(value.toPrecision(3)));
