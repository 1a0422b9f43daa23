// Convolution: a kernel that the reader edits, on an image of the learner's.

import { make } from "../components/elements.js";
import { convolve } from "./formulas.js";
import { captioned, greyMap, greyValues, picture, signedMap } from "./picture.js";
import { choice, imageStrip, results, slider } from "./stage.js";

const KERNELS = {
  horizontal: [1, 1, 1, 0, 0, 0, -1, -1, -1],
  vertical: [1, 0, -1, 1, 0, -1, 1, 0, -1],
  blur: Array(9).fill(0.111),
  sharpen: [0, -1, 0, -1, 5, -1, 0, -1, 0],
};

export const convolutionPage = {
  id: "convolution",
  needs: "images",
  formula: "out[r, c] = Σᵢ Σⱼ in[r + i, c + j] · kernel[i, j] + b",
  show(stage, lesson) {
    const { t, shape } = lesson;
    const [height, width] = shape;
    const found = results([["window", t("lesson.convolution.window")], ["products", t("lesson.convolution.products")], ["sum", t("lesson.convolution.sum")]]);
    const shown = make("div", { class: "pictures" });
    const fields = Array.from({ length: 9 }, (_, i) => make("input", { type: "number", step: 0.1, "aria-label": t("lesson.convolution.weight", { row: Math.floor(i / 3), column: i % 3 }) }));
    const options = [["horizontal", t("lesson.convolution.horizontal")], ["vertical", t("lesson.convolution.vertical")], ["blur", t("lesson.convolution.blur")], ["sharpen", t("lesson.convolution.sharpen")]];
    const preset = choice({ name: t("lesson.convolution.kernel"), options, value: "horizontal" }, (name) => fill(KERNELS[name]));
    const row = slider({ name: t("lesson.row"), min: 0, max: height - 3, step: 1, value: Math.floor(height / 3) }, draw);
    const column = slider({ name: t("lesson.column"), min: 0, max: width - 3, step: 1, value: Math.floor(width / 2) }, draw);
    for (const field of fields) {
      field.addEventListener("input", () => {
        preset.set(null);
        draw();
      });
    }
    function fill(kernel) {
      fields.forEach((field, i) => {
        field.value = kernel[i];
      });
      draw();
    }
    function draw() {
      const sample = lesson.samples[lesson.chosen];
      const kernel = fields.map((field) => Number(field.value) || 0);
      const values = greyValues(lesson, sample);
      const map = convolve(values, height, width, kernel);
      const window = Array.from({ length: 9 }, (_, i) => values[(row.value() + Math.floor(i / 3)) * width + column.value() + (i % 3)]);
      const original = picture(lesson, sample, t("lesson.chosen-image"));
      const context = original.getContext("2d");
      context.fillStyle = "rgb(230 159 0 / 0.6)";
      context.fillRect(column.value(), row.value(), 3, 3);
      shown.replaceChildren(
        captioned(original, t("lesson.convolution.image")),
        captioned(signedMap(map.values, map.height, map.width, t("lesson.feature-map")), t("lesson.feature-map")),
        captioned(greyMap(map.values, map.height, map.width, Math.max(...map.values, 0), t("lesson.convolution.relu")), t("lesson.convolution.relu")),
      );
      found.set("window", window.map((x) => x.toFixed(2)).join("  "));
      found.set("products", window.map((x, i) => (x * kernel[i]).toFixed(2)).join("  "));
      found.set("sum", map.values[row.value() * map.width + column.value()].toFixed(4));
    }
    const kernel = make("div", { class: "kernel", role: "group", "aria-label": t("lesson.convolution.kernel") }, ...fields);
    stage.append(imageStrip(lesson, draw), preset.element, make("div", { class: "columns" }, kernel, make("div", {}, row.element, column.element)), shown, found.element);
    fill(KERNELS.horizontal);
  },
};
