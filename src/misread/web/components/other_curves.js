// The choice of earlier runs whose curves are drawn beside those of a training.

import { make } from "./elements.js";

const COLOURS = ["--c", "--d", "--e"];

export class OtherCurves {
  #chosen = new Map(); // id -> {colour, history}
  #shown = null;

  /** changed: called when other curves are to be drawn. */
  constructor(studio, changed) {
    this.studio = studio;
    this.changed = changed;
    this.list = make("div", { class: "other-runs" });
    this.root = make("details", { hidden: "" }, make("summary", {}, studio.t("train.overlay")), this.list);
  }

  chosen() {
    return [...this.#chosen.values()];
  }

  /** Offers the runs on a data set. */
  async show(dataName) {
    if (this.#shown === dataName) return;
    this.#shown = dataName;
    let runs;
    try {
      runs = await this.studio.server.get("/api/runs");
    } catch {
      this.#shown = null;
      return;
    }
    const offered = runs.filter((run) => run.accuracy !== null && run.data === dataName).slice(0, 30);
    this.root.hidden = !offered.length;
    this.list.replaceChildren(...offered.map((run) => this.#choice(run)));
  }

  #choice(run) {
    const box = make("input", { type: "checkbox" });
    const label = make("label", {}, box, make("span", { class: "key other" }), `${run.title || run.recipe} · ${run.name}`);
    box.addEventListener("change", async () => {
      if (!box.checked) this.#chosen.delete(run.id);
      else {
        const used = this.chosen().map(({ colour }) => colour);
        const colour = COLOURS.find((one) => !used.includes(one));
        if (!colour) {
          box.checked = false;
          this.studio.say(this.studio.t("train.overlay-most", { n: COLOURS.length }));
          return;
        }
        const { history } = await this.studio.server.get(`/api/runs/${run.id}`);
        this.#chosen.set(run.id, { colour, history });
        label.style.setProperty("--colour", `var(${colour})`);
      }
      label.classList.toggle("chosen", box.checked);
      this.changed();
    });
    return label;
  }
}
