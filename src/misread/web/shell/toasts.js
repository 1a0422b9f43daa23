// Short messages at the bottom of the page, which screen readers say too.

import { make } from "../components/elements.js";

const SHORT = 6000; // ms
const WITH_ACTION = 20000;

/** A function say(text, {error, action: {label, run}}). It shows a text for some seconds, with a button for an action. */
export function toasts(list, closeText) {
  return function say(text, { error = false, action = null } = {}) {
    const close = make("button", { type: "button", class: "quiet", "aria-label": closeText }, "✕");
    const toast = make("div", { class: error ? "toast error" : "toast" }, make("p", {}, text));
    const remove = () => toast.remove();
    if (action) {
      const button = make("button", { type: "button" }, action.label);
      button.addEventListener("click", () => {
        remove();
        action.run();
      });
      toast.append(button);
    }
    close.addEventListener("click", remove);
    toast.append(close);
    list.append(toast);
    while (list.children.length > 3) list.firstElementChild.remove();
    setTimeout(remove, action || error ? WITH_ACTION : SHORT);
  };
}
