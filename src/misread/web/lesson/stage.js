// What the pages' stages are built from: a slider, a choice, results with names, a strip of images to choose from, and
// a text while the test images are read.

import { make } from "../components/elements.js";
import { captioned, picture } from "./picture.js";
import { readingsOf } from "./source.js";

let count = 0; // for ids that join a label to its control

/** A slider with its name and value. show: turns the value into text. Returns { element, value() , set(value) }. */
export function slider({ name, min, max, step, value, show = String }, onChange) {
  const id = `lesson-control-${++count}`;
  const input = make("input", { type: "range", id, min, max, step, value });
  const output = make("output", { for: id }, show(value));
  input.addEventListener("input", () => {
    output.textContent = show(Number(input.value));
    onChange(Number(input.value));
  });
  const set = (next) => {
    input.value = next;
    output.textContent = show(Number(input.value));
  };
  const element = make("div", { class: "slider" }, make("label", { for: id }, name), output, input);
  return { element, value: () => Number(input.value), set };
}

/** Buttons of which one is chosen. options: [[value, text]]. Returns { element, value(), set(value) }. */
export function choice({ name, options, value }, onChange) {
  const buttons = options.map(([option, text]) => {
    const button = make("button", { type: "button", "data-value": option, "aria-pressed": String(option === value) }, text);
    button.addEventListener("click", () => {
      set(option);
      onChange(option);
    });
    return button;
  });
  function set(next) {
    value = next;
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(options[i][0] === next)));
  }
  const element = make("div", { class: "choice", role: "group", "aria-label": name }, ...buttons);
  return { element, value: () => value, set };
}

export function action(text, onClick) {
  const button = make("button", { type: "button" }, text);
  button.addEventListener("click", onClick);
  return button;
}

/** Numbers with names, read out when they change. rows: [[key, name]]. set(key, text) shows one. */
export function results(rows) {
  const outputs = new Map(rows.map(([key]) => [key, make("output", { "data-result": key }, "")]));
  const lines = rows.map(([key, name]) => make("div", {}, make("dt", {}, name), make("dd", {}, outputs.get(key))));
  return {
    element: make("dl", { class: "results" }, ...lines),
    set: (key, text) => {
      outputs.get(key).textContent = text;
    },
  };
}

/** A strip of the learner's images; the chosen one is the same on all pages. */
export function imageStrip(lesson, onChange, shown = 10) {
  const { t } = lesson;
  const strip = make("div", { class: "strip", role: "group", "aria-label": t("lesson.images") });
  let from = Math.floor(lesson.chosen / shown) * shown;
  function draw() {
    const buttons = lesson.samples.slice(from, from + shown).map((sample, i) => {
      const chosen = from + i === lesson.chosen;
      const name = t("lesson.image", { row: sample.row, label: lesson.classNames[sample.label] });
      const button = make("button", { type: "button", class: "pick", "aria-pressed": String(chosen), "aria-label": name, title: name }, picture(lesson, sample));
      button.addEventListener("click", () => {
        lesson.chosen = from + i;
        for (const other of strip.querySelectorAll(".pick")) other.setAttribute("aria-pressed", String(other === button));
        onChange(sample);
      });
      return button;
    });
    const more = action(t("lesson.other-images"), () => {
      from = from + shown < lesson.samples.length ? from + shown : 0;
      lesson.chosen = from;
      draw();
      strip.lastChild.focus();
      onChange(lesson.samples[from]);
    });
    strip.replaceChildren(...buttons, ...(lesson.samples.length > shown ? [more] : []));
  }
  draw();
  return strip;
}

/** The chosen image with its label. */
export function chosenPicture(lesson) {
  const { t, samples, classNames } = lesson;
  const sample = samples[lesson.chosen];
  return captioned(picture(lesson, sample, t("lesson.chosen-image")), t("lesson.label-is", { label: classNames[sample.label] }));
}

/**
 * Says how far the test images are read, then calls show(readings), or show of what `load` made of them.
 * Returns a function for leaving the page: afterwards nothing is shown.
 */
export function afterReading(stage, lesson, show, load = (readings) => readings) {
  let stopped = false;
  const waiting = make("p", { class: "quiet", role: "status" });
  const say = (share) => {
    waiting.textContent = lesson.t("lesson.reading", { percent: Math.round(100 * share) });
  };
  say(0);
  stage.append(waiting);
  readingsOf(lesson, say)
    .then(load)
    .then((found) => stopped || show(found))
    .catch((error) => {
      waiting.textContent = error.message;
      stage.replaceChildren(waiting);
    });
  return () => {
    stopped = true;
  };
}
