// Adam on one weight of the learner's: both moments live, beside gradient descent and momentum.

import { make } from "../components/elements.js";
import { biasLoss } from "./bias_loss.js";
import { lineChart } from "./chart.js";
import { numberTable } from "./number_table.js";
import { adam, descend, descent, momentum } from "./optimizers.js";
import { slider, results } from "./stage.js";

const [START, STEPS] = [8, 60];

export const adamPage = {
  id: "adam",
  needs: "model",
  formula: "m ← β₁ m + (1 − β₁) g\nv ← β₂ v + (1 − β₂) g²\nw ← w − η · m̂ / (√v̂ + ε)",
  show(stage, lesson) {
    const { t } = lesson;
    const { loss, slope } = biasLoss(lesson, 0);
    const power = (value) => (10 ** value).toPrecision(3);
    const controls = {
      rate: slider({ name: t("lesson.rate"), min: -3, max: 1, step: 0.05, value: -0.3, show: power }, draw),
      beta1: slider({ name: "β₁", min: 0, max: 0.99, step: 0.01, value: 0.9, show: (value) => value.toFixed(2) }, draw),
      beta2: slider({ name: "β₂", min: 0.5, max: 0.999, step: 0.001, value: 0.999, show: (value) => value.toFixed(3) }, draw),
      epsilon: slider({ name: "ε", min: -8, max: 0, step: 1, value: -7, show: power }, draw),
      step: slider({ name: t("lesson.adam.step"), min: 1, max: STEPS, step: 1, value: 10 }, draw),
    };
    const found = results([
      ["g", t("lesson.adam.g")],
      ["m", t("lesson.adam.m")],
      ["v", t("lesson.adam.v")],
      ["mHat", t("lesson.adam.m-hat")],
      ["vHat", t("lesson.adam.v-hat")],
      ["w", t("lesson.adam.w")],
    ]);
    const [weights, losses, table] = [make("div"), make("div"), make("div", { class: "scroll" })];
    function draw() {
      const rate = 10 ** controls.rate.value();
      const settings = { rate, beta1: controls.beta1.value(), beta2: controls.beta2.value(), epsilon: 10 ** controls.epsilon.value() };
      const step = controls.step.value();
      const paths = [
        { name: "Adam", kind: "a", path: descend(adam(settings), slope, START, STEPS) },
        { name: t("lesson.adam.momentum"), kind: "b", path: descend(momentum({ rate }), slope, START, STEPS) },
        { name: t("lesson.adam.descent"), kind: "c", path: descend(descent({ rate }), slope, START, STEPS) },
      ];
      const now = paths[0].path[step];
      for (const key of ["g", "m", "v", "mHat", "vHat", "w"]) found.set(key, now[key].toPrecision(5));
      weights.replaceChildren(chartOf(t("lesson.adam.weight-chart"), t("lesson.weight"), ({ w }) => w));
      losses.replaceChildren(chartOf(t("lesson.adam.loss-chart"), t("lesson.loss-name"), ({ w }) => loss(w)));
      const rows = paths.map(({ name, path }) => [name, path[step].w.toFixed(4), loss(path[step].w).toFixed(4)]);
      table.replaceChildren(numberTable([t("lesson.adam.after", { n: step }), t("lesson.weight"), t("lesson.loss-name")], rows));

      function chartOf(title, name, value) {
        const all = paths.flatMap(({ path }) => path.map(value)).filter((y) => Math.abs(y) < 30);
        const lines = paths.map((one) => ({ name: one.name, kind: one.kind, points: one.path.map((point, i) => [i, value(point)]) }));
        return lineChart({ name: title, x: { from: 0, to: STEPS, name: t("lesson.adam.step") }, y: { from: Math.min(0, ...all), to: Math.max(...all), name }, lines, upright: step });
      }
    }
    const { rate, beta1, beta2, epsilon, step } = controls;
    stage.append(
      make("div", { class: "columns" }, ...[step, rate, beta1, beta2, epsilon].map(({ element }) => element)),
      make("div", { class: "columns" }, weights, losses),
      table,
      found.element,
    );
    draw();
  },
};
