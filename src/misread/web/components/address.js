// The state of the page in its address, after the #, so that a view can be linked.

/** The state as URLSearchParams; empty if the address names a section or nothing. */
export function readAddress() {
  const text = location.hash.slice(1);
  return new URLSearchParams(text.includes("=") ? text : "");
}

/** Sets values in the address; an empty one removes its name. push: with an entry in the browser's history. */
export function writeAddress(values, { push = false } = {}) {
  const state = readAddress();
  for (const [name, value] of Object.entries(values)) {
    if (value === null || value === undefined || value === "") state.delete(name);
    else state.set(name, value);
  }
  putAddress(state, push);
}

/** Makes a state the address. push: with an entry in the browser's history. */
export function putAddress(state, push) {
  const after = state.toString();
  if (after === readAddress().toString()) return;
  try {
    history[push ? "pushState" : "replaceState"](null, "", after ? `#${after}` : location.href.split("#")[0]);
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
