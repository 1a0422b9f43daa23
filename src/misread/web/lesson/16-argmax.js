// Argmax: the position of the largest probability is the prediction.

import { make } from "../components/elements.js";
import { argmax } from "../network/argmax.js";
import { barChart } from "./chart.js";
import { softmax } from "./formulas.js";
import { choice, imageStrip, results, slider } from "./stage.js";

export const argmaxPage = {
  id: "argmax",
  needs: "model",
  formula: "prediction = argmaxₖ pₖ",
  show(stage, lesson) {
    const { t, model, classNames } = lesson;
    const found = results([["position", t("lesson.argmax.position")], ["name", t("lesson.argmax.name")], ["confidence", t("lesson.confidence")], ["label", t("lesson.label")]]);
    const chart = make("div");
    const raised = choice({ name: t("lesson.class"), options: classNames.map((name, k) => [k, name]), value: 0 }, draw);
    const by = slider({ name: t("lesson.argmax.raise"), min: 0, max: 40, step: 0.1, value: 0, show: (value) => `+ ${value.toFixed(1)}` }, draw);
    function draw() {
      const sample = lesson.samples[lesson.chosen];
      const probs = softmax(Array.from(model.logits(sample.pixels), (z, k) => z + (k === raised.value() ? by.value() : 0)));
      const best = argmax(probs);
      chart.replaceChildren(barChart(probs.map((p, k) => ({ name: `${k}: ${classNames[k]}`, value: p, text: p.toFixed(4), kind: k === best ? "b" : "" })), 1, t("lesson.probabilities")));
      found.set("position", String(best));
      found.set("name", classNames[best]);
      found.set("confidence", probs[best].toFixed(4));
      found.set("label", classNames[sample.label]);
    }
    stage.append(imageStrip(lesson, draw), make("p", {}, t("lesson.argmax.choose")), raised.element, by.element, chart, found.element);
    draw();
  },
};
