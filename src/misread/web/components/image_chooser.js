// Which image is looked at: a row of a split, the next misread one, a random one, or the drawing.

import { argmax } from "../network/argmax.js";
import { currentDrawing } from "./current_drawing.js";
import { make } from "./elements.js";
import { button, field, select } from "./form.js";

const BLOCK = 64; // images that are asked for at once while the next misread one is looked for

export class ImageChooser {
  /** chosen: called with { image, label, title } when there is a new image. */
  constructor(studio, model, chosen) {
    const { t } = studio;
    Object.assign(this, { studio, model, chosen, asked: 0, split: "test", row: 0 });
    this.splits = select((studio.run?.splits ?? ["test"]).map((name) => [name, t(`inside.split-${name}`)]));
    this.number = make("input", { type: "number", min: 0, value: 0 });
    this.state = make("span", { class: "quiet", role: "status" });
    this.drawing = button(t, "inside.drawing", () => this.#go({ image: "drawing" }));
    this.splits.addEventListener("change", () => this.#go({ split: this.splits.value, row: 0 }));
    this.number.addEventListener("change", () => this.#go({ row: Math.max(0, Math.round(Number(this.number.value))) }));
    this.element = make(
      "div",
      { class: "tools" },
      this.splits.options.length > 1 ? field(t, "inside.split", this.splits) : null,
      field(t, "inside.row", this.number),
      button(t, "inside.previous", () => this.step(-1)),
      button(t, "inside.next", () => this.step(1)),
      button(t, "inside.random", () => this.random()),
      button(t, "inside.misread", () => this.nextMisread()),
      this.drawing,
      this.state,
    );
  }
  /** Shows what the address asks for. */
  async open(values) {
    const asked = ++this.asked;
    const { model, studio } = this;
    const drawn = currentDrawing(model.imageShape).image;
    this.drawing.disabled = !drawn;
    if (values.get("image") === "drawing" && drawn) {
      this.drawing.setAttribute("aria-pressed", "true");
      return this.chosen({ image: drawn, label: null, title: studio.t("inside.your-drawing") });
    }
    this.drawing.setAttribute("aria-pressed", "false");
    const splits = [...this.splits.options].map((option) => option.value);
    this.split = splits.includes(values.get("split")) ? values.get("split") : splits.includes("test") ? "test" : splits[0];
    this.splits.value = this.split;
    try {
      const count = await studio.images.count(this.split);
      this.row = Math.min(Math.max(0, Number.parseInt(values.get("row") ?? 0, 10) || 0), count - 1);
      const { pixels, labels, files } = await studio.images.get(this.split, [this.row]);
      if (asked !== this.asked) return; // another image was chosen meanwhile
      Object.assign(this, { count });
      this.number.value = this.row;
      this.number.max = count - 1;
      this.state.textContent = "";
      const title = files?.[0] ?? studio.t("inside.image-of", { split: studio.t(`inside.split-${this.split}`), row: this.row });
      this.chosen({ image: pixels[0], label: labels[0], title });
    } catch (error) {
      if (asked === this.asked) this.state.textContent = error.message;
    }
  }
  #go(values) {
    const state = { image: null, split: this.split, row: this.row, ...values };
    this.studio.address.write({ ...state, row: String(state.row) }, { push: true });
    this.open(this.studio.address.read());
  }
  step(by) {
    this.#go({ row: (this.row + by + this.count) % this.count });
  }
  random() {
    this.#go({ row: Math.floor(Math.random() * this.count) });
  }
  /** Goes to the next image after this one that the network misreads, around the end if there is none before it. */
  async nextMisread() {
    const { model, studio } = this;
    const { t } = studio;
    const asked = ++this.asked;
    for (let done = 1; done < this.count; done += BLOCK) {
      const rows = Array.from({ length: Math.min(BLOCK, this.count - done) }, (_, i) => (this.row + done + i) % this.count);
      const { pixels, labels } = await studio.images.get(this.split, rows);
      if (asked !== this.asked) return;
      for (const [i, image] of pixels.entries()) {
        if (argmax(model.predict(image)) !== labels[i]) return this.#go({ row: rows[i] });
        if (i % 8 === 7) await new Promise((resolve) => setTimeout(resolve));
        if (asked !== this.asked) return;
      }
      this.state.textContent = t("inside.searching", { done: done + rows.length - 1, total: this.count });
    }
    this.state.textContent = t("inside.no-misread");
  }
  stop() {
    this.asked += 1;
  }
}
