// Draws many points: by WebGL, or on a plain canvas where there is none.

const VERTEX = `
attribute vec2 place; attribute vec4 colour; attribute float size;
uniform vec4 view; uniform float scale;
varying vec4 fill;
void main() {
  gl_Position = vec4(place * view.xy + view.zw, 0.0, 1.0);
  gl_PointSize = size * scale;
  fill = colour;
}`;
const FRAGMENT = `
precision mediump float;
varying vec4 fill;
void main() {
  float away = length(gl_PointCoord - 0.5);
  if (away > 0.5 || fill.a == 0.0) discard;
  gl_FragColor = vec4(fill.rgb * fill.a, fill.a);
}`;

const SOFTWARE = /swiftshader|llvmpipe|software|basic render/i;

/**
 * A plot on a canvas. Points are given by `set`, and drawn by `draw`.
 * kind: "webgl" or "canvas"; otherwise WebGL where a graphics card computes it. On the CPU, WebGL takes many times as long
 * as the plain canvas.
 */
export function pointPlot(canvas, kind = null) {
  const isGl = kind === "webgl" || (kind !== "canvas" && hasGraphicsCard());
  const gl = isGl ? canvas.getContext("webgl", { antialias: false }) : null;
  return gl ? new GlPlot(canvas, gl) : new PlainPlot(canvas);
}

function hasGraphicsCard() {
  const gl = document.createElement("canvas").getContext("webgl", { failIfMajorPerformanceCaveat: true });
  if (!gl) return false;
  const info = gl.getExtension("WEBGL_debug_renderer_info");
  const name = gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER);
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return !SOFTWARE.test(name);
}

class GlPlot {
  kind = "webgl";

  constructor(canvas, gl) {
    Object.assign(this, { canvas, gl, n: 0 });
    this.#prepare();
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => {
      this.#prepare();
      if (this.last) this.set(...this.last);
      this.onRestored?.();
    });
  }
  #prepare() {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [type, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(type);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    gl.useProgram(program);
    this.view = gl.getUniformLocation(program, "view");
    this.scale = gl.getUniformLocation(program, "scale");
    this.buffers = ["place", "colour", "size"].map((name) => [gl.getAttribLocation(program, name), gl.createBuffer()]);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }
  /** places: (N, 2) Float32Array. colours: (N, 4) Uint8Array; alpha 0 hides a point. sizes: (N) Float32Array, CSS pixels. */
  set(places, colours, sizes) {
    const { gl } = this;
    this.last = [places, colours, sizes];
    this.n = sizes.length;
    const kinds = [[places, 2, gl.FLOAT, false], [colours, 4, gl.UNSIGNED_BYTE, true], [sizes, 1, gl.FLOAT, false]];
    kinds.forEach(([values, width, type, normalised], i) => {
      const [at, buffer] = this.buffers[i];
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
      gl.enableVertexAttribArray(at);
      gl.vertexAttribPointer(at, width, type, normalised, 0, 0);
    });
  }
  /** view: {x, y, scale}: the centre, and CSS pixels for a unit. grow: what all sizes are multiplied with. */
  draw({ x, y, scale }, grow) {
    const { gl, canvas } = this;
    const ratio = canvas.width / canvas.clientWidth || 1;
    const [sx, sy] = [(2 * scale) / canvas.clientWidth, (2 * scale) / canvas.clientHeight];
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.uniform4f(this.view, sx, sy, -x * sx, -y * sy);
    gl.uniform1f(this.scale, grow * ratio);
    if (this.n) gl.drawArrays(gl.POINTS, 0, this.n);
  }
}

class PlainPlot {
  kind = "canvas";
  #image = null;

  constructor(canvas) {
    Object.assign(this, { canvas, context: canvas.getContext("2d"), order: [] });
  }
  set(places, colours, sizes) {
    const alpha = (i) => colours[4 * i + 3];
    const shown = [...sizes.keys()].filter(alpha);
    const isFaint = (i) => alpha(i) < 128;
    const order = [...shown.filter(isFaint), ...shown.filter((i) => !isFaint(i))]; // faint points lie below the others
    Object.assign(this, { places, sizes, words: new Uint32Array(colours.buffer), order });
  }
  draw({ x, y, scale }, grow) {
    const { canvas, context, places, sizes, words, order } = this;
    const { width, height } = canvas;
    if (!width || !height) return; // the room was left
    const ratio = width / canvas.clientWidth || 1;
    if (this.#image?.width !== width || this.#image.height !== height) this.#image = context.createImageData(width, height);
    const pixels = new Uint32Array(this.#image.data.buffer).fill(0);
    for (const i of order) {
      const radius = Math.max(0.5, (sizes[i] * grow * ratio) / 2);
      const middleX = width / 2 + (places[2 * i] - x) * scale * ratio;
      const middleY = height / 2 - (places[2 * i + 1] - y) * scale * ratio;
      if (middleX + radius < 0 || middleY + radius < 0 || middleX - radius >= width || middleY - radius >= height) continue;
      const last = Math.min(height - 1, Math.round(middleY + radius - 0.5));
      for (let row = Math.max(0, Math.round(middleY - radius)); row <= last; row++) {
        const half = Math.sqrt(Math.max(0.25, radius * radius - (row + 0.5 - middleY) ** 2));
        const from = Math.max(0, Math.round(middleX - half));
        const to = row * width + Math.min(width, Math.max(from + 1, Math.round(middleX + half)));
        for (let pixel = row * width + from; pixel < to; pixel++) pixels[pixel] = words[i]; // `fill` is slower for a few pixels
      }
    }
    context.putImageData(this.#image, 0, 0);
  }
}
