// The state of the page in its address, after the #, so that a view can be linked.

/** The state as URLSearchParams; empty if the address names a section or nothing. */
export function readAddress() {
  const text = location.hash.slice(1);
  return new URLSearchParams(text.includes("=") ? text : "");
}

/** Sets values in the address; an empty one removes its name. It makes no entry in the browser's history. */
export function writeAddress(values) {
  const state = readAddress();
  const before = state.toString();
  for (const [name, value] of Object.entries(values)) {
    if (value) state.set(name, value);
    else state.delete(name);
  }
  const after = state.toString();
  if (after === before) return;
  try {
    history.replaceState(history.state, "", after ? `#${after}` : location.href.split("#")[0]);
  } catch {
    // some browsers refuse it to embedded pages, or when it is called very often
  }
}

/** Calls `show` with the state when the reader changes the address. */
export function onAddress(show) {
  addEventListener("hashchange", () => {
    if (location.hash.includes("=")) show(readAddress());
  });
}
