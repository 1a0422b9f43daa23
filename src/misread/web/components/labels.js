// Decisions on labels, stored by the hash of the image, and the patch made of them.

import { byId, make, percent, storage } from "./elements.js";
import { tile } from "./tiles.js";

const DECISIONS = "misread-decisions";
const CARDS = 24; // drawn at a time: each has a list of all classes

export class Labels {
  constructor(items, t) {
    Object.assign(this, { items, t });
    this.places = new Map((items.columns.hash ?? []).map((hash, place) => [hash, place]));
    this.made = new Map(
      Object.entries(storage.read(DECISIONS) ?? {}).filter(
        ([hash, made]) => this.places.has(hash) && typeof made === "object" && items.classes.includes(made?.label),
      ),
    );
  }
  decide(hash, made) {
    const all = storage.read(DECISIONS) ?? {}; // another page may have written since
    if (made) {
      this.made.set(hash, made);
      all[hash] = made;
    } else {
      this.made.delete(hash);
      delete all[hash];
    }
    storage.write(DECISIONS, all);
    this.show();
  }
  label(hash) {
    return this.items.className(this.items.columns.label[this.places.get(hash)]);
  }
  get fixes() {
    return [...this.made].filter(([hash, made]) => made.label !== this.label(hash));
  }
  get patch() {
    const by = byId("by").value.trim();
    const lines = this.fixes.map(([image, made]) =>
      JSON.stringify({ image, old: this.label(image), new: made.label, by, at: made.at, note: made.note ?? "" }),
    );
    return lines.map((line) => `${line}\n`).join("");
  }
  /** The buttons that decide on one label: take the suggestion, another class, or keep it; and a note. */
  decision(place, suggested) {
    const { items, made, t } = this;
    const { hash, label } = items.at(place);
    const old = items.className(label);
    const offer = items.className(suggested);
    const set = (name) =>
      this.decide(hash, made.get(hash)?.label === name ? null : { label: name, note: note.value, at: new Date().toISOString() });
    const button = (text, name) => {
      const element = make("button", { type: "button", "data-decide": name }, text);
      element.addEventListener("click", () => set(name));
      return element;
    };
    const others = make("select", { "aria-label": t("report.labels.another") }, make("option", { value: "" }, t("report.labels.other")));
    for (const name of items.classes) {
      if (name !== old && name !== offer) others.append(make("option", { value: name }, name));
    }
    others.addEventListener("change", () => others.value !== "" && set(others.value));
    const note = make("input", { maxlength: "300", placeholder: t("report.labels.why"), value: made.get(hash)?.note ?? "" });
    note.addEventListener("change", () => made.has(hash) && this.decide(hash, { ...made.get(hash), note: note.value }));
    const group = make(
      "div",
      { class: "decision", role: "group", "aria-label": t("report.labels.of", { name: items.name(place, t) }), "data-hash": hash },
      make(
        "div",
        { class: "choice" },
        suggested === label ? null : button(t("report.labels.is", { name: offer }), offer),
        button(t("report.labels.keep", { name: old }), old),
        items.classes.length > 2 ? others : null,
      ),
      make("label", {}, `${t("report.labels.note")} `, note),
    );
    this.#showGroup(group);
    return group;
  }
  #showGroup(group) {
    const made = this.made.get(group.dataset.hash);
    for (const button of group.querySelectorAll("[data-decide]")) {
      button.setAttribute("aria-pressed", String(made?.label === button.dataset.decide));
    }
    const others = group.querySelector("select");
    if (others) others.value = [...others.options].some((option) => option.value === made?.label) ? made.label : "";
    const note = group.querySelector("input");
    if (document.activeElement !== note) note.value = made?.note ?? note.value;
    group.closest("li")?.toggleAttribute("data-decided", Boolean(made));
  }
  show() {
    for (const group of document.querySelectorAll("[data-hash]")) this.#showGroup(group);
    const fixed = this.fixes.length;
    byId("save").disabled = fixed === 0;
    byId("forget").disabled = this.made.size === 0;
    byId("decided").textContent = this.made.size
      ? this.t("report.labels.decided", { n: fixed, fixed, kept: this.made.size - fixed })
      : this.t("report.labels.none");
  }
}

/** The section of doubtful labels. doubtful: item, suggested and doubt of each. t: texts. open: enlarges an image. */
export function startDoubtful(labels, t, doubtful, open) {
  const { items } = labels;
  const list = byId("doubts");
  const more = byId("doubts-more");
  const places = doubtful.map((doubt) => doubt.item);
  const close = (place) => list.querySelector(`[data-item="${place}"]`)?.focus();
  const card = ({ item, suggested, doubt }) => {
    const question = t("report.labels.question", { label: items.className(items.columns.label[item]), suggested: items.className(suggested) });
    const group = labels.decision(item, suggested);
    group.prepend(make("p", {}, make("b", {}, question), make("span", { class: "quiet" }, ` ${t("report.labels.label", { share: percent(doubt, 2) })}`)));
    return make("li", {}, tile(items, item, (place) => open(places, place, close), { t, more: items.name(item, t) }), group);
  };
  const grow = () => {
    const first = list.children.length;
    list.append(...doubtful.slice(first, first + CARDS).map(card));
    const left = doubtful.length - list.children.length;
    more.hidden = left === 0;
    more.textContent = left > CARDS ? t("report.labels.more-of", { n: CARDS, all: left }) : t("report.labels.more", { n: left });
    labels.show();
    return list.children[first];
  };
  grow();
  more.addEventListener("click", () => grow().querySelector("button").focus());

  const by = byId("by");
  by.value = storage.read("misread-by") ?? "";
  by.addEventListener("change", () => storage.write("misread-by", by.value.trim()));
  byId("forget").addEventListener("click", () => {
    for (const hash of [...labels.made.keys()]) labels.decide(hash, null);
    for (const note of document.querySelectorAll("[data-hash] input")) note.value = "";
  });
  byId("save").addEventListener("click", () => {
    const file = new Blob([labels.patch], { type: "application/jsonl" });
    const link = make("a", { href: URL.createObjectURL(file), download: "labels.jsonl" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}
