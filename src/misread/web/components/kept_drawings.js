// Drawings kept as labelled examples: keep, list, delete, and how many of them the network reads right.

import { argmax } from "../network/argmax.js";
import { fromBase64, toBase64 } from "./base64.js";
import { make, percent } from "./elements.js";
import { button, field, panel, select } from "./form.js";
import { drawImage } from "./pixels.js";
import { inSlices } from "./slices.js";
import { wilson } from "./wilson.js";

function* predictions(model, images) {
  const found = [];
  for (const image of images) {
    found.push(argmax(model.predict(image)));
    yield found.length;
  }
  return found;
}

export class KeptDrawings {
  #controller = new AbortController();
  constructor(studio, model) {
    const { t } = studio;
    Object.assign(this, { studio, model, image: null });
    this.label = select(model.classNames.map((name, k) => [k, name]));
    this.keep = button(t, "draw.keep", () => this.#keep(), { class: "main" });
    this.score = make("p", { role: "status" });
    this.hint = make("p", { class: "quiet" });
    this.list = make("ol", { class: "thumbnails" });
    const tools = make("div", { class: "tools" }, field(t, "draw.label", this.label), this.keep);
    this.element = panel(t, "draw.kept", tools, this.score, this.list, this.hint);
    this.show(null);
    this.#ask(() => studio.server.get(`/api/drawings?run=${studio.run.id}`));
  }
  /** image: what can be kept now. prediction: the label that is proposed. */
  show(image, prediction) {
    this.image = image;
    this.keep.disabled = !image;
    if (image && document.activeElement !== this.label) this.label.value = prediction;
  }
  #keep() {
    const { studio } = this;
    const body = { run: studio.run.id, pixels: toBase64(this.image), label: Number(this.label.value) };
    this.#ask(async () => {
      const found = await studio.server.post("/api/drawings", body);
      studio.say(studio.t("draw.was-kept", { name: found.name, n: found.ids.length }));
      return found;
    });
  }
  #delete(id) {
    const { studio } = this;
    this.#ask(() => studio.server.post(`/api/drawings/${id}/delete`, { run: studio.run.id }));
  }
  async #ask(request) {
    try {
      await this.#draw(await request());
    } catch (error) {
      this.score.textContent = error.message;
    }
  }
  async #draw({ name, ids, labels, splits, pixels }) {
    const { model, studio } = this;
    const bytes = fromBase64(pixels);
    const size = model.imageShape.reduce((a, b) => a * b);
    const images = ids.map((_, i) => bytes.subarray(i * size, (i + 1) * size));
    this.#controller.abort();
    this.#controller = new AbortController();
    const read = await inSlices(predictions(model, images), { signal: this.#controller.signal });
    if (!read) return;
    const items = ids.map((id, i) => this.#item({ id, label: labels[i], split: splits[i], prediction: read[i] }, images[i]));
    this.list.replaceChildren(...items.reverse()); // the last one first
    const { t } = studio;
    const [n, right] = [ids.length, read.filter((k, i) => k === labels[i]).length];
    this.hint.textContent = n ? t("draw.use-kept", { name }) : "";
    if (!n) this.score.textContent = t("draw.none-kept");
    else {
      const [low, high] = wilson(right, n).map((share) => percent(share, 0));
      this.score.textContent = t("draw.score", { right, n, share: percent(right / n, 0), low, high, name });
    }
  }
  #item({ id, label, split, prediction }, image) {
    const { t } = this.studio;
    const names = this.model.classNames;
    const wrong = prediction !== label;
    const said = t(wrong ? "draw.kept-wrong" : "draw.kept-right", { label: names[label], prediction: names[prediction] });
    const canvas = make("canvas", { class: "pixels", role: "img", "aria-label": said });
    drawImage(canvas, image, this.model.imageShape);
    const remove = make("button", { type: "button", class: "remove", title: t("draw.delete"), "aria-label": `${t("draw.delete")}: ${said}` }, "×");
    remove.addEventListener("click", () => this.#delete(id));
    const caption = make("span", { class: wrong ? "wrong" : "" }, wrong ? `${names[label]} → ${names[prediction]}` : names[label]);
    return make("li", { title: `${said} ${t(`draw.for-${split}`)}`, "data-id": id }, canvas, caption, remove);
  }
  stop() {
    this.#controller.abort();
  }
}
