// The tools beside the paper: pen, eraser, move; thickness and colour; undo, clear; turn and scale; pictures.

import { make } from "./elements.js";
import { button, choice, field } from "./form.js";
import { MOTIONS } from "./paper.js";
import { hasCamera } from "./picture_input.js";

const THICKNESS = { min: 2, max: 20, value: 9 }; // percent of the paper's side

export class DrawTools {
  /**
   * actions: { undo, redo, clear, move(change), camera }. colours: whether a colour can be chosen; else `ink` is used.
   */
  constructor(t, { colours, ink }, actions) {
    this.mode = "draw";
    this.choice = choice(t, [["draw", "draw.pen"], ["erase", "draw.eraser"], ["move", "draw.move"]], "draw", (mode) => (this.mode = mode));
    this.width = make("input", { type: "range", ...THICKNESS, step: 1 });
    this.colour = make("input", { type: "color", value: ink });
    this.undo = button(t, "draw.undo", actions.undo);
    this.redo = button(t, "draw.redo", actions.redo);
    this.clear = button(t, "draw.clear", actions.clear);
    const turns = ["left", "right", "larger", "smaller"].map((name) => button(t, `draw.${name}`, () => actions.move(MOTIONS[name])));
    this.file = make("input", { type: "file", accept: "image/*", hidden: "" });
    const picture = button(t, "draw.picture", () => this.file.click());
    const camera = button(t, "draw.camera", actions.camera, { hidden: "" });
    hasCamera().then((there) => (camera.hidden = !there));
    this.moving = [...turns, this.clear];
    this.element = make(
      "div",
      { class: "draw-tools" },
      make("div", { class: "tools" }, this.choice, field(t, "draw.width", this.width), colours ? field(t, "draw.colour", this.colour) : null),
      make("div", { class: "tools" }, this.undo, this.redo, this.clear, ...turns),
      make("div", { class: "tools" }, picture, camera, this.file),
    );
  }
  /** What the next stroke is drawn with. */
  pen() {
    return { mode: this.mode, width: Number(this.width.value) / 100, colour: this.colour.value };
  }
  set(mode) {
    this.mode = mode;
    this.choice.show(mode);
  }
  /** Enables what is possible now. */
  show(drawing) {
    this.undo.disabled = !drawing.canUndo;
    this.redo.disabled = !drawing.canRedo;
    for (const element of this.moving) element.disabled = !drawing.items.length;
  }
}
