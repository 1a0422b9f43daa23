// A dialog that asks for one text.

import { make } from "./elements.js";

/** Resolves to the text, or to null if the reader cancels. lines: of the field. */
export function askText({ title, label, value, longest, save, cancel, lines = 1 }) {
  const field = make(lines > 1 ? "textarea" : "input", { maxlength: longest, rows: lines > 1 ? lines : null, id: "ask-text" });
  field.value = value;
  const form = make(
    "form",
    { method: "dialog" },
    make("h2", { id: "ask-title" }, title),
    make("label", { for: "ask-text", class: "quiet" }, label),
    field,
    make("div", { class: "choice" }, make("button", { class: "main", value: "save" }, save), make("button", { type: "button", id: "ask-cancel" }, cancel)),
  );
  const dialog = make("dialog", { class: "form", "aria-labelledby": "ask-title" }, form);
  dialog.querySelector("#ask-cancel").addEventListener("click", () => dialog.close(""));
  document.body.append(dialog);
  dialog.showModal();
  field.select();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "save" ? field.value : null);
    });
  });
}
