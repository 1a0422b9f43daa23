// Keyboard shortcuts, and the list of them that "?" opens.

import { make } from "../components/elements.js";

const WRITING = "input:not([type=range]):not([type=checkbox]):not([type=radio]):not([type=button]), textarea, select, [contenteditable]";

export class Keys {
  #actions = new Map();

  constructor(t) {
    this.t = t;
    addEventListener("keydown", (event) => this.#press(event));
  }

  /** key: as KeyboardEvent.key has it. textKey: of the text that says what it does. Returns a function that removes it. */
  add(key, textKey, action) {
    const entry = { textKey, action };
    this.#actions.set(key, [...(this.#actions.get(key) ?? []), entry]);
    return () => {
      const rest = (this.#actions.get(key) ?? []).filter((one) => one !== entry);
      if (rest.length) this.#actions.set(key, rest);
      else this.#actions.delete(key);
    };
  }

  #press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.closest?.(WRITING) || document.querySelector("dialog[open]")) return;
    if (event.key === " " && event.target.closest?.("button, a, summary")) return; // it presses what has the focus
    if (event.key === "Enter" && event.target.closest?.("button, a, summary")) return;
    const entry = this.#actions.get(event.key)?.at(-1);
    if (!entry) return;
    event.preventDefault();
    entry.action(event);
  }

  /** Shows all shortcuts that work now. */
  show() {
    const rows = [...this.#actions].map(([key, entries]) =>
      make("tr", {}, make("th", { scope: "row" }, make("kbd", {}, nameOf(key))), make("td", {}, this.t(entries.at(-1).textKey))),
    );
    const close = make("button", { type: "button", class: "main" }, this.t("shell.close"));
    const dialog = make(
      "dialog",
      { class: "keys", "aria-labelledby": "keys-title" },
      make("h2", { id: "keys-title" }, this.t("shell.keys")),
      make("table", {}, make("tbody", {}, ...rows)),
      close,
    );
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  }
}

const NAMES = { " ": "Space", ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Escape: "Esc" };
const nameOf = (key) => NAMES[key] ?? key;
