// Gradient descent on the learner's own loss, along one weight.

import { make } from "../components/elements.js";
import { biasLoss, curveOf } from "./bias_loss.js";
import { lineChart } from "./chart.js";
import { descend, descent } from "./optimizers.js";
import { results, slider } from "./stage.js";

const [START, FROM, TO] = [8, -14, 14];

export const optimizersPage = {
  id: "optimizers",
  needs: "model",
  formula: "w ← w − η · slope",
  show(stage, lesson) {
    const { t, classNames } = lesson;
    const { loss, slope } = biasLoss(lesson, 0);
    const curve = curveOf(loss, FROM, TO);
    const highest = Math.max(...curve.map(([, y]) => y));
    const found = results([["weight", t("lesson.weight")], ["slope", t("lesson.slope")], ["loss", t("lesson.loss-name")], ["start", t("lesson.optimizers.start")]]);
    const chart = make("div");
    const rate = slider({ name: t("lesson.rate"), min: -1, max: 2, step: 0.05, value: 0, show: (value) => (10 ** value).toPrecision(3) }, draw);
    const steps = slider({ name: t("lesson.steps-taken"), min: 0, max: 60, step: 1, value: 5 }, draw);
    function draw() {
      const path = descend(descent({ rate: 10 ** rate.value() }), slope, START, steps.value());
      const { w } = path.at(-1);
      found.set("weight", w.toFixed(4));
      found.set("slope", slope(w).toFixed(4));
      found.set("loss", loss(w).toFixed(4));
      found.set("start", loss(START).toFixed(4));
      chart.replaceChildren(
        lineChart({
          name: t("lesson.optimizers.chart"),
          x: { from: FROM, to: TO, name: t("lesson.optimizers.axis", { name: classNames[0] }) },
          y: { from: 0, to: highest, name: t("lesson.loss-name") },
          lines: [{ points: curve, kind: "c", name: t("lesson.optimizers.curve") }, { points: path.map(({ w: x }) => [x, loss(x)]), kind: "a", name: t("lesson.optimizers.path") }],
          dots: path.map(({ w: x }, i) => ({ x, y: loss(x), kind: i === path.length - 1 ? "b" : "a", r: i === path.length - 1 ? 6 : 3 })),
        }),
      );
    }
    stage.append(rate.element, steps.element, chart, found.element);
    draw();
  },
};
