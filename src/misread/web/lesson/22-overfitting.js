// Overfitting: a small network learns a few of the learner's images here; then dropout or more images mend it.

import { make, percent } from "../components/elements.js";
import { randomNumbers } from "../network/random_weights.js";
import { lineChart } from "./chart.js";
import { action, results, slider } from "./stage.js";
import { scaled } from "./source.js";
import { glorot, measure, trainStep } from "./tiny_network.js";

const [UNITS, EPOCHS, BATCH, RATE, HELD_OUT] = [24, 60, 10, 0.1, 60];

export const overfittingPage = {
  id: "overfitting",
  needs: "images",
  show(stage, lesson) {
    const { t, classNames } = lesson;
    const images = lesson.samples.map(scaled);
    const heldOut = images.slice(-Math.min(HELD_OUT, Math.floor(images.length / 2)));
    const rest = images.slice(0, images.length - heldOut.length);
    const found = results([
      ["loss", t("lesson.overfitting.loss")],
      ["val_loss", t("lesson.overfitting.val-loss")],
      ["accuracy", t("lesson.overfitting.accuracy")],
      ["val_accuracy", t("lesson.overfitting.val-accuracy")],
      ["best", t("lesson.history.best")],
    ]);
    const chart = make("div");
    const state = make("p", { role: "status" });
    const n = slider({ name: t("lesson.overfitting.n"), min: 5, max: rest.length, step: 1, value: Math.min(10, rest.length) }, start);
    const dropout = slider({ name: t("lesson.dropout.rate"), min: 0, max: 0.8, step: 0.1, value: 0, show: (value) => value.toFixed(1) }, start);
    let timer = 0;

    function start() {
      clearTimeout(timer);
      const random = randomNumbers(1);
      const layers = [glorot(images[0].x.length, UNITS, random), glorot(UNITS, classNames.length, random)];
      const rate = dropout.value();
      const keep = rate ? () => (random() >= rate ? 1 / (1 - rate) : 0) : null;
      const [history, train] = [[], rest.slice(0, n.value())];
      state.textContent = t("lesson.overfitting.running");
      function epoch() {
        for (let from = 0; from < train.length; from += BATCH) trainStep(layers, train.slice(from, from + BATCH), RATE, keep);
        history.push({ train: measure(layers, train), val: measure(layers, heldOut) });
        if (history.length % 5 === 0) draw(history);
        if (history.length < EPOCHS) timer = setTimeout(epoch);
        else state.textContent = t("lesson.overfitting.done");
      }
      timer = setTimeout(epoch);
    }
    function draw(history) {
      const { train, val } = history.at(-1);
      found.set("loss", train.loss.toFixed(4));
      found.set("val_loss", val.loss.toFixed(4));
      found.set("accuracy", percent(train.accuracy));
      found.set("val_accuracy", percent(val.accuracy));
      const losses = history.map((row) => row.val.loss);
      found.set("best", String(losses.indexOf(Math.min(...losses)) + 1));
      const line = (part, kind, name) => ({ kind, name, points: history.map((row, i) => [i + 1, row[part].loss]) });
      chart.replaceChildren(
        lineChart({
          name: t("lesson.overfitting.chart"),
          x: { from: 1, to: EPOCHS, name: t("lesson.epoch") },
          y: { from: 0, to: Math.max(...history.flatMap((row) => [row.train.loss, row.val.loss])), name: "" },
          lines: [line("train", "a", t("lesson.overfitting.loss")), line("val", "b", t("lesson.overfitting.val-loss"))],
        }),
      );
    }
    stage.append(n.element, dropout.element, action(t("lesson.overfitting.again"), start), state, chart, found.element);
    start();
    return () => clearTimeout(timer);
  },
};
