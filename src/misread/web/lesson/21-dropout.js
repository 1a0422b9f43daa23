// Dropout: a mask on a layer of the learner's network, and what the rest of it then answers.

import { make } from "../components/elements.js";
import { argmax } from "../network/argmax.js";
import { randomNumbers } from "../network/random_weights.js";
import { barChart } from "./chart.js";
import { softmax } from "./formulas.js";
import { captioned, pixelCanvas } from "./picture.js";
import { action, imageStrip, results, slider } from "./stage.js";

export const dropoutPage = {
  id: "dropout",
  needs: "model",
  formula: "in training: out = x · mask / (1 − rate)",
  show(stage, lesson) {
    const { t, model, classNames } = lesson;
    const found = results([
      ["dropped", t("lesson.dropout.dropped")],
      ["before", t("lesson.dropout.before")],
      ["after", t("lesson.dropout.after")],
      ["answer", t("lesson.dropout.answer")],
    ]);
    const shown = make("div", { class: "columns" });
    const rate = slider({ name: t("lesson.dropout.rate"), min: 0, max: 0.95, step: 0.05, value: 0.25, show: (value) => value.toFixed(2) }, draw);
    let seed = 1;
    function draw() {
      const trace = model.trace(lesson.samples[lesson.chosen].pixels);
      const at = droppedLayer(trace);
      const { layer, values } = trace[at];
      const random = randomNumbers(seed);
      const mask = Uint8Array.from(values, () => random() >= rate.value());
      const dropped = values.map((value, i) => (value * mask[i]) / (1 - rate.value()));
      const probs = softmax(model.logitsOf(model.traceFrom(layer.index, dropped)));
      const mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;
      const best = argmax(probs);
      found.set("dropped", `${mask.filter((kept) => !kept).length} / ${mask.length}`);
      found.set("before", mean(values).toFixed(4));
      found.set("after", mean(dropped).toFixed(4));
      found.set("answer", `${classNames[best]} (${probs[best].toFixed(4)})`);
      const side = Math.ceil(Math.sqrt(mask.length));
      const colour = (i) => (i >= mask.length ? [128, 128, 128] : mask[i] ? [86, 180, 233] : [20, 20, 20]);
      const canvas = pixelCanvas(Math.ceil(mask.length / side), side, colour, t("lesson.dropout.mask"));
      canvas.dataset.mask = mask.join("");
      const rows = probs.map((p, k) => ({ name: classNames[k], value: p, text: p.toFixed(4), kind: k === best ? "b" : "" }));
      shown.replaceChildren(captioned(canvas, t("lesson.dropout.mask")), barChart(rows, 1, t("lesson.probabilities")));
    }
    const again = action(t("lesson.dropout.again"), () => {
      seed += 1;
      draw();
    });
    stage.append(imageStrip(lesson, draw), rate.element, again, shown, found.element);
    draw();
  },
};

/** The place in the trace whose output is dropped: before the recipe's Dropout layer, or else the last hidden layer. */
function droppedLayer(trace) {
  const dropout = trace.findIndex(({ layer }) => layer.type === "Dropout");
  if (dropout > 0) return dropout - 1;
  const last = trace.findLastIndex(({ layer }) => layer.type === "Dense");
  return Math.max(0, last - 1);
}
