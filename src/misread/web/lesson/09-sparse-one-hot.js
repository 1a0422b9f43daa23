// Two forms of a label, and the one loss.

import { make } from "../components/elements.js";
import { crossEntropy } from "./formulas.js";
import { numberTable } from "./number_table.js";
import { choice, imageStrip, results, slider } from "./stage.js";

export const labelsPage = {
  id: "labels",
  needs: "model",
  formula: "sparse: −log p(label)\none-hot: −Σₖ yₖ log pₖ",
  show(stage, lesson) {
    const { t, model, classNames } = lesson;
    const K = classNames.length;
    const found = results([["sparse", t("lesson.labels.sparse-loss")], ["one-hot", t("lesson.labels.one-hot-loss")]]);
    const table = make("div", { class: "scroll" });
    const label = choice({ name: t("lesson.label"), options: classNames.map((name, k) => [k, name]), value: lesson.samples[lesson.chosen].label }, draw);
    const share = slider({ name: t("lesson.labels.smoothing"), min: 0, max: 0.5, step: 0.05, value: 0, show: (value) => value.toFixed(2) }, draw);
    function draw() {
      const logits = model.logits(lesson.samples[lesson.chosen].pixels);
      const losses = classNames.map((_, k) => crossEntropy(logits, k));
      const oneHot = classNames.map((_, k) => (k === label.value() ? 1 - share.value() : 0) + share.value() / K);
      const rows = classNames.map((name, k) => [name, oneHot[k].toFixed(3), losses[k].toFixed(4), (oneHot[k] * losses[k]).toFixed(4)]);
      table.replaceChildren(numberTable([t("lesson.class"), "y", "−log p", "−y log p"], rows));
      found.set("sparse", share.value() ? t("lesson.labels.not-sparse") : losses[label.value()].toFixed(4));
      found.set("one-hot", oneHot.reduce((sum, y, k) => sum + y * losses[k], 0).toFixed(4));
    }
    const strip = imageStrip(lesson, (sample) => {
      label.set(sample.label);
      draw();
    });
    stage.append(strip, label.element, share.element, table, found.element);
    draw();
  },
};
