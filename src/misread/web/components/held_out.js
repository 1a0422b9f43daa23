// Doubtful labels of the images that a run trained on: found by networks that did not, which takes a cross-validation.

import { make } from "./elements.js";

const POLL = 800; // ms between questions

const heldOutPath = (run) => `/api/runs/${run}/held-out`;

/**
 * The server's list, or null if it is no longer wanted or cannot be made yet.
 * wanted: whether it still is. waiting: called with the share of the cross-validation that is done, in percent.
 * missing: called with the command that makes the predictions, if there are none.
 */
export async function heldOutLabels(server, run, { wanted, waiting, missing }) {
  for (;;) {
    const data = await server.get(heldOutPath(run));
    if (!wanted()) return null;
    if (data.items) return data;
    if (data.command) {
      missing(data.command);
      return null;
    }
    waiting(Math.floor(100 * data.progress));
    await new Promise((wait) => setTimeout(wait, POLL));
  }
}

/** What the room shows while there are no held-out predictions. begun: called when the cross-validation was started. */
export function howToHoldOut(studio, command, begun) {
  const { t, server, run, say } = studio;
  const start = make("button", { type: "button", class: "main", id: "hold-out" }, t("misreads.hold-out"));
  start.addEventListener("click", async () => {
    start.disabled = true;
    try {
      await server.post(heldOutPath(run.id));
      begun();
    } catch (error) {
      say(error.message, { error: true });
      start.disabled = false;
    }
  });
  return make(
    "div",
    { class: "empty" },
    make("p", {}, t("misreads.held-out-why")),
    make("p", {}, start),
    make("p", { class: "quiet" }, t("misreads.held-out-command"), " ", make("code", {}, command)),
  );
}
