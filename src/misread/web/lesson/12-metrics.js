// Metrics: what accuracy, precision, recall and F1 count, on the learner's predictions.

import { make, percent } from "../components/elements.js";
import { metricsOf } from "./formulas.js";
import { afterReading, choice, results } from "./stage.js";

export const metricsPage = {
  id: "metrics",
  needs: "model",
  show(stage, lesson) {
    const { t, classNames } = lesson;
    const found = results([
      ["n", t("lesson.metrics.n")],
      ["accuracy", t("lesson.accuracy")],
      ["labelled", t("lesson.metrics.labelled")],
      ["predicted", t("lesson.metrics.predicted")],
      ["both", t("lesson.metrics.both")],
      ["precision", t("lesson.metrics.precision")],
      ["recall", t("lesson.metrics.recall")],
      ["f1", "F1"],
    ]);
    return afterReading(stage, lesson, ({ labels, predictions }) => {
      const kind = choice({ name: t("lesson.class"), options: classNames.map((name, k) => [k, name]), value: 0 }, draw);
      function draw() {
        const all = metricsOf(labels, predictions, kind.value());
        found.set("n", String(labels.length));
        for (const key of ["labelled", "predicted", "both"]) found.set(key, String(all[key]));
        for (const key of ["accuracy", "precision", "recall", "f1"]) found.set(key, Number.isFinite(all[key]) ? percent(all[key], 2) : "–");
      }
      stage.replaceChildren(make("p", {}, t("lesson.metrics.choose")), kind.element, found.element);
      draw();
    });
  },
};
