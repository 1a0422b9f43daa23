// The room Draw: draw or drop a picture, and the network reads it at once. What it was given, why it reads it so, what
// would flip it, and drawings to keep. Without a server, all but the nearest images and the kept drawings are there.

import { currentDrawing, keepDrawing } from "../components/current_drawing.js";
import { DrawTools } from "../components/draw_tools.js";
import { Drawing } from "../components/drawing.js";
import { make, percent } from "../components/elements.js";
import { Flip } from "../components/flip.js";
import { button } from "../components/form.js";
import { GivenImage } from "../components/given_image.js";
import { KeptDrawings } from "../components/kept_drawings.js";
import { NearestImages } from "../components/nearest_images.js";
import { Paper } from "../components/paper.js";
import { readPicture, takePicture, watchPictures } from "../components/picture_input.js";
import { Probabilities } from "../components/probabilities.js";
import { Latest } from "../components/slices.js";
import { undoKeys } from "../components/undo_keys.js";
import { withModel } from "../components/with_model.js";
import { argmax } from "../network/argmax.js";
import { layOut } from "../network/geometry.js";

const SIDE = 560; // pixels of the paper's longer side
const GIVEN_SIDE = 140; // pixels of the drawing that is laid out for the network; a smaller one is faster
const ANSWER = { slice: 5, rest: 150 }; // milliseconds: of the frame for the network, and until it goes on when the pointer rests
const [WHITE, BLACK] = ["#ffffff", "#000000"];

/** A canvas with the shape of the images, its longer side this long. */
function canvasOf([height, width], side, attributes = {}) {
  const scale = side / Math.max(height, width);
  return make("canvas", { width: Math.round(width * scale), height: Math.round(height * scale), ...attributes });
}

