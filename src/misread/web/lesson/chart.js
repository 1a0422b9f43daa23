// Small charts as SVG: lines over a number, and bars with names.

import { make } from "../components/elements.js";

const NAMESPACE = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [520, 262, 56, 12, 12, 52]; // below: two lines of text, larger on narrow screens

function mark(tag, attributes, text) {
  const element = document.createElementNS(NAMESPACE, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

/**
 * Lines and dots. x, y: { from, to, name, whole }; whole: only whole numbers stand at the axis. lines: [{ points: [[x, y]], kind: "a"|"b"|"c", name }].
 * dots: [{ x, y, kind }]. upright: an x with a vertical line. name: what a screen reader says.
 */
export function lineChart({ name, x, y, lines = [], dots = [], upright = null }) {
  const svg = mark("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": name });
  const [right, bottom] = [WIDTH - RIGHT, HEIGHT - BOTTOM];
  const clamp = (value, { from, to }) => Math.max(from, Math.min(to, value));
  const placeX = (value) => LEFT + ((clamp(value, x) - x.from) / (x.to - x.from || 1)) * (right - LEFT);
  const placeY = (value) => bottom - ((clamp(value, y) - y.from) / (y.to - y.from || 1)) * (bottom - TOP);
  for (const value of ticks(y)) {
    svg.append(mark("line", { class: "grid", x1: LEFT, x2: right, y1: placeY(value), y2: placeY(value) }));
    svg.append(mark("text", { x: LEFT - 7, y: placeY(value) + 4, "text-anchor": "end" }, short(value)));
  }
  for (const value of ticks(x)) svg.append(mark("text", { x: placeX(value), y: bottom + 19, "text-anchor": "middle" }, short(value)));
  svg.append(mark("text", { x: (LEFT + right) / 2, y: HEIGHT - 5, "text-anchor": "middle" }, x.name));
  if (upright !== null) svg.append(mark("line", { class: "upright", x1: placeX(upright), x2: placeX(upright), y1: TOP, y2: bottom }));
  for (const { points, kind } of lines) {
    const path = points.filter(([, value]) => Number.isFinite(value)).map(([a, b]) => `${placeX(a).toFixed(1)},${placeY(b).toFixed(1)}`);
    svg.append(mark("polyline", { class: `line ${kind}`, points: path.join(" ") }));
  }
  for (const dot of dots) svg.append(mark("circle", { class: `dot ${dot.kind}`, cx: placeX(dot.x), cy: placeY(dot.y), r: dot.r ?? 4 }));
  const keys = lines.filter((line) => line.name).map((line) => make("span", { class: `key ${line.kind}` }, line.name));
  return make("div", {}, make("p", { class: "legend" }, y.name ? `${y.name}: ` : "", ...keys), svg);
}

function short(value) {
  return String(Number(value.toPrecision(6)));
}

/** Four to seven round numbers between two ends. */
function ticks({ from, to, whole }) {
  const rough = (to - from) / 5 || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(whole ? 1 : 0, power * [1, 2, 5, 10].find((round) => round * power >= rough));
  const found = [];
  for (let n = Math.ceil(from / step - 1e-9); n * step <= to + step * 1e-9; n++) found.push(n * step);
  return found;
}

/**
 * Bars with names and texts, from 0; those below 0 point to the left.
 * rows: [{ name, value, text, kind }]. largest: the value of a full bar.
 */
export function barChart(rows, largest, name) {
  const signed = rows.some((row) => row.value < 0);
  const lines = rows.map((row) => {
    const length = (Math.min(1, Math.abs(row.value) / (largest || 1)) * (signed ? 50 : 100)).toFixed(2);
    const bar = make("span", { class: `stick ${row.kind ?? ""}` });
    bar.style.width = `${length}%`;
    if (signed) bar.style.marginLeft = row.value < 0 ? `${50 - Number(length)}%` : "50%";
    return make("tr", {}, make("th", { scope: "row" }, row.name), make("td", { class: "of" }, bar), make("td", { class: "n" }, row.text));
  });
  return make("table", { class: "bars" }, make("caption", { class: "hidden" }, name), make("tbody", {}, ...lines));
}
