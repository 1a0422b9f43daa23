// The room Look inside: for any image, what every layer gives, how each value came about, where the network looks, and
// what its units answer to.

import { Explanation } from "../components/explanation.js";
import { DropoutMasks } from "../components/dropout_masks.js";
import { make, percent } from "../components/elements.js";
import { FeatureMaps } from "../components/feature_maps.js";
import { choice } from "../components/form.js";
import { ImageChooser } from "../components/image_chooser.js";
import { drawImage, onTheme, signedScale } from "../components/pixels.js";
import { Probabilities } from "../components/probabilities.js";
import { SaliencyMaps } from "../components/saliency_maps.js";
import { Temperature } from "../components/temperature.js";
import { Units } from "../components/units.js";
import { withModel } from "../components/with_model.js";
import { softmax } from "../network/activations.js";
import { argmax } from "../network/argmax.js";
import { explainValue } from "../network/explain.js";
import { stagesOf } from "../network/stages.js";
import { hasSilence } from "../network/unit_survey.js";

const VIEWS = ["layers", "saliency", "units"];

/** How many values a ReLU set to 0, and how many whole maps. */
function silenced({ values, shape }) {
  const units = shape.at(-1);
  const awake = new Uint8Array(units);
  let zeros = 0;
  for (let i = 0; i < values.length; i++) {
    if (values[i] > 0) awake[i % units] = 1;
    else zeros += 1;
  }
  return { share: zeros / values.length, units: units - awake.reduce((a, b) => a + b, 0), all: units };
}

