// The misread images of a run, and others whose labels may be wrong: filters, causes, and decisions on labels by keyboard.

import { foundCauses } from "../components/causes.js";
import { Decisions } from "../components/decisions.js";
import { byId, make } from "../components/elements.js";
import { Gallery } from "../components/gallery.js";
import { galleryTools } from "../components/gallery_tools.js";
import { heldOutLabels, howToHoldOut } from "../components/held_out.js";
import { Items } from "../components/items.js";
import { unpackRows } from "../components/rows.js";
import { KINDS, markOf, Triage } from "../components/triage.js";
import { undoKeys } from "../components/undo_keys.js";

class MisreadsRoom {
  #end = new AbortController();
  #gallery = null;
  #galleryEnd = null;
  #place = -1;

  constructor(root, studio) {
    Object.assign(this, { root, studio, t: studio.t, run: studio.run });
    const { address } = studio;
    this.split = this.run.splits.includes(address.read().get("split")) ? address.read().get("split") : "test";
    this.list = ["misread", "doubtful", "chosen"].includes(address.read().get("list")) ? address.read().get("list") : "misread";
    this.decisions = new Decisions(studio.server, this.run.id, {
      onChange: (hashes) => this.#decided(hashes),
      onProblem: (problem, other) => this.#problem(problem, other),
    });
    this.#build();
    this.#keys();
    address.onChange((state) => this.#restore(state));
    this.#load();
  }

  leave() {
    this.#end.abort();
    this.#galleryEnd?.abort();
    this.decisions.close();
  }

  #build() {
    const { t, run } = this;
    const option = (value, text) => make("option", { value }, text);
    this.lists = make("select", { id: "list" }, ...["misread", "doubtful", "chosen"].map((id) => option(id, t(`misreads.list.${id}`))));
    this.splits = make("select", { id: "split" }, ...run.splits.map((id) => option(id, t(`misreads.split.${id}`))));
    this.lists.value = this.list;
    this.splits.value = this.split;
    const button = (id, text, act) => {
      const made = make("button", { type: "button", id }, text);
      made.addEventListener("click", act);
      return made;
    };
    this.undo = button("undo", t("misreads.undo"), () => this.#undo());
    this.redo = button("redo", t("misreads.redo"), () => this.#redo());
    this.train = button("train-again", t("misreads.train.none"), () => this.#trainAgain());
    for (const one of [this.undo, this.redo, this.train]) one.disabled = true; // until there are decisions
    this.progress = make("p", { id: "progress", role: "status" });
    this.note = make("p", { class: "quiet", id: "causes-state", role: "status" });
    this.body = make("div", { class: "misreads" });
    const label = (text, element) => make("label", {}, text, " ", element);
    this.root.replaceChildren(
      make("h1", {}, t("misreads.title")),
      make("p", { class: "quiet" }, t("misreads.help")),
      make("div", { class: "tools misreads-bar" }, label(t("misreads.list"), this.lists), label(t("misreads.split"), this.splits), this.progress, this.undo, this.redo, this.train),
      this.note,
      this.body,
    );
    const choose = () => {
      this.studio.address.write({ list: this.lists.value === "misread" ? "" : this.lists.value, split: this.splits.value === "test" ? "" : this.splits.value, image: "" }, { push: true });
      this.#restore(this.studio.address.read());
    };
    for (const select of [this.lists, this.splits]) select.addEventListener("change", choose);
  }

  #keys() {
    const { studio, run } = this;
    const add = (key, text, act) => studio.keys.add(key, text, act);
    add("m", "misreads.key.kept", () => this.#decide("kept"));
    add("a", "misreads.key.ambiguous", () => this.#decide("ambiguous"));
    add("s", "misreads.key.skipped", () => this.#decide("skipped"));
    add("Backspace", "misreads.key.none", () => this.#decide(""));
    add("u", "misreads.key.undo", () => this.#undo());
    add("r", "misreads.key.redo", () => this.#redo());
    add("j", "misreads.key.next", () => this.#step(1));
    add("k", "misreads.key.previous", () => this.#step(-1));
    const names = run.data.class_names;
    if (names.length > 10) add("l", "misreads.key.type", () => this.triage?.type());
    else names.forEach((name, k) => add(String(k), "misreads.key.label", () => this.#decide("fixed", name)));
    this.#end.signal.addEventListener("abort", undoKeys(() => this.#undo(), () => this.#redo()));
  }

  #restore(state) {
    const [list, split] = [state.get("list") ?? "misread", state.get("split") ?? "test"];
    if (list !== this.list || split !== this.split || (list === "chosen" && state.get("rows") !== this.rows)) {
      Object.assign(this, { list, split });
      this.lists.value = list;
      this.splits.value = split;
      return this.#load();
    }
    this.#gallery?.restore(state);
    const place = state.has("image") && this.items ? this.items.find(Number(state.get("image"))) : -1;
    if (place >= 0) this.#show(place);
  }

  /** Loads the list that is chosen; for misread images first without causes, then with them. */
  async #load() {
    const { studio, t, list, split, run } = this;
    const path = `/api/runs/${run.id}`;
    this.rows = studio.address.read().get("rows");
    const rows = unpackRows(this.rows ?? "");
    this.note.textContent = t("misreads.loading");
    try {
      if (list === "doubtful" && split === "train") return await this.#loadHeldOut(list, split);
      const query = list === "chosen" ? `rows=${rows.join(",")}` : `list=${list}`;
      const data = await studio.server.get(`${path}/misreads/${split}?${query}`);
      if (!this.#current(list, split)) return;
      this.#fill(data);
      if (list === "misread" && data.positions.length) await this.#loadCauses(list, split);
    } catch (error) {
      if (this.#current(list, split)) this.#fail(error);
    }
  }

  /** The network repeats the labels that it trained on, so that others have to judge these. */
  async #loadHeldOut(list, split) {
    const { studio, t, run } = this;
    const found = await heldOutLabels(studio.server, run.id, {
      wanted: () => this.#current(list, split),
      waiting: (share) => {
        this.#clear();
        this.note.textContent = t("misreads.holding-out", { share });
      },
      missing: (command) => this.#clear(howToHoldOut(studio, command, () => this.#load())),
    });
    if (!found) return;
    this.#fill(found);
    this.note.textContent = t("misreads.held-out", { n: found.doubted });
  }

  /** Shows something instead of a list. */
  #clear(instead = make("div", {})) {
    Object.assign(this, { items: null, triage: null });
    this.#place = -1;
    this.#gallery = null;
    this.note.textContent = "";
    this.body.replaceChildren(instead);
    this.#count();
  }

  async #loadCauses(list, split) {
    const found = await foundCauses(this.studio.server, this.run.id, split, {
      wanted: () => this.#current(list, split),
      waiting: (seconds) => (this.note.textContent = this.t("misreads.finding-causes", { seconds })),
    });
    if (found) this.#fill(found);
  }

  #current(list, split) {
    return !this.#end.signal.aborted && this.list === list && this.split === split;
  }

  #fail(error) {
    this.note.textContent = error.message;
    if (!this.items) this.body.replaceChildren();
  }

  /** Shows a list; the image that was shown stays, if it is in it. */
  #fill(data) {
    const { t, studio } = this;
    const shown = this.items && this.#place >= 0 ? this.items.columns.index[this.#place] : Number(studio.address.read().get("image") ?? -1);
    this.#galleryEnd?.abort();
    this.#galleryEnd = new AbortController();
    this.items = new Items(data);
    this.positions = data.positions;
    this.note.textContent = "";
    if (!data.positions.length) {
      return this.#clear(make("div", { class: "empty" }, make("p", {}, t(`misreads.empty.${this.list}`))));
    }
    this.seen = make("select", { id: "by-decision" }, ...["", "none", ...KINDS].map((value) => make("option", { value }, t(`misreads.seen.${value || "all"}`))));
    const panel = make("aside", { class: "triage", "aria-label": t("misreads.panel") });
    this.body.replaceChildren(
      make(
        "div",
        { class: "misreads-list", id: "gallery" },
        galleryTools(t, { withFiles: Boolean(data.items.file), more: [make("label", {}, t("misreads.seen"), " ", this.seen)] }),
        make("p", { id: "count", role: "status" }),
        make("ul", { class: "tiles", id: "tiles" }),
      ),
      panel,
    );
    this.triage = new Triage(panel, t, this.items.classes, { decide: (kind, label) => this.#decide(kind, label), step: (by) => this.#step(by) });
    this.#gallery = new Gallery(this.items, data.positions.map((_, place) => place), (places, place) => this.#show(place), {
      address: studio.address,
      t,
      keep: (place) => this.#kept(place),
      dress: (button, place) => this.#mark(button, place),
      signal: this.#galleryEnd.signal,
    });
    this.seen.addEventListener("change", () => this.#gallery.update());
    byId("by-cause").parentElement.hidden = !this.items.data.causes;
    const place = this.items.find(shown);
    this.#show(place >= 0 ? place : (this.#gallery.shown[0] ?? 0));
    this.#count();
  }

  #hash(place) {
    return this.items.columns.hash[place];
  }

  /** Whether the filter of decisions shows an image. */
  #kept(place) {
    const { kind } = this.decisions.of(this.#hash(place));
    return !this.seen?.value || this.seen.value === (kind || "none");
  }

  #mark(button, place) {
    const mark = markOf(this.decisions.of(this.#hash(place)));
    button.querySelector(".mark")?.remove();
    if (mark) button.append(make("span", { class: "mark" }, mark));
    button.setAttribute("aria-current", String(place === this.#place));
  }

  #markAll(places) {
    for (const place of places) {
      const button = byId("tiles")?.querySelector(`[data-item="${place}"]`);
      if (button) this.#mark(button, place);
    }
  }

  /** Shows an image in the panel. */
  #show(place) {
    if (place < 0 || !this.triage) return;
    const before = this.#place;
    this.#place = place;
    const list = this.#gallery.shown;
    this.triage.show(this.items, place, this.decisions.of(this.#hash(place)), list.indexOf(place), list.length);
    this.#markAll([before, place]);
    this.studio.address.write({ image: String(this.items.columns.index[place]) });
  }

  #step(by) {
    const { shown } = this.#gallery ?? { shown: [] };
    const next = shown[shown.indexOf(this.#place) + by];
    if (next !== undefined) this.#show(next);
  }

  #decide(kind, label = "") {
    if (this.#place < 0 || !this.triage) return;
    const place = this.#place;
    const old = this.items.className(this.items.columns.label[place]);
    const [wanted, name] = kind === "fixed" && label === old ? ["kept", ""] : [kind, label];
    const { shown } = this.#gallery;
    const at = shown.indexOf(place);
    const image = { split: this.split, position: this.positions[place], hash: this.#hash(place) };
    this.decisions.decide(image, wanted, name);
    if (!wanted) return;
    const open = [...shown.slice(at + 1), ...shown.slice(0, Math.max(at, 0))].find((p) => !this.decisions.of(this.#hash(p)).kind);
    if (open !== undefined) this.#show(open);
    else this.studio.say(this.t("misreads.all-seen"));
  }

  #undo() {
    this.#showImage(this.decisions.undo());
  }
  #redo() {
    this.#showImage(this.decisions.redo());
  }
  #showImage(image) {
    const place = image ? this.items.columns.hash.indexOf(image.hash) : -1;
    if (place >= 0) this.#show(place);
  }

  #decided(hashes) {
    if (!this.items?.columns.hash) return;
    const changed = new Set(hashes);
    const places = this.items.columns.hash.flatMap((hash, place) => (changed.has(hash) ? [place] : []));
    this.#markAll(places);
    if (places.includes(this.#place)) {
      const label = this.items.className(this.items.columns.label[this.#place]);
      this.triage?.showDecision(this.decisions.of(this.#hash(this.#place)), label);
    }
    this.#count();
  }

  #problem(problem, other) {
    const text = problem === "conflict" ? this.t("misreads.conflict", { what: this.#said(other) }) : problem.message;
    this.studio.say(text, { error: true });
  }

  #said({ kind, label }) {
    return kind === "fixed" ? this.t("misreads.state.fixed", { label }) : this.t(`misreads.state.${kind || "none"}`);
  }

  #count() {
    const { t, items, decisions } = this;
    const hashes = items?.columns.hash ?? [];
    const looked = hashes.filter((hash) => decisions.of(hash).kind).length;
    this.progress.textContent = hashes.length ? t("misreads.progress", { looked, n: hashes.length }) : "";
    const fixed = [...decisions.made.values()].filter(({ kind }) => kind === "fixed").length;
    this.train.textContent = fixed ? t("misreads.train", { n: fixed }) : t("misreads.train.none");
    this.train.disabled = fixed === 0;
    this.undo.disabled = !decisions.canUndo;
    this.redo.disabled = !decisions.canRedo;
  }

  async #trainAgain() {
    const { server, go, say } = this.studio;
    this.train.disabled = true;
    try {
      await this.decisions.written();
      const { id } = await server.post("/api/trainings", { again: this.run.id, patch: true });
      go("train", { training: id });
    } catch (error) {
      say(error.message, { error: true });
    } finally {
      this.train.disabled = false;
    }
  }
}

export const misreads = {
  id: "misreads",
  needs: "run",
  mount(root, studio) {
    const room = new MisreadsRoom(root, studio);
    return () => room.leave();
  },
};
