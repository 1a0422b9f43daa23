// Evaluation: the accuracy on test images, its interval, and the accuracy in training.

import { make, percent } from "../components/elements.js";
import { wilson } from "../components/wilson.js";
import { lineChart } from "./chart.js";
import { afterReading, results, slider } from "./stage.js";


export const evaluatePage = {
  id: "evaluate",
  needs: "model",
  formula: "accuracy = right / n",
  show(stage, lesson) {
    const { t, run } = lesson;
    return afterReading(stage, lesson, ready);

    function ready({ labels, predictions }) {
      const found = results([
        ["right", t("lesson.evaluate.right")],
        ["accuracy", t("lesson.evaluate.test")],
        ["interval", t("lesson.evaluate.interval")],
        ["training", t("lesson.evaluate.training")],
      ]);
      const chart = make("div");
      const counts = [0];
      labels.forEach((label, i) => counts.push(counts[i] + (label === predictions[i])));
      const trained = run.history?.at(-1)?.accuracy;
      const n = slider({ name: t("lesson.evaluate.n"), min: 1, max: labels.length, step: 1, value: labels.length }, draw);
      const places = Array.from({ length: 100 }, (_, i) => Math.max(1, Math.round(((i + 1) * labels.length) / 100)));
      const line = (end) => places.map((place) => [place, wilson(counts[place], place)[end]]);
      function draw() {
        const right = counts[n.value()];
        found.set("right", `${right} / ${n.value()}`);
        found.set("accuracy", percent(right / n.value(), 2));
        found.set("interval", wilson(right, n.value()).map((share) => percent(share, 2)).join(" – "));
        found.set("training", typeof trained === "number" ? percent(trained, 2) : "–");
        chart.replaceChildren(
          lineChart({
            name: t("lesson.evaluate.chart"),
            x: { from: 0, to: labels.length, name: t("lesson.evaluate.n") },
            y: { from: Math.min(0.9, wilson(counts[places[4]], places[4])[0]), to: 1, name: "" },
            lines: [
              { points: places.map((place) => [place, counts[place] / place]), kind: "a", name: t("lesson.evaluate.test") },
              { points: line(0), kind: "c", name: t("lesson.evaluate.interval") },
              { points: line(1), kind: "c" },
              ...(typeof trained === "number" ? [{ points: [[0, trained], [labels.length, trained]], kind: "b", name: t("lesson.evaluate.training") }] : []),
            ],
            upright: n.value(),
          }),
        );
      }
      stage.replaceChildren(n.element, chart, found.element);
      draw();
    }
  },
};
