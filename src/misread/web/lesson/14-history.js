// The history of the learner's training: two losses, and the gap between them.

import { make, percent } from "../components/elements.js";
import { lineChart } from "./chart.js";
import { results, slider } from "./stage.js";

export const historyPage = {
  id: "history",
  needs: "run",
  show(stage, { t, run }) {
    const history = run.history ?? [];
    if (!history.length) return stage.append(make("p", { class: "note" }, t("lesson.history.none")));
    const has = (name) => history.some((row) => typeof row[name] === "number");
    const validated = has("val_loss");
    const found = results([
      ["loss", t("lesson.history.loss")],
      ["val_loss", t("lesson.history.val-loss")],
      ["accuracy", t("lesson.history.accuracy")],
      ["val_accuracy", t("lesson.history.val-accuracy")],
      ["best", t("lesson.history.best")],
    ]);
    const chart = make("div");
    const reading = make("p", { role: "status" });
    const epoch = slider({ name: t("lesson.epoch"), min: 1, max: history.length, step: 1, value: history.length }, draw);
    const best = validated ? history.reduce((a, b) => ((b.val_loss ?? Infinity) < (a.val_loss ?? Infinity) ? b : a)) : null;
    function draw() {
      const row = history[epoch.value() - 1];
      for (const [key, isShare] of [["loss", false], ["val_loss", false], ["accuracy", true], ["val_accuracy", true]]) {
        found.set(key, typeof row[key] !== "number" ? "–" : isShare ? percent(row[key], 2) : row[key].toFixed(4));
      }
      found.set("best", best ? String(best.epoch) : "–");
      reading.textContent = best ? verdict(t, history, row, best) : t("lesson.history.no-validation");
      const largest = Math.max(...history.flatMap((one) => [one.loss ?? 0, one.val_loss ?? 0]));
      const line = (name, kind, text) => ({ points: history.map((one) => [one.epoch, one[name] ?? NaN]), kind, name: text });
      chart.replaceChildren(
        lineChart({
          name: t("lesson.history.chart"),
          x: { from: 1, to: Math.max(2, history.length), name: t("lesson.epoch"), whole: true },
          y: { from: 0, to: largest, name: "" },
          lines: [line("loss", "a", t("lesson.history.loss")), ...(validated ? [line("val_loss", "b", t("lesson.history.val-loss"))] : [])],
          dots: ["loss", "val_loss"].flatMap((name, i) => (typeof row[name] === "number" ? [{ x: row.epoch, y: row[name], kind: "ab"[i], r: 5 }] : [])),
          upright: row.epoch,
        }),
      );
    }
    stage.append(epoch.element, chart, reading, found.element);
    draw();
  },
};

function verdict(t, history, row, best) {
  if (row.epoch > best.epoch) return t("lesson.history.rising", { epoch: best.epoch });
  if (row.val_loss > 1.2 * row.loss) return t("lesson.history.gap");
  return t("lesson.history.falling");
}
