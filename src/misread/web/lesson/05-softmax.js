// Softmax: the network's logits for an image become probabilities.

import { make } from "../components/elements.js";
import { barChart } from "./chart.js";
import { softmax } from "./formulas.js";
import { imageStrip, results, slider } from "./stage.js";

export const softmaxPage = {
  id: "softmax",
  needs: "model",
  formula: "pₖ = exp(zₖ) / Σⱼ exp(zⱼ)",
  show(stage, lesson) {
    const { t, model, classNames } = lesson;
    const found = results([["sum", t("lesson.softmax.sum")], ["largest", t("lesson.softmax.largest")]]);
    const [left, right] = [make("div"), make("div")];
    const factor = slider({ name: t("lesson.softmax.factor"), min: 0, max: 3, step: 0.05, value: 1, show: (value) => `× ${value.toFixed(2)}` }, draw);
    const added = slider({ name: t("lesson.softmax.added"), min: -100, max: 100, step: 1, value: 0, show: (value) => `${value < 0 ? "−" : "+"} ${Math.abs(value)}` }, draw);
    function draw() {
      const logits = Array.from(model.logits(lesson.samples[lesson.chosen].pixels), (z) => z * factor.value() + added.value());
      const probs = softmax(logits);
      const best = Math.max(...probs);
      const scale = Math.max(...logits.map(Math.abs));
      const kind = (k) => (probs[k] === best ? "b" : "");
      left.replaceChildren(make("h3", {}, t("lesson.logits")), barChart(logits.map((z, k) => ({ name: classNames[k], value: z, text: z.toFixed(2), kind: kind(k) })), scale, t("lesson.logits")));
      right.replaceChildren(make("h3", {}, t("lesson.probabilities")), barChart(probs.map((p, k) => ({ name: classNames[k], value: p, text: p.toFixed(4), kind: kind(k) })), 1, t("lesson.probabilities")));
      found.set("sum", probs.reduce((a, b) => a + b, 0).toFixed(4));
      found.set("largest", best.toFixed(4));
    }
    stage.append(imageStrip(lesson, draw), factor.element, added.element, make("div", { class: "columns" }, left, right), found.element);
    draw();
  },
};
