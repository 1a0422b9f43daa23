// Flatten: a pixel's place in the image and in the row of numbers.

import { make } from "../components/elements.js";
import { captioned, picture } from "./picture.js";
import { imageStrip, results, slider } from "./stage.js";

export const flattenPage = {
  id: "flatten",
  needs: "images",
  formula: "place = (row × width + column) × channels + channel",
  show(stage, lesson) {
    const { t, shape } = lesson;
    const [height, width, channels] = shape;
    const found = results([
      ["shape", t("lesson.flatten.shape")],
      ["place", t("lesson.flatten.place")],
      ["value", t("lesson.flatten.value")],
      ["below", t("lesson.flatten.below")],
    ]);
    const shown = make("div");
    const strip = make("div", { class: "cells" });
    const row = slider({ name: t("lesson.row"), min: 0, max: height - 1, step: 1, value: Math.floor(height / 2) }, draw);
    const column = slider({ name: t("lesson.column"), min: 0, max: width - 1, step: 1, value: Math.floor(width / 2) }, draw);
    function draw() {
      const sample = lesson.samples[lesson.chosen];
      const place = (row.value() * width + column.value()) * channels;
      const below = row.value() + 1 < height ? place + width * channels : null;
      const canvas = picture(lesson, sample, t("lesson.chosen-image"));
      canvas.classList.add("big");
      outline(canvas, row.value(), column.value());
      canvas.addEventListener("click", (event) => {
        const box = canvas.getBoundingClientRect();
        column.set(Math.min(width - 1, Math.floor(((event.clientX - box.left) / box.width) * width)));
        row.set(Math.min(height - 1, Math.floor(((event.clientY - box.top) / box.height) * height)));
        draw();
      });
      shown.replaceChildren(captioned(canvas, t("lesson.flatten.click")));
      found.set("shape", `${shape.join(" × ")} → ${sample.pixels.length}`);
      found.set("place", String(place));
      found.set("value", String(sample.pixels[place]));
      found.set("below", below === null ? "–" : String(below));
      const around = Array.from({ length: 9 }, (_, i) => place + (i - 4)).filter((at) => at >= 0 && at < sample.pixels.length);
      strip.replaceChildren(...around.map((at) => make("span", { class: at === place ? "on" : "" }, `${at}: ${sample.pixels[at]}`)));
    }
    stage.append(imageStrip(lesson, draw), make("div", { class: "columns" }, shown, make("div", {}, row.element, column.element, found.element)), strip);
    draw();
  },
};

function outline(canvas, row, column) {
  const context = canvas.getContext("2d");
  context.fillStyle = "#e69f00";
  context.fillRect(column, row, 1, 1);
}
