// What is known of one image: its picture, most probable classes, cause, and nearest training images.

import { make, percent } from "./elements.js";
import { causeName } from "./items.js";
import { say } from "../shell/messages.js";

/**
 * An element with the facts of an image.
 * t: texts. names: of the two models, if there are two. titleId: of the heading. deciding: elements that decide on the label.
 */
export function facts(items, place, { t, names = null, titleId = null, deciding = [] }) {
  const item = items.at(place);
  const name = (k) => items.className(k);
  const { b: other, prediction } = item;
  const [label, read] = [name(item.label), name(prediction)];
  const [a, b] = names ?? [];
  const labelled = item.label !== null;
  const picture = items.picture(place, t(labelled ? "facts.picture" : "facts.picture-unlabelled", { label, read }));
  const changed = items.changed ? make("figcaption", {}, t("facts.changed", { how: items.changed })) : null;
  return make(
    "div",
    { class: picture ? "view" : "" },
    picture ? make("figure", {}, picture, changed) : "",
    make(
      "div",
      {},
      make("h2", { id: titleId }, other ? t("facts.label", { label }) : t(labelled ? "facts.title" : "facts.title-unlabelled", { label, read })),
      other ? make("h3", {}, `A, ${a}: ${read}`) : null,
      bars(items, item, item.label, t("facts.classes"), t),
      other ? make("h3", {}, `B, ${b}: ${name(other.prediction)}`) : null,
      other ? bars(items, other, item.label, t("facts.classes-b"), t) : null,
      item.cause ? cause(item, t) : null,
    ),
    make(
      "div",
      { class: "wide-row" },
      ...neighbours(items, place, t),
      ...deciding,
      make("p", { class: "meta" }, meta(item, t)),
    ),
  );
}

function cause({ cause, causeProbability, evidence }, t) {
  const sure = cause === "undetermined" ? "" : `${t("facts.sure", { share: Math.floor(100 * causeProbability) })} `;
  return make("p", {}, make("span", { class: "chip" }, causeName(cause, t)), ` ${sure}${say(evidence, t)}`);
}

function meta({ index, file, shard, row, confidence, margin, loss, hash }, t) {
  const numbers = { confidence: percent(confidence, 2), margin: percent(margin, 2), loss: loss?.toPrecision(4) };
  return [
    shard === undefined ? t("facts.index", { index }) + (file ? t("facts.file", { file }) : "") : t("facts.in-shard", { key: file, shard, row }),
    t(loss === undefined ? "facts.confidence" : "facts.numbers", numbers) + (hash ? t("facts.hash", { hash }) : ""),
  ].join("; ");
}

/** The most probable classes of a reading, and the label where it is none of them. */
function bars(items, { top, ofLabel }, label, title, t) {
  const complete = ofLabel === null || top.some(([k]) => k === label); // null: there is no label, or nothing is known of it
  const shown = complete ? top : [...top, [label, ofLabel]];
  const rows = shown.map(([k, share]) => {
    const rod = make("span");
    rod.style.setProperty("--share", (100 * share).toFixed(2)); // a style attribute would need a weaker security policy
    return make(
      "tr",
      { class: k === label ? "is-label" : label !== null && k === top[0][0] ? "is-wrong" : "" },
      make("th", { scope: "row" }, items.className(k), k === label ? make("small", {}, ` ${t("facts.is-label")}`) : null),
      make("td", { class: "rod" }, rod),
      make("td", {}, percent(share, 2)),
    );
  });
  return make("table", { class: "probs" }, make("caption", { class: "hidden" }, title), make("tbody", {}, ...rows));
}

function neighbours(items, place, t) {
  const near = items.near(place);
  if (!near.length) return [];
  const list = near.map(({ label, name, line }) =>
    make(
      "li",
      {},
      items.trainingPicture(line, t("facts.training-picture", { name, label: items.className(label) })),
      make("b", { class: "clip" }, items.className(label)),
      make("span", { class: "quiet clip" }, name),
    ),
  );
  return [make("h3", {}, t("facts.near")), make("ol", { class: "near" }, ...list)];
}
