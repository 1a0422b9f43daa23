// All runs in a table: sort, filter, rename, note, delete and restore, open the report, compare two.

import { make } from "../components/elements.js";
import { noRun } from "../components/no_run.js";
import { showComparison } from "../components/run_comparison.js";
import { askText } from "../components/ask_text.js";
import { runName } from "../components/run_name.js";

const COLUMNS = [
  { id: "name", value: (run) => runName(run).toLowerCase(), text: true },
  { id: "accuracy", value: (run) => run.accuracy },
  { id: "misread", value: (run) => run.misread },
  { id: "seconds", value: (run) => run.seconds },
  { id: "date", value: (run) => run.date },
];
const FIRST = "-date"; // the newest first; "-" is descending

export const runs = {
  id: "runs",
  needs: "server",
  mount(root, studio) {
    const room = new Runs(root, studio);
    room.load();
    const stop = studio.address.onChange(() => room.restore());
    const reload = setInterval(() => document.hidden || room.isBusy || room.load(), 5000); // a run may be added elsewhere
    return () => {
      stop();
      clearInterval(reload);
      room.close();
    };
  },
};

class Runs {
  #rows = null;
  #deleted = [];
  #shown = ""; // the content of the table, to leave it alone if nothing changed
  #compared = "";
  #closed = false;
  isBusy = false; // the reader is in a dialog

