// The button for the dark and the light theme.

import { storage } from "./elements.js";

export function startTheme(button) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : system.matches;
  };
  function show(name) {
    if (name) document.documentElement.dataset.theme = name;
    button.setAttribute("aria-pressed", String(isDark()));
  }
  button.addEventListener("click", () => {
    const name = isDark() ? "light" : "dark";
    storage.write("misread-theme", name);
    show(name);
  });
  system.addEventListener("change", () => show(null));
  const stored = storage.read("misread-theme");
  show(stored === "dark" || stored === "light" ? stored : null);
}