class DrawRoom {
  #frame = 0;
  #latest = new Latest();
  constructor(root, studio, model) {
    const { t } = studio;
    Object.assign(this, { studio, model, image: null, k: -1, stops: [] });
    const shape = model.imageShape;
    const colours = shape[2] === 3;
    this.drawing = new Drawing(WHITE, currentDrawing(shape).strokes);
    this.small = canvasOf(shape, Math.max(GIVEN_SIDE, 2 * shape[0], 2 * shape[1]));
    const canvas = canvasOf(shape, SIDE, { class: "paper", tabindex: "0", role: "img", "aria-label": t("draw.paper") });
    this.tools = new DrawTools(t, { colours, ink: BLACK }, {
      undo: () => this.#do(() => this.drawing.undo()),
      redo: () => this.#do(() => this.drawing.redo()),
      clear: () => this.#do(() => this.drawing.clear()),
      move: (change) => this.paper.moveBy(change),
      camera: () => this.#camera(),
    });
    this.paper = new Paper(canvas, this.drawing, () => this.tools.pen(), () => this.#changed());
    this.given = new GivenImage(t, model);
    this.bars = new Probabilities(make("ol"), model.classNames);
    this.reading = make("p", { class: "reading" });
    this.inside = button(t, "draw.look-inside", () => this.#lookInside(this.image));
    this.flip = new Flip(t, model, (image) => this.#lookInside(image));
    this.parts = [this.flip];
    if (studio.server) this.parts.push(new NearestImages(studio), new KeptDrawings(studio, model));
    this.#build(root, canvas, colours);
    this.#listen(root, canvas);
    this.#changed();
  }
  #build(root, canvas, colours) {
    const { t } = this.studio;
    const intro = t(colours ? "draw.intro-colour" : "draw.intro");
    const left = make("div", { class: "draw-left" }, canvas, this.tools.element, make("p", { class: "quiet" }, t("draw.keys")));
    this.spoken = make("p", { class: "hidden", role: "status" });
    const right = make("div", { class: "draw-right" }, this.reading, this.spoken, this.bars.list, this.given.element, make("p", {}, this.inside));
    root.replaceChildren(
      make("h1", {}, t("draw.title")),
      make("p", { class: "lead" }, intro),
      make("div", { class: "draw-room" }, left, right),
      make("div", { class: "panels" }, ...this.parts.map((part) => part.element)),
    );
  }
  #listen(root, canvas) {
    const { keys } = this.studio;
    this.stops.push(watchPictures(root, this.tools.file, (file) => this.#take(readPicture(file))));
    this.stops.push(undoKeys(() => this.#do(() => this.drawing.undo()), () => this.#do(() => this.drawing.redo())));
    const tool = (mode) => () => {
      this.tools.set(mode);
      canvas.focus();
    };
    this.stops.push(
      keys.add("p", "draw.pen", tool("draw")),
      keys.add("e", "draw.eraser", tool("erase")),
      keys.add("m", "draw.move", tool("move")),
      keys.add("c", "draw.clear", () => this.#do(() => this.drawing.clear())),
      keys.add("i", "draw.look-inside", () => this.image && this.#lookInside(this.image)),
    );
    // what the bars show, for those who cannot see them, after a stroke and not during it
    canvas.addEventListener("pointerup", () => requestAnimationFrame(() => (this.spoken.textContent = this.image ? this.reading.textContent : "")));
  }
  #do(action) {
    action();
    this.#changed();
  }
  /** A promise of a picture goes on the paper; what was there is replaced, and undo brings it back. */
  async #take(promise) {
    const { say, t } = this.studio;
    try {
      const picture = await promise;
      if (!picture) return;
      this.drawing.clear();
      this.drawing.add(picture, [picture.width, picture.height], this.paper.size);
      this.#changed();
    } catch (error) {
      say(t(error.message));
    }
  }
  #camera() {
    this.#take(takePicture(this.studio.t));
  }
  #lookInside(image) {
    keepDrawing(this.drawing.items.filter((item) => !item.picture), image, this.model.imageShape);
    this.studio.go("inside", { image: "drawing" });
  }
  /** At most one reading a frame, however many events there were. */
  #changed() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#read();
    });
  }
  #read() {
    const { drawing, model } = this;
    this.paper.draw();
    this.tools.show(drawing);
    this.image = drawing.empty ? null : layOut(this.#pixels(), model.imageShape, model.geometry);
    this.k = -1;
    if (this.image) {
      // after the first slice the bars show what there is, in this frame; what is left is dropped when the drawing changes
      const say = (probs) => probs && this.#say(probs);
      this.#latest.run(model.predicting(this.image), say, ANSWER).then(say);
    } else {
      this.#latest.stop();
      this.#say(null);
    }
    if (!drawing.current) keepDrawing(drawing.items.filter((item) => !item.picture), this.image, model.imageShape);
  }
  #say(probs) {
    const { model, studio, image } = this;
    const k = probs ? argmax(probs) : -1;
    this.bars.show(probs);
    this.inside.disabled = !probs;
    this.reading.textContent = probs ? studio.t("draw.reading", { class: model.classNames[k], share: percent(probs[k]) }) : studio.t("draw.empty");
    if (k === this.k && image) return; // the same reading by more views
    this.k = k;
    for (const part of [this.given, ...this.parts]) part.show(image, k);
  }
  /** What is laid out for the network: the drawing, or a picture itself if there is nothing else. */
  #pixels() {
    const picture = this.drawing.onlyPicture;
    if (picture && picture === this.lastPicture) return this.lastPixels;
    const canvas = picture ? new OffscreenCanvas(picture.width, picture.height) : this.small;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    if (picture) {
      context.fillStyle = WHITE; // transparent pixels become white, as in Python
      context.fillRect(0, 0, canvas.width, canvas.height);
      context.drawImage(picture, 0, 0);
    } else {
      this.drawing.paint(this.small);
    }
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
    if (picture) Object.assign(this, { lastPicture: picture, lastPixels: pixels });
    return pixels;
  }
  stop() {
    cancelAnimationFrame(this.#frame);
    this.#latest.stop();
    for (const stop of this.stops) stop();
    for (const part of [this.given, ...this.parts]) part.stop();
  }
}

export const draw = {
  id: "draw",
  needs: "model",
  mount: (root, studio) => withModel(root, studio, (model) => new DrawRoom(root, studio, model)),
};
