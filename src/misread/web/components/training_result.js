// The result of a training: its accuracy, where to go on, and the comparison with another run.

import { make } from "./elements.js";

export class TrainingResult {
  #made = null; // the id of the run that is shown

  constructor(studio) {
    this.studio = studio;
    this.root = make("section", { class: "training-result" });
  }

  show(record) {
    const { training, finished } = record;
    const { t } = this.studio;
    const key = `${training.state} ${finished?.run ?? ""}`;
    if (key === this.#made) return;
    this.#made = key;
    this.root.replaceChildren();
    if (training.state === "failed") {
      this.root.append(make("h2", {}, t("train.failed")), make("p", { class: "note", role: "alert" }, training.message));
    } else if (training.state === "interrupted") {
      this.root.append(make("h2", {}, t("train.interrupted")), make("p", {}, t("train.interrupted-help")), make("p", {}, make("code", {}, training.message)));
    }
    if (finished) this.#showRun(training, finished);
  }

  #showRun(training, finished) {
    const { t, go } = this.studio;
    const test = finished.metrics.test;
    const fixed = finished.metrics.test_fixed;
    const link = (room, key) => {
      const button = make("button", { type: "button" }, t(key));
      button.addEventListener("click", () => go(room, { run: finished.run }));
      return button;
    };
    this.root.append(
      make("h2", {}, t(finished.stopped && finished.status === "complete" ? "train.ended-early" : "train.finished")),
      make("p", { class: "result-line" }, t("train.result", this.#shares(test))),
      fixed ? make("p", {}, t("train.result-fixed", this.#shares(fixed))) : "",
      finished.rate_changes.length ? make("p", { class: "quiet" }, t("train.rate-changed", { n: finished.rate_changes.length })) : "",
      make("div", { class: "choice" }, link("misreads", "train.to-misreads"), link("inside", "train.to-inside"), link("draw", "train.to-draw")),
    );
    this.#compare(training, finished.run);
  }

  #shares({ accuracy, accuracy_low, accuracy_high, misread, n }) {
    const percent = new Intl.NumberFormat(this.studio.lang, { style: "percent", minimumFractionDigits: 2, maximumFractionDigits: 2 });
    return { accuracy: percent.format(accuracy), low: percent.format(accuracy_low), high: percent.format(accuracy_high), misread, n };
  }

  /** The comparison with another run on the same images; the run that was trained again is chosen first. */
  async #compare(training, run) {
    const { t, server } = this.studio;
    const select = make("select", {});
    const shown = make("div", { class: "comparison", "aria-live": "polite" });
    const runs = (await server.get("/api/runs")).filter((one) => one.accuracy !== null);
    const own = runs.find((one) => one.id === run);
    const others = runs.filter((one) => one.id !== run && one.data === own?.data);
    if (!others.length) return;
    select.append(make("option", { value: "" }, t("train.compare-none")),
      ...others.map((one) => make("option", { value: one.id }, `${one.title || one.recipe} · ${one.name}`)));
    const show = async () => {
      shown.replaceChildren();
      if (!select.value) return;
      try {
        shown.append(...comparison(t, this.studio.lang, await server.get(`/api/compare?a=${select.value}&b=${run}`)));
      } catch (error) {
        shown.append(make("p", { class: "note" }, error.message));
      }
    };
    select.addEventListener("change", show);
    this.root.append(make("label", { class: "compare" }, t("train.compare"), select), shown);
    if (others.some((one) => one.id === training.again)) {
      select.value = training.again;
      show();
    }
  }
}

/** A table of a comparison: on the labels of the data and, with a label patch, on the fixed labels. */
function comparison(t, lang, found) {
  const percent = new Intl.NumberFormat(lang, { style: "percent", minimumFractionDigits: 2, maximumFractionDigits: 2, signDisplay: "exceptZero" });
  const whole = new Intl.NumberFormat(lang);
  const kinds = [["train.labels-original", found], ["train.labels-fixed", found.on_fixed_labels]].filter(([, on]) => on);
  const rows = kinds.map(([key, on]) =>
    make("tr", {}, make("th", { scope: "row", class: "text" }, t(key)),
      ...[whole.format(on.fixed), whole.format(on.broken), percent.format(on.difference), on.p_value.toPrecision(2)]
        .map((text) => make("td", {}, text))));
  const heads = ["train.labels", "train.fixed", "train.broken", "train.difference", "train.p-value"];
  const table = make("table", { class: "numbers" },
    make("thead", {}, make("tr", {}, ...heads.map((key) => make("th", { scope: "col" }, t(key))))), make("tbody", {}, ...rows));
  return [make("div", { class: "scroll" }, table), make("p", { class: "quiet" }, t("train.compare-note"))];
}
