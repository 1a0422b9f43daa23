// Buttons and fields with a text of the message catalogue, and a sentence that explains them.

import { make } from "./elements.js";

/** A button. key: of its text; the text of `${key}-title` explains it. */
export function button(t, key, action, attributes = {}) {
  const element = make("button", { type: "button", title: t(`${key}-title`), ...attributes }, t(key));
  element.addEventListener("click", action);
  return element;
}

/** A label around a field, with its explanation. */
export const field = (t, key, input) => make("label", { title: t(`${key}-title`) }, t(key), input);

/** A list of options: [value, text]. */
export const select = (options, attributes = {}) =>
  make("select", attributes, ...options.map(([value, text]) => make("option", { value }, text)));

/** A heading, a sentence, and what follows, as one part of a room. */
export const panel = (t, key, ...children) =>
  make("section", { class: "panel", "aria-label": t(key) }, make("h2", {}, t(key)), make("p", { class: "quiet" }, t(`${key}-note`)), ...children);

/** Buttons of which one is pressed. options: [value, key of the text]. change: called with the value. */
export function choice(t, options, value, change) {
  const buttons = options.map(([option, key]) => {
    const element = button(t, key, () => show(option), { "data-value": option });
    return element;
  });
  function show(chosen, quietly) {
    for (const element of buttons) element.setAttribute("aria-pressed", String(element.dataset.value === chosen));
    if (!quietly) change(chosen);
  }
  show(value, true);
  return Object.assign(make("span", { class: "choice", role: "group" }, ...buttons), { show: (option) => show(option, true) });
}
