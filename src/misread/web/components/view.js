// The large view of one image: a dialog that moves through a list of images.

import { writeAddress } from "./address.js";
import { byId, make } from "./elements.js";
import { facts } from "./facts.js";

export class View {
  /** t: texts. names: of the two models, if there are two. decision: makes the buttons that decide on a label, if any. */
  constructor(items, t, names, decision) {
    Object.assign(this, { items, t, names, decision, places: [], at: 0, focus: () => {} });
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
    const { items, places, at, t, names } = this;
    const { hash, prediction, index } = items.at(places[at]);
    const deciding =
      hash && this.decision ? [make("h3", {}, t("facts.the-label")), this.decision(places[at], prediction)] : [];
    byId("view-body").replaceChildren(facts(items, places[at], { t, names, titleId: "view-title", deciding }));
    byId("view-place").textContent = t("gallery.place", { at: at + 1, n: places.length });
    byId("previous").disabled = at === 0;
    byId("next").disabled = at === places.length - 1;
    writeAddress({ image: String(index) });
  }
}
