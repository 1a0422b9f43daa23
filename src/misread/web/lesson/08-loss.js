// Cross-entropy: the loss of one image, for each label that it could have.

import { make } from "../components/elements.js";
import { lineChart } from "./chart.js";
import { crossEntropy, softmax } from "./formulas.js";
import { choice, imageStrip, results } from "./stage.js";

const curve = Array.from({ length: 200 }, (_, i) => (i + 1) / 200);

export const lossPage = {
  id: "loss",
  needs: "model",
  formula: "loss = −log p(label) = log Σⱼ exp(zⱼ) − z(label)",
  show(stage, lesson) {
    const { t, model, classNames } = lesson;
    const found = results([
      ["probability", t("lesson.loss.probability")],
      ["loss", t("lesson.loss-name")],
      ["slope", t("lesson.loss.slope")],
      ["guess", t("lesson.loss.guess", { n: classNames.length })],
    ]);
    const chart = make("div");
    const label = choice({ name: t("lesson.label"), options: classNames.map((name, k) => [k, name]), value: lesson.samples[lesson.chosen].label }, draw);
    function draw() {
      const logits = model.logits(lesson.samples[lesson.chosen].pixels);
      const p = softmax(logits)[label.value()];
      const loss = crossEntropy(logits, label.value());
      found.set("probability", p.toPrecision(4));
      found.set("loss", loss.toFixed(4));
      found.set("slope", (p - 1).toFixed(4));
      found.set("guess", Math.log(classNames.length).toFixed(4));
      chart.replaceChildren(
        lineChart({
          name: t("lesson.loss.chart"),
          x: { from: 0, to: 1, name: t("lesson.loss.probability") },
          y: { from: 0, to: 6, name: t("lesson.loss-name") },
          lines: [{ points: curve.map((x) => [x, -Math.log(x)]), kind: "a" }],
          dots: [{ x: p, y: loss, kind: "b", r: 6 }],
        }),
      );
    }
    const strip = imageStrip(lesson, (sample) => {
      label.set(sample.label);
      draw();
    });
    stage.append(strip, make("p", {}, t("lesson.loss.choose")), label.element, chart, found.element);
    draw();
  },
};
