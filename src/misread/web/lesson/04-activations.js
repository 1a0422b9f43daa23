// Activation functions on one unit of the learner's network, and a unit that dies.

import { make } from "../components/elements.js";
import { ACTIVATIONS } from "../network/activations.js";
import { lineChart } from "./chart.js";
import { choice, results, slider } from "./stage.js";
import { unitSums } from "./unit_sums.js";

export const activationsPage = {
  id: "activations",
  needs: "model",
  formula: "relu(z) = max(0, z)",
  show(stage, lesson) {
    const { t } = lesson;
    const { sums, unit } = unitSums(lesson);
    const end = Math.ceil(Math.max(...sums.map(Math.abs)) * 1.1) || 1;
    const found = results([
      ["taught", t("lesson.activations.taught", { n: sums.length })],
      ["slope", t("lesson.activations.slope")],
      ["state", t("lesson.activations.state", { unit: unit + 1 })],
    ]);
    const chart = make("div");
    const names = [["relu", "ReLU"], ["leaky_relu", "leaky ReLU"], ["tanh", "tanh"], ["sigmoid", "sigmoid"]];
    const kind = choice({ name: t("lesson.activations.function"), options: names, value: "relu" }, draw);
    const shift = slider({ name: t("lesson.activations.shift"), min: -2 * end, max: 0, step: end / 50, value: 0, show: (value) => value.toFixed(2) }, draw);
    function draw() {
      const [value, slope] = ACTIVATIONS[kind.value()];
      const z = sums.map((sum) => sum + shift.value());
      const slopes = z.map(slope);
      found.set("taught", String(slopes.filter((one) => one > 0).length));
      found.set("slope", (slopes.reduce((a, b) => a + b, 0) / slopes.length).toFixed(4));
      found.set("state", slopes.every((one) => one === 0) ? t("lesson.activations.dead") : t("lesson.activations.alive"));
      const points = Array.from({ length: 121 }, (_, i) => (i / 60 - 1) * end * 1.5);
      const heights = [...points.map(value), 0, 1];
      chart.replaceChildren(
        lineChart({
          name: t("lesson.activations.chart"),
          x: { from: -1.5 * end, to: 1.5 * end, name: "z" },
          y: { from: Math.min(...heights), to: Math.max(...heights), name: "" },
          lines: [{ points: points.map((x) => [x, value(x)]), kind: "a", name: names.find(([name]) => name === kind.value())[1] }],
          dots: z.map((x) => ({ x, y: value(x), kind: "b" })),
        }),
      );
    }
    stage.append(kind.element, shift.element, chart, found.element);
    draw();
  },
};
