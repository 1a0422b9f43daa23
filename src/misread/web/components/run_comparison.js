// What one run fixes and breaks, compared with another: counts, p-value, each class, and the images.

import { make } from "./elements.js";
import { drawImage } from "./pixels.js";

const PICTURES = 48; // of each kind, until the reader asks for more
const SIGNIFICANT = 0.05;
const LEAST = 0.0001; // smaller p-values are not written out

/** Fills `root` with the comparison of runs a and b: rows of the list of runs, and `shown`, their names. */
export async function showComparison(root, studio, a, b, close) {
  const { t, server, lang } = studio;
  const heading = make("h2", { id: "comparison-title" }, t("runs.comparison"));
  const closing = make("button", { type: "button", class: "quiet", "aria-label": t("runs.close-comparison") }, "✕");
  closing.addEventListener("click", close);
  const head = make("div", { class: "comparison-head" }, heading, closing);
  const status = make("p", { role: "status" }, t("runs.comparing"));
  const frame = make("section", { "aria-labelledby": "comparison-title" }, head, status);
  root.replaceChildren(frame);
  let parts, details;
  try {
    [parts, details] = await Promise.all([server.get(`/api/compare?a=${a.id}&b=${b.id}`), server.get(`/api/runs/${b.id}`)]);
  } catch (error) {
    status.replaceWith(make("p", { class: "note" }, error.message));
    return;
  }
  const percent = new Intl.NumberFormat(lang, { style: "percent", minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const points = new Intl.NumberFormat(lang, { minimumFractionDigits: 2, maximumFractionDigits: 2, signDisplay: "exceptZero" });
  const digits = new Intl.NumberFormat(lang, { maximumSignificantDigits: 2 });
  const difference = ({ difference, difference_low, difference_high, p_value }) =>
    t("runs.difference", {
      points: points.format(100 * difference), low: points.format(100 * difference_low), high: points.format(100 * difference_high),
      p: p_value < LEAST ? `<\u00a0${digits.format(LEAST)}` : `=\u00a0${digits.format(p_value)}`,
    });
  const { on_fixed_labels: onFixed } = parts;
  const verdict = parts.p_value > SIGNIFICANT ? "same" : parts.difference > 0 ? "better" : "worse";
  frame.replaceChildren(
    head,
    make("dl", {},
      make("div", {}, make("dt", {}, "A"), make("dd", {}, `${a.shown} · ${percent.format(parts.a.accuracy)}`)),
      make("div", {}, make("dt", {}, "B"), make("dd", {}, `${b.shown} · ${percent.format(parts.b.accuracy)}`))),
    make("div", { class: "figures" }, ...["fixed", "broken", "both_wrong"].map((kind) =>
      make("p", {}, make("strong", {}, new Intl.NumberFormat(lang).format(parts[kind])), t(`runs.${kind}`)))),
    make("p", { class: "lead" }, t(`runs.verdict.${verdict}`), " ", difference(parts)),
    onFixed ? make("p", { class: "lead" }, t("runs.on-fixed-labels"), " ", difference(onFixed)) : "",
    ...["fixed", "broken"].map((kind) => changed(kind, parts, details, studio)),
  );
}

/** The images of one kind of change, the most confident mistake first. */
function changed(kind, parts, details, studio) {
  const { t } = studio;
  const lines = parts.changes.filter((line) => line.change === kind);
  const list = make("ul", { class: "tiles" });
  const more = make("button", { type: "button", class: "more" }, t("runs.more"));
  const part = make("div", { class: "changed" }, make("h3", {}, t(`runs.${kind}-images`, { n: lines.length })), list, more);
  let shown = 0;
  async function show() {
    const next = lines.slice(shown, shown + PICTURES);
    shown += next.length;
    more.hidden = shown === lines.length;
    list.append(...(await tiles(next, details, studio)));
  }
  more.addEventListener("click", show);
  show();
  return part;
}

async function tiles(lines, details, { t, server }) {
  const shape = details.data.image_shape;
  const size = shape[0] * shape[1] * shape[2];
  let bytes = null;
  try {
    if (lines.length) bytes = await server.bytes(`/api/runs/${details.id}/images/test?rows=${lines.map((line) => line.position)}`);
  } catch {
    // the data of the run is gone; the numbers are still there
  }
  return lines.map((line, i) => {
    const text = t("runs.read-as", { label: line.label, a: line.prediction_a, b: line.prediction_b });
    const canvas = make("canvas", { class: "picture", role: "img", "aria-label": text });
    if (bytes) drawImage(canvas, new Uint8Array(bytes, i * size, size), shape);
    const name = line.file || t("runs.image", { index: line.index });
    return make("li", { class: "tile", title: text }, canvas,
      make("span", { class: "caption" }, make("span", {}, line.prediction_a), make("span", {}, "→"), make("span", {}, line.prediction_b)),
      make("span", { class: "detail" }, t("runs.label", { label: line.label })),
      make("span", { class: "detail" }, name));
  });
}
