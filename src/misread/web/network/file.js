// The file of a network: checks it, and reads its header and tensors. The layout is described in model_file.py.

const MAGIC = "misreadN";
const VERSION = 1;
const START = 16; // of the header
const BYTES = { float32: 4, float16: 2, int8: 1 };

/** The error of a file that is not as it was written. */
export const damaged = (what) => new Error(`The network's file is damaged: ${what}. Load the page again.`);

/** The header of a file, and the tensors of each member: a Map from "layer/name" to Float32Array. */
export function readFile(buffer) {
  if (!(buffer instanceof ArrayBuffer)) throw new Error("A network is read from an ArrayBuffer.");
  const bytes = new Uint8Array(buffer);
  if (bytes.length < START || String.fromCharCode(...bytes.subarray(0, MAGIC.length)) !== MAGIC) {
    throw new Error("This file is not a network of misread.");
  }
  const view = new DataView(buffer);
  const version = view.getUint32(8, true);
  if (version !== VERSION) throw new Error(`The network's file has version ${version}; this page reads version ${VERSION}.`);
  const data = START + view.getUint32(12, true);
  if (data > bytes.length) throw damaged("its header is cut off");
  let header;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(START, data)));
  } catch {
    throw damaged("its header cannot be read");
  }
  if (bytes.length - data !== header.bytes) {
    throw damaged(`it has ${bytes.length - data} bytes of weights instead of ${header.bytes}`);
  }
  const members = header.members.map((tensors) => {
    const entries = Object.entries(tensors).map(([name, entry]) => [name, readTensor(view, data, entry, name)]);
    return new Map(entries);
  });
  if (!members.length) throw damaged("it has no members");
  return { header, members };
}

/** One tensor as Float32Array. data: where the data begins. */
function readTensor(view, data, { shape, dtype, offset, scales }, name) {
  const size = shape.reduce((a, b) => a * b, 1);
  if (!(dtype in BYTES) || !Number.isInteger(size) || data + offset + size * BYTES[dtype] > view.byteLength) {
    throw damaged(`the tensor ${name} is not in it`);
  }
  if (dtype === "float32") return readFloats(view, data + offset, size);
  const values = new Float32Array(size);
  if (dtype === "float16") {
    for (let i = 0; i < size; i++) values[i] = fromHalf(view.getUint16(data + offset + 2 * i, true));
    return values;
  }
  const channels = shape.at(-1);
  if (data + scales + 4 * channels > view.byteLength) throw damaged(`the scales of ${name} are not in it`);
  const scale = readFloats(view, data + scales, channels);
  for (let i = 0; i < size; i++) values[i] = view.getInt8(data + offset + i) * scale[i % channels];
  return values;
}

/** Copies: a network's weights may be changed, the file stays. All browsers' machines are little-endian. */
function readFloats(view, start, size) {
  return new Float32Array(view.buffer.slice(start, start + 4 * size));
}

/** The number with these 16 bits (IEEE 754 binary16). */
export function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
