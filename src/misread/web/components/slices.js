// Long computations in short slices, so that the page stays quick: generators that yield now and then.

const SLICE = 10; // milliseconds

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/**
 * Runs a generator to its end; resolves to what it returns, or to undefined if it was stopped.
 * progress: called with what it yielded last. signal: an AbortSignal that stops it between two slices.
 * slice: how long one takes. rest: how long it waits after the first one, both in milliseconds.
 */
export async function inSlices(generator, { progress, signal, slice = SLICE, rest = 0 } = {}) {
  for (let wait = rest; ; wait = 0) {
    const end = performance.now() + slice;
    let result;
    do {
      if (signal?.aborted) return undefined;
      result = generator.next();
    } while (!result.done && performance.now() < end);
    if (result.done) return result.value;
    progress?.(result.value);
    await pause(wait);
  }
}

/** Starts one computation at a time: a new one stops the one before. */
export class Latest {
  #controller = new AbortController();
  stop() {
    this.#controller.abort();
  }
  /** As inSlices. */
  run(generator, progress, more = {}) {
    this.stop();
    this.#controller = new AbortController();
    return inSlices(generator, { progress, signal: this.#controller.signal, ...more });
  }
}
