// What to do where there is no run yet.

import { make } from "./elements.js";

/** toTrain: called when the reader wants to train. heading: an element to begin with, or none. */
export function noRun(t, toTrain, heading = null) {
  const train = make("button", { type: "button", class: "main" }, t("shell.to-train"));
  train.addEventListener("click", toTrain);
  const command = make("p", { class: "quiet" }, t("shell.no-run-command"), " ", make("code", {}, "misread train mnist"));
  return make("div", { class: "empty" }, heading, make("p", {}, t("shell.no-run-help")), train, command);
}