  constructor(root, studio) {
    this.studio = studio;
    const { t } = studio;
    this.format = {
      percent: new Intl.NumberFormat(studio.lang, { style: "percent", minimumFractionDigits: 2, maximumFractionDigits: 2 }),
      seconds: new Intl.NumberFormat(studio.lang, { maximumFractionDigits: 1 }),
      date: new Intl.DateTimeFormat(studio.lang, { dateStyle: "medium", timeStyle: "short" }),
    };
    this.search = make("input", { type: "search", id: "runs-search", autocomplete: "off" });
    this.search.addEventListener("input", () => this.#write({ q: this.search.value }));
    this.count = make("p", { class: "quiet", role: "status", "aria-live": "polite" });
    this.compare = make("button", { type: "button", class: "main", id: "runs-compare" }, t("runs.compare"));
    this.compare.addEventListener("click", () => this.#startComparison());
    this.table = make("div");
    this.trash = make("details", { class: "trash", hidden: "" });
    this.comparison = make("div", { id: "runs-comparison" });
    root.replaceChildren(
      make("h1", {}, t("runs.title")),
      make("div", { class: "tools" }, make("label", {}, t("runs.search"), this.search), this.compare, this.count),
      this.table,
      this.comparison,
      this.trash,
    );
    studio.keys.add("/", "runs.key-search", () => this.search.focus());
    studio.keys.add("c", "runs.key-compare", () => this.#startComparison());
    this.chosen = new Set(["a", "b"].map((name) => studio.address.read().get(name)).filter(Boolean));
  }

  close() {
    this.#closed = true;
  }

  async load() {
    const { server } = this.studio;
    try {
      [this.#rows, this.#deleted] = await Promise.all([server.get("/api/runs"), server.get("/api/runs?deleted=1")]);
    } catch (error) {
      if (this.#rows === null && !this.#closed) this.table.replaceChildren(make("p", { class: "note" }, error.message));
      return;
    }
    if (!this.#closed) this.restore();
  }

  /** Shows what the address says. */
  restore() {
    if (this.#rows === null) return;
    const state = this.studio.address.read();
    if (document.activeElement !== this.search) this.search.value = state.get("q") ?? "";
    const ids = new Set(this.#rows.map((run) => run.id));
    this.chosen = new Set([...this.chosen].filter((id) => ids.has(id)));
    this.#draw(state);
    this.#drawTrash();
    this.#showCompared(state);
  }

  #write(values) {
    this.studio.address.write(values);
    this.restore();
  }

  #listed(state) {
    const words = (state.get("q") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    const found = this.#rows.filter((run) => {
      const text = [runName(run), run.name, run.note, run.recipe, run.data].join(" ").toLowerCase();
      return words.every((word) => text.includes(word));
    });
    const sort = state.get("sort") || FIRST;
    const column = COLUMNS.find(({ id }) => id === sort.replace("-", "")) ?? COLUMNS.at(-1);
    const sign = sort.startsWith("-") ? -1 : 1;
    return found.sort((one, other) => {
      const [x, y] = [column.value(one), column.value(other)];
      if (x === null || y === null) return (x === null) - (y === null); // what has no value comes last
      return sign * (typeof x === "number" ? x - y : x.localeCompare(y, this.studio.lang, { numeric: true }));
    });
  }

  #draw(state) {
    const { t } = this.studio;
    const listed = this.#listed(state);
    const sort = state.get("sort") || FIRST;
    const content = JSON.stringify([listed, sort, [...this.chosen]]);
    if (content === this.#shown) return;
    this.#shown = content;
    this.compare.disabled = this.chosen.size !== 2;
    this.count.textContent = !this.#rows.length
      ? ""
      : this.chosen.size === 2 || !this.chosen.size
        ? t("runs.count", { n: listed.length })
        : t("runs.choose-second");
    if (!this.#rows.length) return this.table.replaceChildren(noRun(t, () => this.studio.go("train")));
    const focus = document.activeElement?.closest?.("#room-runs table") && document.activeElement.dataset.focus;
    const body = make("tbody", {}, ...listed.map((run) => this.#row(run)));
    const table = make("table", { class: "numbers sortable", id: "runs-table" }, this.#head(sort), body);
    this.table.replaceChildren(table);
    if (focus) table.querySelector(`[data-focus="${CSS.escape(focus)}"]`)?.focus();
  }

  #head(sort) {
    const { t } = this.studio;
    const heads = COLUMNS.map(({ id, text }) => {
      const here = sort.replace("-", "") === id ? (sort.startsWith("-") ? "descending" : "ascending") : null;
      const button = make("button", { type: "button", "data-focus": `sort-${id}` }, t(`runs.column.${id}`));
      button.addEventListener("click", () => {
        const down = here ? here === "ascending" : !text;
        this.#write({ sort: `${down ? "-" : ""}${id}` });
      });
      return make("th", { scope: "col", class: text ? "text" : null, "aria-sort": here }, button);
    });
    const hidden = (key) => make("th", { scope: "col" }, make("span", { class: "hidden" }, t(key)));
    return make("thead", {}, make("tr", {}, hidden("runs.column.choose"), ...heads, hidden("runs.column.actions")));
  }

  #row(run) {
    const { t, run: selected } = this.studio;
    const known = run.accuracy !== null;
    const cell = (id, text, detail = "") =>
      make("td", { "data-label": t(`runs.column.${id}`), class: text ? null : "none" }, text, detail && make("small", { class: "quiet" }, ` ${detail}`));
    const { percent, seconds, date } = this.format;
    const details = [run.title ? `${run.recipe}, ${run.data}` : "", run.name].filter(Boolean).join(" · ");
    return make(
      "tr",
      { "data-run": run.id, class: selected?.id === run.id ? "selected" : null },
      make("td", { class: "choose" }, known ? this.#check(run) : ""),
      make(
        "th",
        { scope: "row", class: "text" },
        known ? this.#link(run) : make("strong", {}, runName(run)),
        make("small", { class: "quiet" }, details),
        run.status === "complete" ? null : make("span", { class: "chip" }, t(`runs.status.${run.status}`)),
        run.error ? make("small", { class: "wrong problem" }, run.error) : null,
        run.note ? make("p", { class: "run-note" }, run.note) : null,
      ),
      cell("accuracy", known ? percent.format(run.accuracy) : "", known ? `${percent.format(run.accuracy_low)}–${percent.format(run.accuracy_high)}` : ""),
      cell("misread", known ? t("runs.misread-of", { misread: run.misread, n: run.n }) : ""),
      cell("seconds", run.seconds === null ? "" : t("runs.seconds", { seconds: seconds.format(run.seconds) })),
      cell("date", run.date ? date.format(new Date(run.date.replace(/([+-]\d\d)(\d\d)$/, "$1:$2"))) : ""),
      make("td", { class: "actions" }, ...this.#actions(run, known)),
    );
  }

  #check(run) {
    const { t } = this.studio;
    const box = make("input", { type: "checkbox", "aria-label": t("runs.choose", { name: runName(run) }), "data-focus": `check-${run.id}` });
    box.checked = this.chosen.has(run.id);
    box.addEventListener("change", () => {
      if (box.checked) this.chosen.add(run.id);
      else this.chosen.delete(run.id);
      while (this.chosen.size > 2) this.chosen.delete([...this.chosen][0]);
      this.restore();
    });
    return box;
  }

  #link(run) {
    const here = this.studio.run?.id === run.id;
    const values = new URLSearchParams({ room: "runs", run: run.id });
    return make("a", { href: `#${values}`, "aria-current": here ? "true" : null, "data-focus": `name-${run.id}` }, runName(run));
  }

  #actions(run, known) {
    const { t } = this.studio;
    const button = (key, action) => {
      const found = make("button", { type: "button", class: "quiet", "data-focus": `${key}-${run.id}`, "aria-label": `${t(key)}: ${runName(run)}` }, t(key));
      found.addEventListener("click", action);
      return found;
    };
    const report = make("a", { href: `/reports/${run.id}?lang=${this.studio.lang}`, target: "_blank", rel: "noopener", "aria-label": `${t("runs.report")}: ${runName(run)}` }, t("runs.report"));
    return [
      ...(known ? [report, button("runs.rename", () => this.#rename(run)), button("runs.note", () => this.#note(run))] : []),
      ...(run.status === "running" ? [] : [button("runs.delete", () => this.#delete(run))]),
    ];
  }

  #drawTrash() {
    const { t } = this.studio;
    this.trash.hidden = this.#deleted.length === 0;
    const lines = this.#deleted.map((run) => {
      const restore = make("button", { type: "button", "aria-label": `${t("runs.restore")}: ${runName(run)}` }, t("runs.restore"));
      restore.addEventListener("click", () => this.#restoreRun(run));
      return make("li", {}, make("span", {}, `${runName(run)} `, make("small", { class: "quiet" }, run.name)), restore);
    });
    this.trash.replaceChildren(
      make("summary", {}, t("runs.deleted", { n: this.#deleted.length })),
      make("p", { class: "quiet" }, t("runs.deleted-help")),
      make("ul", {}, ...lines),
    );
  }

  async #rename(run) {
    const { t } = this.studio;
    const title = await this.#ask({ title: t("runs.rename"), label: t("runs.new-name"), value: run.title, longest: 120 });
    if (title !== null) await this.#change(run, "rename", { title });
  }

  async #note(run) {
    const { t } = this.studio;
    const note = await this.#ask({ title: t("runs.note"), label: runName(run), value: run.note, longest: 4000, lines: 6 });
    if (note !== null) await this.#change(run, "note", { note });
  }

  async #ask(question) {
    const { t } = this.studio;
    this.isBusy = true;
    const answer = await askText({ ...question, save: t("runs.save"), cancel: t("runs.cancel") });
    this.isBusy = false;
    return answer;
  }

  async #delete(run) {
    const { t } = this.studio;
    if (!(await this.#change(run, "delete"))) return;
    const action = { label: t("runs.undo"), run: () => this.#restoreRun(run) };
    this.studio.say(t("runs.was-deleted", { name: runName(run) }), { action });
    if (this.studio.run?.id === run.id && !this.#closed) this.studio.go("runs", { run: "" });
  }

  #restoreRun(run) {
    return this.#change(run, "restore");
  }

  /** Posts a change and shows its result. Returns whether it was made. */
  async #change(run, what, body = {}) {
    try {
      await this.studio.server.post(`/api/runs/${run.id}/${what}`, body);
    } catch (error) {
      this.studio.say(error.message, { error: true });
      return false;
    }
    this.studio.runsChanged();
    await this.load();
    return true;
  }

  #startComparison() {
    if (this.chosen.size !== 2) return this.studio.say(this.studio.t("runs.choose-two"));
    const [b, a] = this.#rows.map((run) => run.id).filter((id) => this.chosen.has(id)); // the newest is first: what b changed
    this.studio.address.write({ a, b }, { push: true });
    this.restore();
    this.comparison.scrollIntoView({ block: "start" });
  }

  #showCompared(state) {
    const [a, b] = ["a", "b"].map((name) => this.#rows.find((run) => run.id === state.get(name)));
    const compared = a && b ? `${a.id} ${b.id}` : "";
    if (compared === this.#compared) return;
    this.#compared = compared;
    if (!compared) return this.comparison.replaceChildren();
    const close = () => this.#write({ a: "", b: "" });
    showComparison(this.comparison, this.studio, { ...a, shown: runName(a) }, { ...b, shown: runName(b) }, close);
  }
}
