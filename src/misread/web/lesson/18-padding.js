// Padding: how many zeros, where they are, and how large the output becomes.

import { make } from "../components/elements.js";
import { convolve, positions } from "./formulas.js";
import { captioned, greyMap, greyValues, pixelCanvas } from "./picture.js";
import { choice, imageStrip, results, slider } from "./stage.js";

export const paddingPage = {
  id: "padding",
  needs: "images",
  formula: "valid: ⌊(n − k) / s⌋ + 1\nsame: ⌈n / s⌉",
  show(stage, lesson) {
    const { t, shape } = lesson;
    const [height, width] = shape;
    const found = results([["size", t("lesson.padding.size")], ["before", t("lesson.padding.before")], ["after", t("lesson.padding.after")], ["corner", t("lesson.padding.corner")]]);
    const shown = make("div", { class: "pictures" });
    const padding = choice({ name: t("lesson.padding.padding"), options: [["valid", "valid"], ["same", "same"]], value: "same" }, draw);
    const size = slider({ name: t("lesson.kernel-size"), min: 1, max: Math.min(9, height, width), step: 1, value: 5 }, draw);
    function draw() {
      const k = size.value();
      const [down, across] = [positions(height, k, 1, padding.value()), positions(width, k, 1, padding.value())];
      const grey = greyValues(lesson, lesson.samples[lesson.chosen]);
      const mean = convolve(grey, height, width, Array(k * k).fill(1 / (k * k)), { padding: padding.value() });
      const real = convolve(Array(height * width).fill(1), height, width, Array(k * k).fill(1), { padding: padding.value() });
      found.set("size", `${height} × ${width} → ${mean.height} × ${mean.width}`);
      found.set("before", String(across.before));
      found.set("after", String(across.after));
      found.set("corner", `${real.values[0]} / ${k * k}`);
      shown.replaceChildren(
        captioned(framed(grey, height, width, down, across, t("lesson.padding.padded")), t("lesson.padding.padded")),
        captioned(greyMap(mean.values, mean.height, mean.width, 1, t("lesson.padding.output")), t("lesson.padding.output")),
        captioned(greyMap(real.values, real.height, real.width, k * k, t("lesson.padding.real")), t("lesson.padding.real")),
      );
    }
    stage.append(imageStrip(lesson, draw), padding.element, size.element, shown, found.element);
    draw();
  },
};

/** The image with its zeros, which are blue. */
function framed(values, height, width, down, across, name) {
  const [tall, wide] = [height + down.before + down.after, width + across.before + across.after];
  const colour = (i) => {
    const [y, x] = [Math.floor(i / wide) - down.before, (i % wide) - across.before];
    return y < 0 || y >= height || x < 0 || x >= width ? [86, 180, 233] : Array(3).fill(255 * values[y * width + x]);
  };
  return pixelCanvas(tall, wide, colour, name);
}
