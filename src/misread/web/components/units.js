// The units of a layer over many test images: those that are dead, and for each the images that excite it most.

import { surveyUnits } from "../network/unit_survey.js";
import { make } from "./elements.js";
import { written } from "./explanation.js";
import { field, select } from "./form.js";
import { drawImage } from "./pixels.js";
import { Latest } from "./slices.js";

const SAMPLE = 300; // images that are looked at

/** The places of a sample, evenly over the split. */
const sampleOf = (count) => {
  const size = Math.min(SAMPLE, count);
  return Array.from({ length: size }, (_, i) => Math.floor((i * count) / size));
};

export class Units {
  #latest = new Latest();
  #layers = null;
  #images = new Map();
  /** open: called with the row of an image that was chosen. surveyed: called with the survey. */
  constructor(studio, model, { open, surveyed }) {
    const { t } = studio;
    Object.assign(this, { studio, model, open, surveyed });
    this.state = make("p", { class: "quiet", role: "status" });
    this.layer = select([]);
    this.unit = make("input", { type: "number", min: 0, value: 0 });
    this.layer.addEventListener("change", () => this.#show());
    this.unit.addEventListener("input", () => this.#showUnit());
    this.tools = make("div", { class: "tools", hidden: "" }, field(t, "inside.layer", this.layer), field(t, "inside.unit", this.unit));
    this.dead = make("p");
    this.said = make("p", { class: "sum" });
    this.list = make("ol", { class: "thumbnails" });
    this.strip = make("div", { class: "unit-strip", role: "group", "aria-label": t("inside.all-units") });
    this.element = make("div", {}, this.state, this.tools, this.dead, this.strip, this.said, this.list);
    this.#survey();
  }
  async #survey() {
    const { studio, model } = this;
    const { t, images } = studio;
    try {
      const rows = sampleOf(await images.count("test"));
      const { pixels, labels } = await images.get("test", rows);
      rows.forEach((row, i) => this.#images.set(row, { image: pixels[i], label: labels[i] }));
      const sample = rows.map((row, i) => ({ row, image: pixels[i] }));
      const found = await this.#latest.run(surveyUnits(model, sample), ({ done, total }) => {
        this.state.textContent = t("inside.surveying", { done, total });
      });
      if (!found) return;
      this.#layers = found;
      this.state.textContent = t("inside.surveyed", { n: rows.length });
      const options = found.map(({ name }, i) => make("option", { value: i }, name));
      this.layer.replaceChildren(...options);
      this.tools.hidden = false;
      this.#show();
      this.surveyed(found, rows.length);
    } catch (error) {
      this.state.textContent = error.message;
    }
  }
  /** Chooses the unit of a layer by its place in the list of stages, if the survey knows it. */
  choose(place, unit) {
    const i = this.#layers?.findIndex((layer) => layer.place === place) ?? -1;
    if (i < 0) return;
    this.layer.value = i;
    this.unit.value = unit;
    this.#show();
  }
  #show() {
    const { t } = this.studio;
    const { silent, units } = this.#layers[this.layer.value];
    this.unit.max = units.length - 1;
    const dead = units.flatMap(({ active }, k) => (active ? [] : [k]));
    const named = dead.slice(0, 30).join(", ") + (dead.length > 30 ? " …" : "");
    this.dead.textContent = !silent ? t("inside.no-relu") : dead.length ? t("inside.dead", { n: dead.length, all: units.length, named }) : t("inside.none-dead", { all: units.length });
    this.strip.replaceChildren(
      ...units.map(({ active }, k) => {
        const share = active / this.#images.size;
        const cell = make("button", { type: "button", class: silent && !active ? "dead" : "", "data-unit": k, tabindex: "-1", title: t("inside.unit-active", { unit: k, share: `${Math.round(100 * share)}%` }) });
        cell.style.setProperty("--share", `${Math.round(100 * share)}%`);
        cell.addEventListener("click", () => {
          this.unit.value = k;
          this.#showUnit();
        });
        return cell;
      }),
    );
    this.#showUnit();
  }
  #showUnit() {
    const { t } = this.studio;
    const { units } = this.#layers[this.layer.value];
    const k = Math.max(0, Math.min(units.length - 1, Math.round(Number(this.unit.value)) || 0));
    const { active, best } = units[k];
    for (const cell of this.strip.children) cell.classList.toggle("chosen", cell.dataset.unit === String(k));
    this.said.textContent = t("inside.excited", { unit: k, active, n: this.#images.size });
    this.list.replaceChildren(...best.map((item) => this.#item(item)));
  }
  #item({ value, row }) {
    const { t } = this.studio;
    const { image, label } = this.#images.get(row);
    const canvas = make("canvas", { class: "pixels" });
    drawImage(canvas, image, this.model.imageShape);
    const name = this.model.classNames[label];
    const open = make("button", { type: "button", class: "open", "aria-label": t("inside.open-image", { row, class: name }) }, canvas);
    open.addEventListener("click", () => this.open(row));
    return make("li", {}, open, make("span", {}, `${name} · ${written(value)}`));
  }
  stop() {
    this.#latest.stop();
  }
}
