// Max-pooling: what a window keeps, and why a small movement changes less.

import { make, percent } from "../components/elements.js";
import { maxPool } from "./formulas.js";
import { captioned, greyMap, greyValues } from "./picture.js";
import { imageStrip, results, slider } from "./stage.js";

export const poolingPage = {
  id: "pooling",
  needs: "images",
  formula: "out[r, c] = max of the window at (r · k, c · k)",
  show(stage, lesson) {
    const { t, shape } = lesson;
    const [height, width] = shape;
    const found = results([
      ["size", t("lesson.padding.size")],
      ["sum", t("lesson.pooling.mean")],
      ["pixels", t("lesson.pooling.pixels")],
      ["pooled", t("lesson.pooling.pooled")],
    ]);
    const shown = make("div", { class: "pictures" });
    const size = slider({ name: t("lesson.pooling.window"), min: 1, max: 7, step: 1, value: 2 }, draw);
    const shift = slider({ name: t("lesson.pooling.shift"), min: 0, max: 6, step: 1, value: 1 }, draw);
    function draw() {
      const before = greyValues(lesson, lesson.samples[lesson.chosen]);
      const after = before.map((_, i) => ((i % width) < shift.value() ? 0 : before[i - shift.value()]));
      const [pooled, moved] = [before, after].map((values) => maxPool(values, height, width, size.value()));
      found.set("size", `${height} × ${width} → ${pooled.height} × ${pooled.width}`);
      found.set("sum", (pooled.values.reduce((a, b) => a + b, 0) / pooled.values.length).toFixed(4));
      found.set("pixels", change(before, after));
      found.set("pooled", change(pooled.values, moved.values));
      shown.replaceChildren(
        captioned(greyMap(before, height, width, 1, t("lesson.chosen-image")), t("lesson.chosen-image")),
        captioned(greyMap(pooled.values, pooled.height, pooled.width, 1, t("lesson.pooling.output")), t("lesson.pooling.output")),
        captioned(greyMap(moved.values, moved.height, moved.width, 1, t("lesson.pooling.moved")), t("lesson.pooling.moved")),
      );
    }
    stage.append(imageStrip(lesson, draw), size.element, shift.element, shown, found.element);
    draw();
  },
};

/** The sum of all changes as a share of the sum of all values. */
function change(before, after) {
  const sum = before.reduce((a, b) => a + b, 0);
  const changed = before.reduce((all, value, i) => all + Math.abs(value - after[i]), 0);
  return sum ? percent(changed / sum) : "–";
}
