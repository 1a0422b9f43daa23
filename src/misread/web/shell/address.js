// The state of the page, in the address after the "#": names and values, "room=draw&run=...".

import { putAddress, readAddress, writeAddress } from "../components/address.js";

/** Reads and writes the address, and tells who listens when the reader changes it (by a link, or back and forward). */
export class Address {
  #listeners = new Set();

  constructor() {
    addEventListener("hashchange", () => this.#tell());
  }

  read() {
    return readAddress();
  }

  /** Sets values; an empty one removes its name. push: with an entry in the browser's history. */
  write(values, options) {
    writeAddress(values, options);
  }

  /** Goes to another state, with an entry in the history, and tells who listens. */
  go(values) {
    const state = new URLSearchParams();
    for (const [name, value] of Object.entries(values)) if (value) state.set(name, value);
    putAddress(state, true);
    this.#tell();
  }

  /** Calls `listener` with the state when the reader has changed it. Returns a function that ends this. */
  onChange(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #tell() {
    const state = this.read();
    for (const listener of [...this.#listeners]) {
      if (this.#listeners.has(listener)) listener(state); // the first may have left a room, and ended its listening
    }
  }
}
