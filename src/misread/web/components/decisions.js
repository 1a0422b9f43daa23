// The decisions on labels: what was decided on each image, by this page or another one, with undo and redo.

/**
 * The decisions of a run's data, by the hash of the image: {kind, label, by, at, version}; see label_decisions.py.
 * A decision is shown at once and written in the order in which they were made. If the server refuses it, or another
 * page decided meanwhile, what counts is shown again.
 */
export class Decisions {
  #stream;
  #writing = Promise.resolve();
  #done = [];
  #undone = [];

  /**
   * server: of the studio. run: the id of the run. onChange: called with the hashes that changed, after each change.
   * onProblem: called with an Error, or with "conflict" and the other decision.
   */
  constructor(server, run, { onChange, onProblem }) {
    Object.assign(this, { server, path: `/api/runs/${run}/decisions`, onChange, onProblem, made: new Map() });
    this.#stream = server.events(`${this.path}/events`, (changed) => this.#merge(changed));
  }

  /** The decision on an image; its kind is empty if there is none. */
  of(hash) {
    return this.made.get(hash) ?? { kind: "", label: "", version: 0 };
  }

  get canUndo() {
    return this.#done.length > 0;
  }
  get canRedo() {
    return this.#undone.length > 0;
  }

  /** image: {split, position, hash}. kind: "fixed" (with a label), "ambiguous", "kept", "skipped", or "" for none. */
  decide(image, kind, label = "") {
    const before = this.of(image.hash);
    if (before.kind === kind && (kind !== "fixed" || before.label === label)) return;
    this.#done.push({ image, before: { kind: before.kind, label: before.label }, after: { kind, label } });
    this.#undone = [];
    this.#put(image, { kind, label });
  }

  /** Takes the last decision of this page back; returns its image. */
  undo() {
    const last = this.#done.pop();
    if (!last) return null;
    this.#undone.push(last);
    this.#put(last.image, last.before);
    return last.image;
  }
  redo() {
    const next = this.#undone.pop();
    if (!next) return null;
    this.#done.push(next);
    this.#put(next.image, next.after);
    return next.image;
  }

  /** Resolves when all decisions so far are in the patch, or were refused. */
  written() {
    return this.#writing;
  }

  close() {
    this.#stream.close();
  }

  #put(image, { kind, label }) {
    const { hash, split, position } = image;
    const seen = this.of(hash).version;
    this.made.set(hash, { kind, label, version: seen + 1, mine: true });
    this.onChange([hash]);
    this.#writing = this.#writing.then(() => this.#write(split, { position, kind, label, seen }, hash));
  }

  async #write(split, decision, hash) {
    try {
      const { written, conflicts } = await this.server.post(this.path, { split, decisions: [decision] });
      if (conflicts[hash]) this.onProblem("conflict", conflicts[hash]);
      this.#merge({ ...written, ...conflicts }, hash);
    } catch (error) {
      this.onProblem(error);
      await this.#reload(hash);
    }
  }

  /** What the server has of an image, after a decision that was not written. */
  async #reload(hash) {
    try {
      const { decisions } = await this.server.get(this.path);
      this.made.delete(hash);
      this.#merge({ [hash]: decisions[hash] ?? { kind: "", label: "", version: 0 } }, hash);
    } catch {
      this.made.delete(hash); // the stream brings it when the server is back
      this.onChange([hash]);
    }
  }

  /** Takes decisions that are newer than those known. certain: a hash whose decision counts in any case. */
  #merge(changed, certain = null) {
    const newer = Object.entries(changed).filter(([hash, { version }]) => hash === certain || version > this.of(hash).version);
    for (const [hash, decision] of newer) this.made.set(hash, decision);
    if (newer.length) this.onChange(newer.map(([hash]) => hash));
  }
}
