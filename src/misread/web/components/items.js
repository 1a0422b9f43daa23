// The images of the page: columns of values, and pictures.

import { make, number } from "./elements.js";

/** Every `width`-th value of a column, from the first. */
const firsts = (column, width) => column.filter((_, i) => i % width === 0);

/** The name of a cause in the language of the page; nothing for an image without a cause. */
export const causeName = (cause, t) => (cause ? t(`cause.${cause.replaceAll(" ", "-")}`) : "");

/** The images of a page. A place is a line in the columns of `data.items`; see items.py. */
export class Items {
  constructor(data) {
    this.classes = data.classes;
    this.columns = data.items;
    this.length = data.items.index.length;
    this.hasPictures = Boolean(data.pictures.items);
    this.changed = data.pictures.items?.changed;
    this.data = data;
    this.width = data.items.top.length / this.length || 1;
    this.prediction = firsts(data.items.top, this.width);
    this.confidence = firsts(data.items.shares, this.width);
  }
  className(k) {
    return this.classes[k];
  }
  cause(place) {
    return this.data.causes?.[this.columns.cause[place]] ?? null;
  }
  /** All values of one image. */
  at(place) {
    const { columns } = this;
    return {
      index: columns.index[place],
      file: columns.file?.[place] ?? "",
      label: columns.label[place],
      loss: columns.loss?.[place],
      shard: columns.shard?.[place],
      row: columns.row?.[place],
      hash: columns.hash?.[place],
      cause: this.cause(place),
      causeProbability: columns.cause_probability?.[place],
      evidence: columns.evidence?.[place],
      ...this.#reading(columns, place),
      ...(columns.of_label ? { ofLabel: columns.of_label[place] } : {}),
      b: columns.b ? this.#reading(columns.b, place) : null,
    };
  }
  #reading({ top, shares, margin }, place) {
    const pairs = [];
    for (let i = place * this.width; i < (place + 1) * this.width; i++) pairs.push([top[i], shares[i]]);
    const confidence = pairs[0][1];
    return { top: pairs, prediction: pairs[0][0], confidence, margin: margin[place], ofLabel: Math.max(0, confidence - margin[place]) };
  }
  /** The nearest training images of an image, the nearest first: label, name and line. */
  near(place) {
    const { training } = this.data;
    return (this.columns.near?.[place] ?? []).map((line) => ({
      label: training.label[line],
      name: training.file?.[line] || number(training.index?.[line] ?? line),
      line,
    }));
  }
  /** How an image is called: by its file, or by its row. */
  name(place, t) {
    return this.columns.file?.[place] || t("gallery.index", { name: this.columns.index[place] });
  }
  /** The place of the image with this row in the source, or -1. */
  find(index) {
    return this.columns.index.indexOf(index);
  }
  /** An img element, or an empty frame for an image without a picture, or null if the page has no pictures. */
  picture(place, description, of = "items") {
    const pictures = this.data.pictures[of];
    if (!pictures) return null;
    const { type, block, heads, bodies } = pictures;
    if (place >= bodies.length) return make("span", { class: "picture missing", "aria-hidden": "true" });
    const source = `data:${type};base64,${heads[Math.floor(place / block)]}${bodies[place]}`;
    return make("img", { class: "picture", src: source, alt: description });
  }
  trainingPicture(line, description) {
    return this.picture(line, description, "training");
  }
}
