// What a page without a server has in itself: the network and some images, compressed.

import { fromBase64 } from "../components/base64.js";
import { readModel } from "../network/model.js";

/** The bytes of a text in base64 that were compressed by gzip. */
async function decompressed(text) {
  return new Response(new Blob([fromBase64(text)]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

/** `studio.model` and `studio.images` of the page's data; see rooms/index.js. Each is decompressed when first asked for. */
export class Embedded {
  #model = null;
  #pixels = null;

  constructor(data) {
    this.data = data;
  }
  model() {
    return (this.#model ??= decompressed(this.data.model).then(readModel));
  }
  async count() {
    return this.data.labels.length;
  }
  async get(split, rows) {
    this.#pixels ??= decompressed(this.data.pixels).then((buffer) => new Uint8Array(buffer));
    const pixels = await this.#pixels;
    const { labels, files } = this.data;
    const size = pixels.length / labels.length;
    return {
      pixels: [...rows].map((row) => pixels.slice(row * size, (row + 1) * size)),
      labels: [...rows].map((row) => labels[row]),
      files: files && [...rows].map((row) => files[row]),
    };
  }
}
