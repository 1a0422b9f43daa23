// The panel that decides on the label of one image: keep it, another class, ambiguous, or later.

import { make } from "./elements.js";
import { facts } from "./facts.js";

export const KINDS = ["fixed", "ambiguous", "kept", "skipped"];

const BUTTONS = 10; // classes that have a button and a digit key; with more, a class is found by its name

export class Triage {
  /**
   * root: an empty element. t: texts. classes: their names.
   * act: {decide(kind, label), step(by)}, called for what the reader wants.
   */
  constructor(root, t, classes, act) {
    Object.assign(this, { t, classes, act });
    this.facts = make("div", { class: "triage-facts" });
    this.place = make("span", { class: "quiet" });
    this.state = make("p", { class: "triage-state", role: "status" });
    const button = (text, key, run, attributes = {}) => {
      const made = make("button", { type: "button", ...attributes }, text, key ? make("kbd", { "aria-hidden": "true" }, key) : null);
      made.addEventListener("click", run);
      return made;
    };
    this.previous = button("‹", "", () => act.step(-1), { "aria-label": t("misreads.previous") });
    this.next = button("›", "", () => act.step(1), { "aria-label": t("misreads.next") });
    const kinds = [["kept", "m"], ["ambiguous", "a"], ["skipped", "s"]];
    this.kinds = kinds.map(([kind, key]) => button(t(`misreads.${kind}`), key, () => act.decide(kind), { "data-kind": kind, title: t(`misreads.${kind}-help`) }));
    this.labels = this.#classChoice(button);
    root.replaceChildren(
      make("div", { class: "triage-bar" }, this.previous, this.place, this.next),
      this.facts,
      make(
        "div",
        { class: "triage-decide" },
        make("div", { class: "choice" }, ...this.kinds),
        make("p", { class: "quiet triage-fix" }, t("misreads.fixed-help")),
        this.labels,
        this.state,
      ),
    );
  }
  #classChoice(button) {
    const { t, classes, act } = this;
    if (classes.length <= BUTTONS) {
      const buttons = classes.map((name, k) => button(name, name === String(k) ? "" : String(k), () => act.decide("fixed", name), { "data-label": name }));
      return make("div", { class: "choice triage-classes", role: "group", "aria-label": t("misreads.right-label") }, ...buttons);
    }
    const names = make("datalist", { id: "class-names" }, ...classes.map((value) => make("option", { value })));
    this.search = make("input", { list: "class-names", autocomplete: "off", "aria-label": t("misreads.right-label"), placeholder: t("misreads.right-label") });
    const form = make("form", { class: "choice triage-classes" }, this.search, names, make("button", { type: "submit" }, t("misreads.fix")));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#take(this.search.value.trim());
    });
    return form;
  }
  /** Takes the class that a text names: as it is, in another case, or as the only one that begins with it. */
  #take(text) {
    const { classes, t } = this;
    const begins = classes.filter((name) => name.toLowerCase().startsWith(text.toLowerCase()));
    const found = classes.includes(text) ? text : text && begins.length === 1 ? begins[0] : begins.find((name) => name.toLowerCase() === text.toLowerCase());
    if (!text || !found) {
      this.state.textContent = t("misreads.no-class", { name: text });
      return;
    }
    this.search.value = "";
    this.search.blur();
    this.act.decide("fixed", found);
  }
  /** Begins to type a class, where there are too many for buttons. */
  type() {
    this.search?.focus();
  }
  /** items, place: the image. decision: on it. at, count: where it is in the list. */
  show(items, place, decision, at, count) {
    const { t } = this;
    const { label } = items.at(place);
    this.facts.replaceChildren(facts(items, place, { t }));
    this.place.textContent = t("gallery.place", { at: at + 1, n: count });
    this.previous.disabled = at <= 0;
    this.next.disabled = at >= count - 1;
    this.showDecision(decision, items.className(label));
  }
  showDecision(decision, label) {
    const { t } = this;
    for (const button of this.kinds) button.setAttribute("aria-pressed", String(button.dataset.kind === decision.kind));
    for (const button of this.labels.querySelectorAll("[data-label]")) {
      button.setAttribute("aria-pressed", String(decision.kind === "fixed" && button.dataset.label === decision.label));
      button.disabled = button.dataset.label === label;
    }
    const texts = { fixed: t("misreads.state.fixed", { label: decision.label }), "": t("misreads.state.none") };
    this.state.textContent = texts[decision.kind] ?? t(`misreads.state.${decision.kind}`);
  }
}

/** A short mark of a decision, for a tile. */
export const markOf = ({ kind, label }) => ({ fixed: `✓ ${label}`, ambiguous: "?", kept: "=", skipped: "…" })[kind] ?? "";
