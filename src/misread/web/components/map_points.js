// What is known of the points of a map: the image of each, its label, prediction and cause, and what colours they get.

import { foundCauses } from "./causes.js";
import { causeName } from "./items.js";
import { classColours, shareColour } from "./palette.js";

const GREY = [140, 150, 160];

/** The names of what points are coloured by, where they may have one. */
export const COLOURS = ["label", "prediction", "cause", "confidence"];

export class MapPoints {
  #causes = new Map(); // by split: {names, of: cause by position}

  /** classes: names. t: texts. */
  constructor(classes, t) {
    Object.assign(this, { classes, t, n: 0, splits: [] });
  }

  /**
   * Takes other points. splits: [{name, n}], in the order of their points. columns: (N, 4) Float32Array, x and y in
   * -1..1, prediction, confidence. labels: of each split. Returns the places (N, 2).
   */
  fill(splits, columns, labels) {
    const n = columns.length / 4;
    this.splits = splits.map(({ name }) => name);
    this.position = new Uint32Array(n);
    this.splitOf = new Uint8Array(n);
    this.label = new Int32Array(n);
    this.prediction = new Int32Array(n);
    this.confidence = new Float32Array(n);
    this.n = n;
    const places = new Float32Array(2 * n);
    let at = 0;
    splits.forEach(({ n: count }, which) => {
      for (let row = 0; row < count; row++, at++) {
        this.splitOf[at] = which;
        this.position[at] = row;
        this.label[at] = labels[which][row];
      }
    });
    for (let i = 0; i < n; i++) {
      [places[2 * i], places[2 * i + 1], this.prediction[i], this.confidence[i]] = columns.subarray(4 * i, 4 * i + 4);
    }
    return places;
  }

  split(i) {
    return this.splits[this.splitOf[i]];
  }
  misread(i) {
    return this.label[i] !== this.prediction[i];
  }
  /** Confidence from 0, that of a guess, to 1. */
  sure(i) {
    const guess = 1 / this.classes.length;
    return Math.max(0, (this.confidence[i] - guess) / (1 - guess));
  }
  /** What the page says of an image. */
  row(i) {
    return {
      split: this.split(i),
      position: this.position[i],
      label: this.classes[this.label[i]],
      prediction: this.classes[this.prediction[i]],
      confidence: this.confidence[i],
      cause: causeName(this.#cause(i), this.t),
    };
  }
  #cause(i) {
    return this.#causes.get(this.split(i))?.of.get(this.position[i]);
  }

  /**
   * Asks for the causes of misread images that are not known yet. Training images are left out: theirs take long.
   * wanted, waiting: as `foundCauses` takes them.
   */
  async loadCauses(server, run, { wanted, waiting }) {
    for (const split of this.splits.filter((name) => name !== "train" && !this.#causes.has(name))) {
      const found = await foundCauses(server, run, split, { wanted, waiting });
      if (!found) return;
      const of = new Map(found.positions.map((position, i) => [position, found.causes?.[found.items.cause[i]]]));
      this.#causes.set(split, { names: found.causes ?? [], of });
    }
  }

  /** How points are coloured by one of `COLOURS`: {colour(i) -> [r, g, b], names, colours, of(i) -> number of the name}. */
  groups(by) {
    if (by === "confidence") return { colour: (i) => shareColour(this.sure(i)), names: [], colours: [] };
    if (by === "cause") {
      const names = [...new Set([...this.#causes.values()].flatMap((one) => one.names))];
      const colours = classColours(names.length);
      const of = (i) => names.indexOf(this.#cause(i));
      return {
        names: [...names.map((cause) => causeName(cause, this.t)), this.t("map.other")],
        colours: [...colours, GREY],
        of: (i) => (of(i) < 0 ? names.length : of(i)),
        colour: (i) => colours[of(i)] ?? GREY,
      };
    }
    const of = by === "label" ? (i) => this.label[i] : (i) => this.prediction[i];
    const colours = classColours(this.classes.length);
    return { names: this.classes, colours, of, colour: (i) => colours[of(i)] };
  }
}
