// Stride: the distance between positions of the window.

import { make } from "../components/elements.js";
import { convolve } from "./formulas.js";
import { captioned, greyValues, signedMap } from "./picture.js";
import { choice, chosenPicture, imageStrip, results, slider } from "./stage.js";

const EDGES = [1, 1, 1, 0, 0, 0, -1, -1, -1];

export const stridePage = {
  id: "stride",
  needs: "images",
  formula: "valid: ⌊(n − k) / s⌋ + 1\nsame: ⌈n / s⌉",
  show(stage, lesson) {
    const { t, shape } = lesson;
    const [height, width] = shape;
    const found = results([["size", t("lesson.padding.size")], ["sums", t("lesson.stride.sums")], ["first", t("lesson.stride.middle")]]);
    const shown = make("div", { class: "pictures" });
    const stride = slider({ name: t("lesson.stride.stride"), min: 1, max: 6, step: 1, value: 2 }, draw);
    const padding = choice({ name: t("lesson.padding.padding"), options: [["valid", "valid"], ["same", "same"]], value: "valid" }, draw);
    function draw() {
      const map = convolve(greyValues(lesson, lesson.samples[lesson.chosen]), height, width, EDGES, { stride: stride.value(), padding: padding.value() });
      const middle = Math.floor(map.height / 2) * map.width + Math.floor(map.width / 2);
      found.set("size", `${height} × ${width} → ${map.height} × ${map.width}`);
      found.set("sums", String(map.height * map.width));
      found.set("first", map.values[middle].toFixed(4));
      shown.replaceChildren(
        chosenPicture(lesson),
        captioned(signedMap(map.values, map.height, map.width, t("lesson.feature-map")), t("lesson.feature-map")),
      );
    }
    stage.append(imageStrip(lesson, draw), stride.element, padding.element, shown, found.element);
    draw();
  },
};
