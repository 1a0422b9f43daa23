// The large view of one image: its most probable classes, cause, and nearest training images.

import { writeAddress } from "./address.js";
import { byId, make, number, percent } from "./elements.js";

export class View {
  /** names: of the two models, if there are two. decision: makes the buttons that decide on a label, if there are any. */
  constructor(items, names, decision) {
    Object.assign(this, { items, names, decision, places: [], at: 0, focus: () => {} });
    this.dialog = byId("view");
    byId("previous").addEventListener("click", () => this.step(-1));
    byId("next").addEventListener("click", () => this.step(1));
    byId("close").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close();
    });
    this.dialog.addEventListener("keydown", (event) => {
      if (event.target.matches("input, select")) return;
      if (event.key === "ArrowLeft") this.step(-1);
      else if (event.key === "ArrowRight") this.step(1);
      else return;
      event.preventDefault();
    });
    this.dialog.addEventListener("close", () => {
      writeAddress({ image: "" });
      this.focus(this.places[this.at]);
    });
  }
  /** places: the images to move through. focus: called with the image last looked at, when the view is closed. */
  open(places, place, focus) {
    Object.assign(this, { places, at: Math.max(0, places.indexOf(place)), focus });
    this.draw();
    if (!this.dialog.open) this.dialog.showModal();
    byId("close").focus();
  }
  step(by) {
    const at = this.at + by;
    if (at < 0 || at >= this.places.length) return;
    this.at = at;
    this.draw();
    // what had the focus may be gone with the image before, or be disabled now
    if (!this.dialog.contains(document.activeElement) || document.activeElement.disabled) byId("close").focus();
  }
  draw() {
    const { items, places, at } = this;
    const place = places[at];
    const item = items.at(place);
    const name = (k) => items.className(k);
    const [a, b] = this.names ?? [];
    const other = item.b;
    const title = other ? `Labelled ${name(item.label)}` : `Labelled ${name(item.label)}, read as ${name(item.prediction)}`;
    const facts = make(
      "div",
      {},
      make("h2", { id: "view-title" }, title),
      other ? make("h3", {}, `A, ${a}: ${name(item.prediction)}`) : null,
      this.#bars(item, item.label, "Most probable classes"),
      other ? make("h3", {}, `B, ${b}: ${name(other.prediction)}`) : null,
      other ? this.#bars(other, item.label, "Most probable classes by B") : null,
      item.cause ? this.#cause(item) : null,
    );
    const picture = items.picture(place, `the image: labelled ${name(item.label)}, read as ${name(item.prediction)}`);
    const changed = items.changed ? make("figcaption", {}, `The picture is ${items.changed}. The network read the image itself.`) : null;
    const deciding = item.hash && this.decision;
    byId("view-body").replaceChildren(
      make(
        "div",
        { class: picture ? "view" : "" },
        picture ? make("figure", {}, picture, changed) : "",
        facts,
        make(
          "div",
          { class: "wide-row" },
          ...this.#neighbours(place),
          deciding ? make("h3", {}, "The label") : null,
          deciding ? this.decision(place, item.prediction) : null,
          make("p", { class: "meta" }, this.#meta(item)),
        ),
      ),
    );
    byId("view-place").textContent = `${number(at + 1)} of ${number(places.length)}`;
    byId("previous").disabled = at === 0;
    byId("next").disabled = at === places.length - 1;
    writeAddress({ image: String(item.index) });
  }
  #cause({ cause, causeProbability, evidence }) {
    const sure = cause === "undetermined" ? "" : `at least ${Math.floor(100 * causeProbability)}% sure; `;
    return make("p", {}, make("span", { class: "chip" }, cause), ` ${sure}${evidence}`);
  }
  #meta({ index, file, confidence, margin, loss, hash }) {
    const numbers = `confidence ${percent(confidence, 2)}, margin ${percent(margin, 2)}, loss ${loss.toPrecision(4)}`;
    return `Index ${number(index)}${file ? `, file ${file}` : ""}; ${numbers}${hash ? `, hash ${hash}` : ""}`;
  }
  /** The most probable classes of a reading, and the label where it is none of them. */
  #bars({ top, confidence, margin }, label, title) {
    const shown = top.some(([k]) => k === label) ? top : [...top, [label, Math.max(0, confidence - margin)]];
    const rows = shown.map(([k, share]) =>
      make(
        "tr",
        { class: k === label ? "is-label" : k === top[0][0] ? "is-wrong" : "" },
        make("th", { scope: "row" }, this.items.className(k), k === label ? make("small", {}, " (label)") : null),
        make("td", { class: "rod" }, make("span", { style: `--share:${(100 * share).toFixed(2)}` })),
        make("td", {}, percent(share, 2)),
      ),
    );
    return make("table", { class: "probs" }, make("caption", { class: "hidden" }, title), make("tbody", {}, ...rows));
  }
  #neighbours(place) {
    const near = this.items.near(place);
    if (!near.length) return [];
    const list = near.map(({ label, name, line }) =>
      make(
        "li",
        {},
        this.items.trainingPicture(line, `training image ${name}, labelled ${this.items.className(label)}`),
        make("b", { class: "clip" }, this.items.className(label)),
        make("span", { class: "quiet clip" }, name),
      ),
    );
    return [
      make("h3", {}, "The nearest training images, by the network's features"),
      make("ol", { class: "near" }, ...list),
    ];
  }
}
