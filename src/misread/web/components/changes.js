// What changed between two models.

import { readAddress, writeAddress } from "./address.js";
import { byId } from "./elements.js";
import { Tiles, fromTo, tile } from "./tiles.js";

const MEANINGS = { broken: "report.changes.broken", fixed: "report.changes.fixed", both: "report.changes.both" };

export class Changes {
  /** changes: places by the names in `MEANINGS`. t: texts. open: enlarges an image. */
  constructor(items, t, changes, open) {
    Object.assign(this, { changes, t, buttons: [...byId("changes-choice").children] });
    this.tiles = new Tiles(byId("changes-tiles"), (place) => {
      const { label, prediction, b } = items.at(place);
      const made = tile(items, place, (p) => open(this.shown, p, this.back), { t, more: t("report.changes.label", { label: items.className(label) }) });
      made.querySelector(".caption").replaceWith(fromTo(items, prediction, b.prediction));
      const [first, second] = [prediction, b.prediction].map((k) => items.className(k));
      made.setAttribute("aria-label", t("report.changes.tile", { label: items.className(label), a: first, b: second }));
      return made;
    });
    this.back = (place) => this.tiles.focus(place);
    for (const button of this.buttons) button.addEventListener("click", () => this.show(button.dataset.change));
    this.restore(readAddress());
  }
  show(name) {
    this.shown = this.changes[name];
    for (const button of this.buttons) button.setAttribute("aria-pressed", String(button.dataset.change === name));
    byId("changes-count").textContent =
      this.t(MEANINGS[name], { images: this.t("report.n-images", { n: this.shown.length }) }) +
      (this.shown.length ? ` ${this.t("report.changes.below")}` : "");
    this.tiles.show(this.shown);
    writeAddress({ change: name === "broken" ? "" : name });
  }
  restore(state) {
    this.show(state.get("change") in MEANINGS ? state.get("change") : "broken");
  }
}
