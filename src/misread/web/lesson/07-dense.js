// A dense layer: the products and the sum of one unit.

import { make } from "../components/elements.js";
import { denseTerms, firstDense } from "./dense_terms.js";
import { captioned, signedMap } from "./picture.js";
import { chosenPicture, imageStrip, results, slider } from "./stage.js";

export const densePage = {
  id: "dense",
  needs: "model",
  formula: "zⱼ = Σᵢ wⱼᵢ xᵢ + bⱼ",
  show(stage, lesson) {
    const { t, model, shape } = lesson;
    const dense = firstDense(model);
    const units = dense.outputShape.at(-1);
    const found = results([
      ["inputs", t("lesson.dense.inputs")],
      ["up", t("lesson.dense.up")],
      ["down", t("lesson.dense.down")],
      ["bias", t("lesson.dense.bias")],
      ["sum", t("lesson.dense.sum")],
    ]);
    const shown = make("div", { class: "pictures" });
    const unit = slider({ name: t("lesson.dense.unit", { n: units }), min: 1, max: units, step: 1, value: 1 }, draw);
    function draw() {
      const { terms, weights, bias } = denseTerms(model, dense, lesson.samples[lesson.chosen], unit.value() - 1);
      const sum = (keep) => terms.filter(keep).reduce((a, b) => a + b, 0);
      found.set("inputs", String(terms.length));
      found.set("up", sum((term) => term > 0).toFixed(4));
      found.set("down", sum((term) => term < 0).toFixed(4));
      found.set("bias", bias.toFixed(4));
      found.set("sum", (sum(() => true) + bias).toFixed(4));
      const [height, width] = terms.length === shape[0] * shape[1] ? shape : folded(terms.length);
      shown.replaceChildren(
        chosenPicture(lesson),
        captioned(signedMap(weights, height, width, t("lesson.weights")), t("lesson.weights")),
        captioned(signedMap(terms, height, width, t("lesson.dense.products")), t("lesson.dense.products")),
      );
    }
    stage.append(imageStrip(lesson, draw), unit.element, shown, found.element);
    draw();
  },
};

/** Height and width that hold n numbers exactly, as square as possible. */
function folded(n) {
  let height = Math.floor(Math.sqrt(n));
  while (n % height) height -= 1;
  return [height, n / height];
}
