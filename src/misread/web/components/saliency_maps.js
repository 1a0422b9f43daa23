// Where the network looks: occlusion and integrated gradients, each beside the same map of networks whose weights were
// drawn anew. A map that does not change with the weights says nothing about the network (Adebayo et al. 2018,
// arXiv 1810.03292).

import { rankCorrelation } from "../network/rank_correlation.js";
import { integratedGradients, occlusion } from "../network/saliency.js";
import { make } from "./elements.js";
import { field, select } from "./form.js";
import { drawImage, drawNumbers, onTheme, signedScale } from "./pixels.js";
import { Latest } from "./slices.js";

const SEED = 1;
const METHODS = { occlusion, integrated: integratedGradients };
const NETWORKS = ["trained", "last", "all"];

function* allMaps(models, image, k) {
  const total = Object.keys(METHODS).length * NETWORKS.length;
  let finished = 0;
  for (const [method, compute] of Object.entries(METHODS)) {
    for (const network of NETWORKS) {
      const map = yield* within(compute(models[network], image, k), finished++, total);
      yield { method, network, map, done: finished, total };
    }
  }
}

/** The steps of one map as a share of all. */
function* within(generator, finished, total) {
  for (;;) {
    const { done, value } = generator.next();
    if (done) return value;
    yield { done: finished + value.done / value.total, total };
  }
}

/** Rank correlation of the sizes of two maps, where one of them is not 0: both are 0 wherever the image is black. */
function likeness(map, own) {
  const there = [...map.keys()].filter((i) => map[i] !== 0 || own[i] !== 0);
  return rankCorrelation(...[map, own].map((values) => there.map((i) => Math.abs(values[i]))));
}

export class SaliencyMaps {
  #latest = new Latest();
  #maps = {};
  constructor(t, model) {
    Object.assign(this, { t, model });
    this.models = { trained: model, last: model.randomised(1, SEED), all: model.randomised(Infinity, SEED) };
    this.classes = select(model.classNames.map((name, k) => [k, name]));
    this.classes.addEventListener("change", () => this.#compute());
    this.state = make("p", { class: "quiet", role: "status" });
    this.figures = {};
    const figure = (method, network) => {
      const canvas = make("canvas", { class: "pixels", role: "img", "aria-label": `${t(`inside.${method}`)}: ${t(`inside.${network}`)}` });
      const caption = make("figcaption");
      this.figures[`${method} ${network}`] = { canvas, caption };
      return make("figure", {}, canvas, caption);
    };
    const rows = Object.keys(METHODS).map((method) =>
      make("section", { class: "panel" }, make("h2", {}, t(`inside.${method}`)), make("p", { class: "quiet" }, t(`inside.${method}-note`)),
        make("div", { class: "three" }, ...NETWORKS.map((network) => figure(method, network)))),
    ); // prettier-ignore
    this.picture = make("canvas", { class: "pixels original", role: "img", "aria-label": t("inside.the-image") });
    this.element = make("div", {}, make("div", { class: "tools" }, field(t, "inside.class", this.classes), this.picture), this.state, ...rows,
      make("p", { class: "quiet" }, t("inside.check-note"))); // prettier-ignore
    this.endTheme = onTheme(() => this.#draw());
  }
  /** image: bytes. k: the class that the maps are about first. */
  show(image, k) {
    this.image = image;
    this.classes.value = k;
    drawImage(this.picture, image, this.model.imageShape);
    this.#compute();
  }
  async #compute() {
    const { t } = this;
    this.#maps = {};
    this.#draw();
    this.state.textContent = t("inside.computing", { share: "0%" });
    const finished = await this.#latest.run(this.#all(), ({ done, total }) => {
      this.state.textContent = t("inside.computing", { share: `${Math.round((100 * done) / total)}%` });
    });
    if (finished) this.state.textContent = t("inside.maps-done");
  }
  /** As allMaps; keeps and draws each map when it is there. */
  *#all() {
    for (const each of allMaps(this.models, this.image, Number(this.classes.value))) {
      if (each.map) {
        this.#maps[`${each.method} ${each.network}`] = each.map;
        this.#draw();
      }
      yield each;
    }
    return true;
  }
  #draw() {
    const { t, model } = this;
    for (const [name, { canvas, caption }] of Object.entries(this.figures)) {
      const [method, network] = name.split(" ");
      const [map, own] = [this.#maps[name], this.#maps[`${method} trained`]];
      drawNumbers(canvas, map ?? new Float32Array(model.imageShape[0] * model.imageShape[1]), model.imageShape, signedScale(canvas));
      let text = t(`inside.${network}`);
      if (map && network !== "trained") {
        const like = likeness(map, own);
        text += ` · ${t("inside.likeness", { likeness: Number.isNaN(like) ? "–" : like.toFixed(2).replace("-", "−") })}`;
      }
      caption.textContent = text;
    }
  }
  stop() {
    this.#latest.stop();
    this.endTheme();
  }
}
