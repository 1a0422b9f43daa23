// One training as it goes: its controls, numbers, curves, weights, dead units, and the images that changed.

import { Curves } from "./curves.js";
import { make, number, percent, write } from "./elements.js";
import { OtherCurves } from "./other_curves.js";
import { TrainingControls } from "./training_controls.js";
import { changedImages, deadUnits, WeightPictures } from "./training_pictures.js";
import { ENDED, TrainingRecord } from "./training_record.js";
import { TrainingResult } from "./training_result.js";

const KINDS = ["broken", "mended", "misread"];

export class TrainingLive {
  #frame = 0;
  #shownMisreads = null;
  #shownDead = null;

  /** changed: called with the training when its state has changed. */
  constructor(studio, id, changed) {
    const { t } = studio;
    Object.assign(this, { studio, id, changed, record: new TrainingRecord() });
    this.controls = new TrainingControls(t, (action, body) => this.act(action, body));
    this.loss = new Curves(t("train.loss-chart"), { bounds: [0, null] });
    this.accuracy = new Curves(t("train.accuracy-chart"), { bounds: [0, 1] });
    this.weights = new WeightPictures(t);
    this.result = new TrainingResult(studio);
    this.others = new OtherCurves(studio, () => this.#ask());
    this.#build();
    this.stream = studio.server.events(`/api/trainings/${id}/events`, (event) => this.#take(event));
  }

  close() {
    cancelAnimationFrame(this.#frame);
    this.stream.close();
    this.loss.close();
    this.accuracy.close();
  }

  async act(action, body = {}) {
    try {
      await this.studio.server.post(`/api/trainings/${this.id}/${action}`, body);
    } catch (error) {
      this.studio.say(error.message, { error: true });
    }
  }

  /** Pauses what runs, and resumes what is paused. */
  toggle() {
    const state = this.record.training?.state;
    if (state === "running") this.act("pause");
    if (state === "paused") this.act("resume");
  }

  get ended() {
    return ENDED.includes(this.record.training?.state);
  }

  #build() {
    const { t } = this.studio;
    this.name = make("span");
    this.state = make("span");
    this.title = make("h2", { class: "live-title" }, this.name, " ", this.state);
    this.facts = make("p", { class: "quiet" });
    this.notes = make("p", { class: "quiet" });
    this.numbers = make("dl", { class: "live-numbers" });
    this.dead = make("div");
    this.misreads = make("div", { class: "live-misreads" });
    this.weightsPart = part(t, "train.weights", this.weights.root);
    this.deadPart = part(t, "train.dead", this.dead);
    this.misreadsPart = part(t, "train.misreads", this.misreads);
    const chart = (key, curves) => make("figure", {}, make("figcaption", {}, t(key)), curves.canvas);
    this.root = make("section", { class: "training-live", "aria-label": t("train.live") },
      this.title, this.facts, this.notes, this.controls.root, this.numbers, this.result.root,
      make("div", { class: "charts" }, chart("train.loss", this.loss), chart("train.accuracy", this.accuracy)),
      make("p", { class: "legend" }, make("span", { class: "key" }, t("train.key-train")), make("span", { class: "key val" }, t("train.key-val")),
        make("span", { class: "quiet" }, t("train.key-x"))),
      this.others.root, this.misreadsPart, make("div", { class: "side-by-side" }, this.weightsPart, this.deadPart));
  }

  #take(event) {
    if (event.type === "end") {
      this.stream.close(); // or the browser would connect again
      return;
    }
    const before = this.record.training?.state;
    this.record.add(event);
    const { training } = this.record;
    if (training.state !== before) {
      this.changed(training);
      if (before && ENDED.includes(training.state)) this.studio.say(`${training.title}: ${this.studio.t(`train.state.${training.state}`)}`);
    }
    this.#ask();
  }

  #ask() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      if (this.record.training) this.#show();
    });
  }

  #show() {
    const { record } = this;
    const { t } = this.studio;
    const { training, started, now } = record;
    write(this.name, training.title);
    write(this.state, t(`train.state.${training.state}`));
    this.state.className = `state ${training.state}`;
    if (started) {
      const { data, parameters } = started;
      write(this.facts, t("train.facts", { train: data.n_train, val: data.n_val, parameters }));
      this.others.show(data.name);
    }
    write(this.notes, record.notes.at(-1) ?? "");
    this.notes.hidden = !record.notes.length;
    this.controls.show(record);
    this.#showNumbers(now);
    this.#showCurves();
    this.result.show(record);
    this.weights.show(record.weights);
    this.weightsPart.hidden = !record.weights;
    if (record.dead !== this.#shownDead) this.dead.replaceChildren(deadUnits(t, (this.#shownDead = record.dead)));
    this.deadPart.hidden = !record.dead;
    this.#showMisreads();
  }

  #showNumbers(now) {
    this.numbers.hidden = !now;
    if (!now) return;
    const { t } = this.studio;
    const shown = {
      epoch: `${number(now.epoch)} / ${number(now.epochs)}`,
      "step-number": `${number(now.step)} / ${number(now.steps)}`,
      loss: now.loss.toFixed(4),
      accuracy: percent(now.accuracy),
      speed: now.images_per_second === null ? "–" : number(now.images_per_second),
      left: this.ended ? "–" : duration(t, now.seconds_left),
      "rate-now": Number(now.rate.toPrecision(3)),
    };
    if (!this.numbers.children.length) {
      this.cells = Object.fromEntries(Object.keys(shown).map((name) => [name, make("dd", { "data-number": name })]));
      this.numbers.append(...Object.entries(this.cells).map(([name, cell]) => make("div", {}, make("dt", {}, t(`train.${name}`)), cell)));
    }
    for (const [name, text] of Object.entries(shown)) write(this.cells[name], text);
  }

  #showCurves() {
    const { losses, accuracies, rows, now } = this.record;
    const steps = now?.steps ?? 1;
    const byEpoch = (points) => points.map(([step, value]) => [step / steps, value]);
    const of = (name) => rows.map((row) => [row.epoch, row[name]]);
    const others = this.others.chosen();
    this.loss.show([
      ...others.map(({ colour, history }) => ({ points: history.map((row) => [row.epoch, row.val_loss]), colour, dashed: true })),
      { points: byEpoch(losses), colour: "--a", thin: true },
      { points: of("val_loss"), colour: "--b", dots: true },
    ], now?.epochs);
    this.accuracy.show([
      ...others.map(({ colour, history }) => ({ points: history.map((row) => [row.epoch, row.val_accuracy]), colour, dashed: true })),
      { points: byEpoch(accuracies), colour: "--a", thin: true },
      { points: of("val_accuracy"), colour: "--b", dots: true },
    ], now?.epochs);
  }

  #showMisreads() {
    const { misreads, started } = this.record;
    this.misreadsPart.hidden = !misreads;
    if (!misreads || misreads === this.#shownMisreads) return;
    this.#shownMisreads = misreads;
    const { t } = this.studio;
    const parts = KINDS.map((kind) => {
      const [n, pictures] = [misreads.counts[kind], misreads.pictures[kind]];
      const some = pictures.length < n ? t("train.first-images", { n: pictures.length }) : "";
      return make("div", { class: kind }, make("h3", {}, t(`train.${kind}-images`, { n, all: misreads.n }), some),
        changedImages(t, pictures, started.data.class_names));
    });
    this.misreads.replaceChildren(make("p", { class: "quiet" }, t("train.misreads-epoch", { epoch: misreads.epoch })), ...parts);
  }
}

const part = (t, key, content) =>
  make("section", { class: "live-part", "aria-label": t(key) }, make("h2", {}, t(key)), make("p", { class: "quiet" }, t(`${key}-note`)), content);

function duration(t, seconds) {
  if (seconds < 60) return t("train.seconds", { seconds: Math.ceil(seconds) });
  if (seconds < 3600) return t("train.minutes", { minutes: Math.floor(seconds / 60), seconds: Math.round(seconds % 60) });
  return t("train.hours", { hours: Math.floor(seconds / 3600), minutes: Math.round((seconds % 3600) / 60) });
}
