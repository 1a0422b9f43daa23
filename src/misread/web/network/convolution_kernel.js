// The innermost loops of a convolution in WebAssembly SIMD, several times as fast as in JavaScript. They are assembled
// here, byte by byte: so there is no file to build and none to fetch. The page works without them; see `Convolution`.

const FILTERS = 8; // that are added up at a time: two vectors of four floats
const PIXELS = 4;
const FLOAT = 4; // bytes
const PAGE = 65536; // bytes of WebAssembly memory

// One function: the sums of four windows for eight filters.
//   for (; lines; lines--) {
//     for (const end = kernel + line; kernel < end; kernel += 8 floats) {
//       for (j of the four windows) { sums[j] += the float at window[j] * the 8 floats at kernel; window[j] += 1 float }
//     }
//     for (j of the four windows) window[j] += gap;
//   }
// The sums begin with the eight floats at `start`; those of window j are written to out + j * stride. All parameters but
// `lines` are addresses or distances in bytes.
const NAMES = ["kernel", "line", "lines", "gap", "start", "out", "stride", "window0", "window1", "window2", "window3", "end"];
const VECTORS = ["low", "high", "value", "low0", "high0", "low1", "high1", "low2", "high2", "low3", "high3"];
const PARAMETERS = NAMES.length - 1; // all but `end`

const place = (name) => [...NAMES, ...VECTORS].indexOf(name);
const get = (name) => [0x20, place(name)];
const set = (name) => [0x21, place(name)];
const tee = (name) => [0x22, place(name)];
const add = (name, ...amount) => [get(name), ...amount, 0x6a, set(name)];
const number = (value) => [0x41, value]; // below 64
const load = (offset) => [0xfd, 0x00, 2, offset];
const loadOfOne = [0xfd, 0x09, 2, 0]; // one float, four times
const store = (offset) => [0xfd, 0x0b, 2, offset];
const times = [0xfd, 0xe6, 0x01];
const plus = [0xfd, 0xe4, 0x01];
const loop = (...body) => [0x03, 0x40, ...body, 0x0d, 0, 0x0b]; // as long as the last value is not 0
const each = (part) => [0, 1, 2, 3].map(part);

const CODE = [
  each((j) => [get("start"), load(0), set(`low${j}`), get("start"), load(16), set(`high${j}`)]),
  loop(
    get("kernel"), get("line"), 0x6a, set("end"),
    loop(
      get("kernel"), load(0), set("low"), get("kernel"), load(16), set("high"),
      each((j) => [
        get(`low${j}`), get(`window${j}`), loadOfOne, tee("value"), get("low"), times, plus, set(`low${j}`),
        get(`high${j}`), get("value"), get("high"), times, plus, set(`high${j}`),
        add(`window${j}`, number(FLOAT)),
      ]),
      get("kernel"), number(FILTERS * FLOAT), 0x6a, tee("kernel"), get("end"), 0x49, // kernel < end
    ),
    each((j) => add(`window${j}`, get("gap"))),
    get("lines"), number(1), 0x6b, tee("lines"),
  ),
  each((j) => [get("out"), get(`low${j}`), store(0), get("out"), get(`high${j}`), store(16), add("out", get("stride"))]),
  0x0b,
].flat(Infinity); // prettier-ignore

/** A number in LEB128, and a list with its length before it. */
const leb = (value) => (value < 128 ? [value] : [(value & 127) | 128, ...leb(value >> 7)]);
const list = (...parts) => [...leb(parts.length), ...parts.flat()];
const sized = (bytes) => [...leb(bytes.length), ...bytes];
const text = (letters) => sized([...letters].map((letter) => letter.charCodeAt(0)));
const [I32, V128] = [0x7f, 0x7b];

