// Normalising: what dividing the pixels does to the sums of a layer with random weights.

import { make } from "../components/elements.js";
import { chosenPicture, imageStrip, results, slider } from "./stage.js";

const UNITS = 1000;

export const normalisingPage = {
  id: "normalising",
  needs: "images",
  formula: "x = pixel / 255",
  show(stage, lesson) {
    const { t } = lesson;
    const found = results([
      ["largest", t("lesson.normalising.largest")],
      ["mean", t("lesson.normalising.mean")],
      ["sum", t("lesson.normalising.sum", { units: UNITS })],
    ]);
    const shown = make("div");
    const divisor = slider({ name: t("lesson.normalising.divisor"), min: 1, max: 255, step: 1, value: 255 }, draw);
    function draw() {
      const x = Array.from(lesson.samples[lesson.chosen].pixels, (pixel) => pixel / divisor.value());
      // weights by Glorot's uniform rule have the variance 2 / (inputs + units); so has their sum, times the squares of x
      const typical = Math.sqrt((2 / (x.length + UNITS)) * x.reduce((sum, value) => sum + value * value, 0));
      shown.replaceChildren(chosenPicture(lesson));
      found.set("largest", Math.max(...x).toFixed(3));
      found.set("mean", (x.reduce((a, b) => a + b, 0) / x.length).toFixed(3));
      found.set("sum", typical.toFixed(3));
    }
    stage.append(imageStrip(lesson, draw), make("div", { class: "columns" }, shown, make("div", {}, divisor.element, found.element)));
    draw();
  },
};
