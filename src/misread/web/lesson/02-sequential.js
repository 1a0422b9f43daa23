// Sequential: a chain for the learner's images that the reader builds, and the branch that a chain cannot have.

import { make } from "../components/elements.js";
import { action, results } from "./stage.js";
import { numberTable } from "./number_table.js";

const UNITS = 32;
const MOST = 6; // layers that the reader adds

export const sequentialPage = {
  id: "sequential",
  needs: null,
  formula: "Sequential: y = f₃(f₂(f₁(x)))\nResidual: y = x + f(x)",
  show(stage, lesson) {
    const { t } = lesson;
    const pixels = (lesson.shape ?? [28, 28, 1]).reduce((a, b) => a * b);
    const classes = lesson.classNames?.length ?? 10;
    let added = [];
    const problem = make("p", { class: "wrong", role: "status" });
    const found = results([["parameters", t("lesson.parameters")], ["ends", t("lesson.sequential.kind")]]);
    const table = make("div", { class: "scroll" });

    const sizeAfter = (layers) => layers.reduce((size, kind) => (kind === "ReLU" ? size : UNITS), pixels);
    function draw() {
      const rows = [["Flatten", pixels, 0]];
      for (const [i, kind] of added.entries()) {
        const size = sizeAfter(added.slice(0, i));
        if (kind === "ReLU") rows.push(["ReLU", size, 0]);
        else rows.push([kind === "Dense" ? `Dense ${UNITS}` : `x + Dense ${UNITS}`, UNITS, size * UNITS + UNITS]);
      }
      rows.push([`Dense ${classes}`, classes, sizeAfter(added) * classes + classes]);
      table.replaceChildren(numberTable([t("lesson.layer"), t("lesson.output-size"), t("lesson.parameters")], rows));
      found.set("parameters", String(rows.reduce((sum, [, , n]) => sum + n, 0)));
      found.set("ends", added.includes("Residual") ? t("lesson.sequential.branched") : t("lesson.sequential.straight"));
    }
    function add(kind) {
      const size = sizeAfter(added);
      if (added.length === MOST) problem.textContent = t("lesson.sequential.full", { n: MOST });
      else if (kind === "Residual" && size !== UNITS) problem.textContent = t("lesson.sequential.refused", { input: size, output: UNITS });
      else {
        added.push(kind);
        problem.textContent = "";
      }
      draw();
    }
    function clear() {
      added = [];
      problem.textContent = "";
      draw();
    }
    stage.append(
      make(
        "div",
        { class: "choice" },
        action(`+ Dense ${UNITS}`, () => add("Dense")),
        action("+ ReLU", () => add("ReLU")),
        action(`+ Residual(Dense ${UNITS})`, () => add("Residual")),
        action(t("lesson.start-again"), clear),
      ),
      problem,
      table,
      found.element,
    );
    draw();
  },
};
