// The controls of a training that runs: pause, one step, resume, stop, and the learning rate.

import { make, write } from "./elements.js";

const DECADES = 3; // of the slider, on each side of the recipe's learning rate
const STEPS = 60; // of the slider in a decade

export class TrainingControls {
  /** act: called with (action, body) for a command. */
  constructor(t, act) {
    this.t = t;
    this.act = act;
    const button = (name) => {
      const made = make("button", { type: "button", "data-action": name }, t(`train.${name}`));
      made.addEventListener("click", () => act(name));
      return made;
    };
    [this.pause, this.resume, this.step, this.stop] = ["pause", "resume", "step", "stop"].map(button);
    this.rate = make("input", { type: "range", min: -DECADES * STEPS, max: DECADES * STEPS, step: 1, class: "rate" });
    this.shown = make("output", {});
    this.rate.addEventListener("input", () => this.#say(this.#chosen()));
    this.rate.addEventListener("change", () => act("rate", { rate: this.#chosen() }));
    this.rateLabel = make("label", { class: "rate-label" }, t("train.rate"), " ", this.shown, this.rate);
    this.root = make("div", { class: "training-controls" },
      make("div", { class: "choice" }, this.pause, this.resume, this.step, this.stop), this.rateLabel);
  }

  /** Shows what can be done now. */
  show({ training, started, now, rates }) {
    const { state } = training;
    const live = ["running", "paused"].includes(state);
    this.root.hidden = !live && !["queued", "starting"].includes(state);
    const focused = document.activeElement;
    this.pause.hidden = state === "paused";
    this.resume.hidden = state !== "paused";
    if (focused === this.pause && this.pause.hidden) this.resume.focus();
    if (focused === this.resume && this.resume.hidden) this.pause.focus();
    for (const one of [this.pause, this.resume, this.step]) one.disabled = !live;
    write(this.stop, this.t(state === "queued" ? "train.cancel" : "train.stop"));
    this.rateLabel.hidden = !started || !live;
    if (!started) return;
    this.base = started.rate;
    const factor = rates.at(-1)?.factor ?? now?.factor ?? 1;
    if (document.activeElement !== this.rate || this.sent !== factor) {
      this.sent = factor;
      this.rate.value = Math.round(Math.log10(factor) * STEPS);
      this.#say(this.base * factor);
    }
  }

  #chosen() {
    return Number((this.base * 10 ** (Number(this.rate.value) / STEPS)).toPrecision(3));
  }

  #say(rate) {
    this.shown.textContent = Number(rate.toPrecision(3));
    this.rate.setAttribute("aria-valuetext", this.shown.textContent);
  }
}
