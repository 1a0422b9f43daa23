// Epochs and batches: a single dense layer that learns the learner's images here, step by step.

import { make } from "../components/elements.js";
import { lineChart } from "./chart.js";
import { results, slider } from "./stage.js";
import { scaled } from "./source.js";
import { trainStep, zeros } from "./tiny_network.js";

const RATE = 0.1;

export const batchesPage = {
  id: "batches",
  needs: "images",
  formula: "steps = epochs × ⌈images / batch size⌉",
  show(stage, lesson) {
    const { t, run, classNames } = lesson;
    const images = lesson.samples.map(scaled);
    const inputs = images[0].x.length;
    const rows = [["steps", t("lesson.batches.steps", { n: images.length })], ["last", t("lesson.batches.last")], ["first-loss", t("lesson.batches.first-loss")], ["last-loss", t("lesson.batches.last-loss")]];
    if (run) rows.push(["run-steps", t("lesson.batches.run-steps", { n: run.data.n_train, epochs: run.recipe.epochs })]);
    const found = results(rows);
    const chart = make("div");
    const size = slider({ name: t("lesson.batches.size"), min: 1, max: images.length, step: 1, value: 20 }, later);
    const epochs = slider({ name: t("lesson.batches.epochs"), min: 1, max: 5, step: 1, value: 2 }, later);
    let frame = 0;
    function later() {
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(draw);
    }
    function draw() {
      const layer = zeros(inputs, classNames.length);
      const losses = [];
      for (let epoch = 0; epoch < epochs.value(); epoch++) {
        for (let from = 0; from < images.length; from += size.value()) losses.push(trainStep([layer], images.slice(from, from + size.value()), RATE));
      }
      found.set("steps", String(losses.length));
      found.set("last", String(images.length % size.value() || size.value()));
      found.set("first-loss", losses[0].toFixed(4));
      found.set("last-loss", losses.at(-1).toFixed(4));
      if (run) found.set("run-steps", String(run.recipe.epochs * Math.ceil(run.data.n_train / size.value())));
      chart.replaceChildren(
        lineChart({
          name: t("lesson.batches.chart"),
          x: { from: 1, to: Math.max(2, losses.length), name: t("lesson.batches.step") },
          y: { from: 0, to: Math.min(8, Math.max(...losses)), name: t("lesson.batches.loss") },
          lines: [{ points: losses.map((loss, i) => [i + 1, loss]), kind: "a" }],
          dots: losses.length < 40 ? losses.map((loss, i) => ({ x: i + 1, y: loss, kind: "a", r: 3 })) : [],
        }),
      );
    }
    stage.append(size.element, epochs.element, chart, found.element);
    draw();
    return () => cancelAnimationFrame(frame);
  },
};
