// The layers of the learner's network: what each makes of an image.

import { make } from "../components/elements.js";
import { captioned, greyMap } from "./picture.js";
import { choice, chosenPicture, imageStrip, results } from "./stage.js";

const LEARNED = ["kernel", "bias", "gamma", "beta"];

export const layersPage = {
  id: "layers",
  needs: "model",
  show(stage, lesson) {
    const { t, model } = lesson;
    const layers = model.trace(lesson.samples[0].pixels).map(({ layer }) => layer);
    const found = results([
      ["shape", t("lesson.output-shape")],
      ["numbers", t("lesson.output-size")],
      ["parameters", t("lesson.parameters")],
      ["active", t("lesson.layers.active")],
    ]);
    const shown = make("div", { class: "pictures" });
    const names = layers.map((layer, i) => [i, `${i + 1}. ${layer.type}`]);
    const chosen = choice({ name: t("lesson.layer"), options: names, value: 0 }, draw);
    function draw() {
      const { shape, values } = model.trace(lesson.samples[lesson.chosen].pixels)[chosen.value()];
      const { weights } = layers[chosen.value()];
      found.set("shape", shape.join(" × "));
      found.set("numbers", String(values.length));
      found.set("parameters", String(LEARNED.reduce((sum, name) => sum + (weights[name]?.length ?? 0), 0)));
      found.set("active", String(values.filter((value) => value > 0).length));
      shown.replaceChildren(
        chosenPicture(lesson),
        captioned(outputPicture(shape, values, t("lesson.layers.output")), t("lesson.layers.output")),
      );
    }
    stage.append(imageStrip(lesson, draw), chosen.element, make("div", { class: "columns" }, shown, found.element));
    draw();
  },
};

/** One picture of a layer's output: the first feature maps side by side, or all numbers in rows. */
function outputPicture(shape, values, name) {
  const largest = values.reduce((a, b) => Math.max(a, b), 1e-12);
  if (shape.length === 3) {
    const [height, width, channels] = shape;
    const across = Math.min(4, channels);
    const down = Math.min(4, Math.ceil(channels / across));
    const at = (row, column) => {
      const channel = Math.floor(row / height) * across + Math.floor(column / width);
      return channel < channels ? values[((row % height) * width + (column % width)) * channels + channel] : 0;
    };
    const tiled = Float64Array.from({ length: down * height * across * width }, (_, i) => at(Math.floor(i / (across * width)), i % (across * width)));
    return greyMap(tiled, down * height, across * width, largest, name);
  }
  const width = Math.min(values.length, Math.ceil(Math.sqrt(values.length)));
  const height = Math.ceil(values.length / width);
  const filled = Float64Array.from({ length: width * height }, (_, i) => values[i] ?? 0);
  return greyMap(filled, height, width, largest, name);
}