class InsideRoom {
  constructor(root, studio, model) {
    const { t } = studio;
    Object.assign(this, { studio, model, blocks: [], dead: new Map(), stops: [] });
    this.chooser = new ImageChooser(studio, model, (chosen) => this.#show(chosen));
    this.picture = make("canvas", { class: "pixels", role: "img", "aria-label": t("inside.the-image") });
    this.title = make("p", { class: "reading" });
    this.bars = new Probabilities(make("ol"), model.classNames);
    this.layers = make("div", { class: "stages" });
    this.explanation = new Explanation(t, (looked) => this.#markWindow(looked));
    this.temperature = new Temperature(t, model.classNames);
    const aside = { class: "aside", role: "region", tabindex: 0, "aria-label": t("inside.explanation") }; // it scrolls
    this.views = { layers: make("div", { class: "inside-layers" }, this.layers, make("div", aside, this.explanation.element)) };
    this.tabs = choice(t, VIEWS.map((view) => [view, `inside.${view}`]), "layers", (view) => this.#go(view));
    this.holder = make("div");
    root.replaceChildren(
      make("h1", {}, t("inside.title")),
      make("p", { class: "lead" }, t("inside.intro")),
      this.chooser.element,
      make("div", { class: "inside-top" }, this.picture, make("div", {}, this.title, this.bars.list)),
      this.tabs,
      this.holder,
    );
    const { keys, address } = studio;
    this.stops.push(
      keys.add(",", "inside.previous", () => this.chooser.step(-1)),
      keys.add(".", "inside.next", () => this.chooser.step(1)),
      keys.add("r", "inside.random", () => this.chooser.random()),
      keys.add("n", "inside.misread", () => this.chooser.nextMisread()),
      address.onChange((values) => this.#open(values)),
      onTheme(() => this.image && this.#draw()),
    );
    this.#open(address.read());
    const observer = new ResizeObserver(() => this.layers.clientWidth !== this.width && this.image && this.#draw());
    observer.observe(this.layers);
    this.stops.push(() => observer.disconnect());
  }
  #open(values) {
    this.#view(VIEWS.includes(values.get("view")) ? values.get("view") : "layers");
    this.chooser.open(values);
  }
  #go(view) {
    this.studio.address.write({ view: view === "layers" ? null : view }, { push: true });
    this.#view(view);
    if (view === "layers" && this.image) this.#draw();
  }
  /** Parts that take long to compute are made when they are first looked at. */
  #view(view) {
    const { studio, model } = this;
    this.tabs.show(view);
    this.view = view;
    if (view === "saliency") this.saliency ??= new SaliencyMaps(studio.t, model);
    if (view === "units") this.units ??= this.#makeUnits();
    const parts = { layers: this.views.layers, saliency: this.saliency?.element, units: this.units?.element };
    if (this.holder.firstElementChild !== parts[view]) this.holder.replaceChildren(parts[view]);
    if (view === "saliency" && this.image && this.saliency.image !== this.image) this.saliency.show(this.image, argmax(this.probs));
  }
  #makeUnits() {
    const open = (row) => this.studio.go("inside", { split: "test", row: String(row) });
    const surveyed = (layers, sample) => {
      for (const { place, silent, units } of layers) if (silent) this.dead.set(place, units.filter(({ active }) => !active).length);
      this.sample = sample;
      if (this.image) this.#captions();
    };
    return new Units(this.studio, this.model, { open, surveyed });
  }
  #show({ image, label, title }) {
    const { model } = this;
    const { t } = this.studio;
    this.image = image;
    const logits = model.logits(image);
    this.probs = softmax(logits);
    const k = argmax(this.probs);
    const said = t("draw.reading", { class: model.classNames[k], share: percent(this.probs[k]) });
    const labelled = label === null ? said : t(label === k ? "inside.read-right" : "inside.read-wrong", { reading: said, label: model.classNames[label] });
    this.title.textContent = `${title}: ${labelled}`;
    this.title.classList.toggle("wrong", label !== null && label !== k);
    drawImage(this.picture, image, model.imageShape);
    this.bars.show(this.probs);
    this.temperature.show(logits);
    this.stages = stagesOf(model, image);
    if (!this.blocks.length) this.#build();
    if (this.view === "layers") this.#draw();
    this.#view(this.view);
  }
  /** A block for each stage: a heading, its pictures, a caption. */
  #build() {
    const { t } = this.studio;
    this.blocks = this.stages.map((stage, place) => {
      const name = stage.layer ? `${stage.name} · ${stage.shape.join("×")}` : t("inside.input");
      const maps = new FeatureMaps(t("inside.maps-of", { name }), (at) => this.#choose(place, at));
      const caption = make("p", { class: "quiet" });
      const block = { maps, caption };
      const parts = [make("h2", {}, name), maps.element, caption];
      if (stage.layer?.type === "Dropout" && stage.index !== null) {
        block.masks = new DropoutMasks(t, this.model, (shown) => maps.show(shown, signedScale(this.layers)));
        parts.push(block.masks.element);
      }
      block.element = make("section", { class: stage.depth ? "layer within" : "layer", "data-layer": stage.name }, ...parts);
      return block;
    });
    this.layers.replaceChildren(...this.blocks.map((block) => block.element), this.temperature.element);
    this.chosen = { place: this.blocks.length - 1, at: argmax(this.probs) };
  }
  /** Draws the pictures of all stages for the image, and the explanation of the chosen value. */
  #draw() {
    this.width = this.layers.clientWidth;
    const scale = signedScale(this.layers);
    this.blocks.forEach(({ maps, masks }, place) => {
      const stage = this.stages[place];
      masks?.stop();
      maps.show(stage, scale, place === 0 ? this.image : null);
      masks?.show(stage);
    });
    this.#captions();
    this.#explain();
  }
  #captions() {
    const { t } = this.studio;
    this.blocks.forEach(({ caption }, place) => {
      const stage = this.stages[place];
      if (!hasSilence(stage)) return;
      const { share, units, all } = silenced(stage);
      const dead = this.dead.get(place);
      const more = dead === undefined ? "" : ` ${t("inside.dead-short", { n: dead, sample: this.sample })}`;
      caption.textContent = t("inside.silent", { share: percent(share, 0), n: units, all }) + more;
    });
  }
  #choose(place, at) {
    this.chosen = { place, at };
    this.units?.choose(place, at % this.stages[place].shape.at(-1));
    this.#explain();
  }
  #explain() {
    const { place, at } = this.chosen;
    this.blocks.forEach(({ maps }, i) => maps.mark(i === place ? at : null));
    this.explanation.show(this.stages, place, at, explainValue(this.stages[place], at));
  }
  /** Marks what the chosen value looks at, in the pictures of the stage that it comes from. */
  #markWindow(looked) {
    const from = this.stages[this.chosen.place].from;
    this.blocks.forEach(({ maps }, i) => maps.markWindow(i === from && looked ? looked.box : null, looked?.channel));
  }
  stop() {
    for (const stop of this.stops) stop();
    this.chooser.stop();
    this.saliency?.stop();
    this.units?.stop();
    for (const { masks } of this.blocks) masks?.stop();
  }
}

export const inside = {
  id: "inside",
  needs: "model",
  mount: (root, studio) => withModel(root, studio, (model) => new InsideRoom(root, studio, model)),
};