const MODULE = [
  [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
  [1, sized(list([0x60, ...list(...Array(PARAMETERS).fill(I32)), 0]))], // the type of the function
  [3, sized(list(0))], // the function
  [5, sized(list([0, 1]))], // a memory, one page at first
  [7, sized(list([...text("sums"), 0, 0], [...text("memory"), 2, 0]))],
  [10, sized(list(sized([...list([1, I32], [VECTORS.length, V128]), ...CODE])))],
].flat(2);

function compiled() {
  try {
    return new WebAssembly.Instance(new WebAssembly.Module(Uint8Array.from(MODULE))).exports;
  } catch {
    return null; // no WebAssembly, no SIMD, or a page that does not allow it
  }
}
const kernel = compiled();

/** Whether the browser has it. */
export const hasKernel = kernel !== null;

const upTo = (count, step) => Math.ceil(count / step) * step;

/** A convolution without its activation. The memory is scratch: weights and input are copied there for each image. */
export class ConvolutionKernel {
  /** w: as of `windowsOf`. weights, bias: as in the network's file; the bias may be missing. */
  constructor(w, filters, { kernel: weights, bias }) {
    const taps = w.kernelHeight * w.kernelWidth * w.channels;
    const padded = upTo(filters, FILTERS);
    Object.assign(this, { w, filters, padded, taps, pixels: w.rows * w.columns });
    // of what the windows reach: the image with zeros around it
    this.size = [(w.rows - 1) * w.down + w.kernelHeight, (w.columns - 1) * w.right + w.kernelWidth];
    this.weights = new Float32Array((taps + 1) * padded); // in blocks of eight filters; then the bias
    for (let tap = 0, from = 0; tap < taps; tap++) {
      for (let f = 0; f < filters; f++) {
        const block = Math.floor(f / FILTERS);
        this.weights[(block * taps + tap) * FILTERS + (f % FILTERS)] = weights[from++];
      }
    }
    if (bias) this.weights.set(bias, taps * padded);
    const last = this.pixels - 1; // repeated, so that the pixels are a multiple of four
    this.starts = Int32Array.from({ length: upTo(this.pixels, PIXELS) }, (_, i) => {
      const pixel = Math.min(i, last);
      const [row, column] = [Math.floor(pixel / w.columns), pixel % w.columns];
      return FLOAT * w.channels * (row * w.down * this.size[1] + column * w.right);
    });
  }
  /** The sums for an image: Float32Array of rows * columns * filters. */
  sums(image) {
    const { w, filters, padded, taps, pixels, weights, starts } = this;
    const [height, width] = this.size;
    const [input, start] = [FLOAT * weights.length, FLOAT * taps * padded];
    const out = upTo(input + FLOAT * height * width * w.channels, 16);
    const missing = Math.ceil((out + FLOAT * starts.length * padded - kernel.memory.buffer.byteLength) / PAGE);
    if (missing > 0) kernel.memory.grow(missing);
    const floats = new Float32Array(kernel.memory.buffer);
    floats.set(weights);
    this.#place(image, floats.subarray(input / FLOAT, out / FLOAT));
    const line = w.kernelWidth * w.channels;
    const gap = FLOAT * (width * w.channels - line);
    for (let f = 0; f < padded; f += FILTERS) {
      for (let i = 0; i < starts.length; i += PIXELS) {
        kernel.sums(
          FLOAT * f * taps, FLOAT * FILTERS * line, w.kernelHeight, gap,
          start + FLOAT * f, out + FLOAT * (i * padded + f), FLOAT * padded,
          input + starts[i], input + starts[i + 1], input + starts[i + 2], input + starts[i + 3],
        ); // prettier-ignore
      }
    }
    const sums = floats.subarray(out / FLOAT, out / FLOAT + pixels * padded);
    if (padded === filters) return sums.slice();
    const result = new Float32Array(pixels * filters);
    for (let i = 0; i < pixels; i++) result.set(sums.subarray(i * padded, i * padded + filters), i * filters);
    return result;
  }
  /** Copies the part of the image that windows reach, with zeros around it. */
  #place(image, to) {
    const { w } = this;
    const [height, width] = this.size;
    to.fill(0);
    const columns = Math.min(w.width, width - w.left) * w.channels;
    for (let y = 0; y < Math.min(w.height, height - w.top); y++) {
      const from = y * w.width * w.channels;
      to.set(image.subarray(from, from + columns), ((y + w.top) * width + w.left) * w.channels);
    }
  }
}
