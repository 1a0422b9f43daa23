// What the network learned: the images that excite a unit most, among the learner's.

import { make } from "../components/elements.js";
import { peaks } from "../network/unit_survey.js";
import { captioned, picture } from "./picture.js";
import { choice, results, slider } from "./stage.js";

const SHOWN = 8;

export const featuresPage = {
  id: "features",
  needs: "model",
  show(stage, lesson) {
    const { t, model, classNames } = lesson;
    const samples = lesson.samples.slice(0, 100);
    const responses = new Map(); // by layer: the unit's strongest value in each image
    const traced = model.trace(samples[0].pixels);
    const layers = traced.map(({ layer }, i) => [i, `${i + 1}. ${layer.type}`]).filter(([i]) => /Conv2D|Dense|Whitening|Activation/.test(traced[i].layer.type));
    const found = results([["active", t("lesson.features.active", { n: samples.length })], ["largest", t("lesson.features.largest")], ["dead", t("lesson.features.dead")]]);
    const shown = make("div", { class: "pictures" });
    const layer = choice({ name: t("lesson.layer"), options: layers, value: layers[0][0] }, () => draw(true));
    let unit = null;
    const place = make("div");

    function draw(otherLayer) {
      const table = unitResponses(layer.value());
      const units = table[0].length;
      if (otherLayer) {
        unit = slider({ name: t("lesson.dense.unit", { n: units }), min: 1, max: units, step: 1, value: 1 }, () => draw(false));
        place.replaceChildren(unit.element);
      }
      const values = table.map((row) => row[unit.value() - 1]);
      const order = values.map((_, i) => i).sort((a, b) => values[b] - values[a]);
      found.set("active", String(values.filter((value) => value > 0).length));
      found.set("largest", values[order[0]].toFixed(4));
      found.set("dead", `${Array.from({ length: units }, (_, j) => table.every((row) => row[j] <= 0)).filter(Boolean).length} / ${units}`);
      shown.replaceChildren(...order.slice(0, SHOWN).map((i) => captioned(picture(lesson, samples[i], t("lesson.image", { row: samples[i].row, label: classNames[samples[i].label] })), values[i].toFixed(2))));
    }
    function unitResponses(at) {
      if (!responses.has(at)) responses.set(at, samples.map(({ pixels }) => peaks(model.trace(pixels)[at])));
      return responses.get(at);
    }
    stage.append(layer.element, place, shown, found.element);
    draw(true);
  },
};
