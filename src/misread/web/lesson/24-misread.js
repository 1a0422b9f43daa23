// The wall of misread images: guess first, then see the label and the prediction.

import { make, percent } from "../components/elements.js";
import { picture } from "./picture.js";
import { action, afterReading, choice, results } from "./stage.js";

const SHOWN = 48;

export const misreadPage = {
  id: "misread",
  needs: "model",
  show(stage, lesson) {
    const { t, studio, classNames } = lesson;
    return afterReading(stage, lesson, ready, async (readings) => {
      const rows = readings.labels.map((_, row) => row).filter((row) => readings.labels[row] !== readings.predictions[row]);
      rows.sort((a, b) => readings.confidences[b] - readings.confidences[a]);
      const shown = rows.slice(0, SHOWN);
      const { pixels } = shown.length ? await studio.images.get("test", shown) : { pixels: [] };
      return { ...readings, rows, shown, pixels };
    });

    function ready({ labels, predictions, confidences, n, rows, shown, pixels }) {
      const found = results([["misread", t("lesson.misread.count")], ["opened", t("lesson.misread.opened")], ["agreed", t("lesson.misread.agreed")]]);
      const [opened, agreed] = [new Set(), new Set()];
      const wall = make("ul", { class: "wall" });
      const [asked, said] = [make("div"), make("p", { role: "status" })];
      const guess = (row, i, button) => {
        const answer = choice({ name: t("lesson.misread.ask"), options: classNames.map((name, k) => [k, name]), value: null }, (k) => reveal(row, button, k));
        said.textContent = "";
        const large = picture(lesson, { pixels: pixels[i] }, t("lesson.misread.ask"));
        large.classList.add("big");
        asked.replaceChildren(large, make("p", {}, t("lesson.misread.ask")), answer.element, said);
        asked.scrollIntoView({ block: "nearest" });
      };
      function reveal(row, button, k) {
        opened.add(row);
        if (k === labels[row]) agreed.add(row);
        else agreed.delete(row);
        button.lastChild.textContent = `${classNames[labels[row]]} → ${classNames[predictions[row]]}`;
        said.textContent = t("lesson.misread.answer", { label: classNames[labels[row]], prediction: classNames[predictions[row]], confidence: percent(confidences[row]) });
        count();
      }
      function count() {
        found.set("misread", `${rows.length} / ${n}`);
        found.set("opened", `${opened.size} / ${shown.length}`);
        found.set("agreed", `${agreed.size} / ${opened.size}`);
      }
      wall.append(
        ...shown.map((row, i) => {
          const button = make("button", { type: "button", "data-row": row, "aria-label": t("lesson.misread.tile", { row }) }, picture(lesson, { pixels: pixels[i] }), make("span", {}, "?"));
          button.addEventListener("click", () => guess(row, i, button));
          return make("li", {}, button);
        }),
      );
      count();
      stage.replaceChildren(
        rows.length ? make("p", {}, t("lesson.misread.choose", { n: shown.length })) : make("p", { class: "note" }, t("lesson.misread.none")),
        asked,
        wall,
        found.element,
        make("div", { class: "choice" }, action(t("lesson.misread.draw"), () => studio.go("draw", {})), ...(studio.server ? [action(t("lesson.misread.room"), () => studio.go("misreads", {}))] : [])),
      );
    }
  },
};
