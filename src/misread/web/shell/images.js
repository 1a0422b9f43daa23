// The images of a run, from the server.

/** As `studio.images`; see rooms/index.js. Rows are positions in the split. */
export class Images {
  #labels = new Map();

  constructor(server, run) {
    this.server = server;
    this.run = run;
  }

  async count(split) {
    return this.run.data[`n_${split}`];
  }

  async get(split, rows) {
    const wanted = [...rows];
    if (!wanted.length) return { pixels: [], labels: [], files: null };
    const path = `/api/runs/${this.run.id}/images/${split}?rows=${wanted.join(",")}`;
    const [bytes, all] = await Promise.all([this.server.bytes(path), this.labels(split)]);
    const size = this.run.data.image_shape.reduce((product, n) => product * n, 1);
    return {
      pixels: wanted.map((_, i) => new Uint8Array(bytes, i * size, size)),
      labels: wanted.map((row) => all.labels[row]),
      files: all.files && wanted.map((row) => all.files[row]),
    };
  }

  /** Labels, files (or null) and rows in the source of all images of a split; asked for once. */
  labels(split) {
    if (!this.#labels.has(split)) {
      const found = this.server.get(`/api/runs/${this.run.id}/labels/${split}`);
      found.catch(() => this.#labels.delete(split));
      this.#labels.set(split, found);
    }
    return this.#labels.get(split);
  }
}
