// A drawing as vectors: strokes and pictures in the order they were added, with undo and redo. It knows no page.
//
// Coordinates: the longer side of the paper is 1. A stroke is { points: [[x, y, pressure], ...], width, colour, erase };
// a picture is { picture, matrix, whole }: anything drawImage takes, the place of its unit square on the paper, and
// whether it is still as it was added.

const IDENTITY = [1, 0, 0, 1, 0, 0];
const MOST_STATES = 200;

/** The matrix that does `first`, then `second`. Both are [a, b, c, d, e, f], as in DOMMatrix. */
export function after(first, second) {
  const [a, b, c, d, e, f] = first;
  const [p, q, r, s, t, u] = second;
  return [p * a + r * b, q * a + s * b, p * c + r * d, q * c + s * d, p * e + r * f + t, q * e + s * f + u];
}

/** The matrix that turns by `angle` (radians) and scales by `scale` about a point, then moves by (dx, dy). */
export function motion({ angle = 0, scale = 1, dx = 0, dy = 0 }, [x, y] = [0, 0]) {
  const [cos, sin] = [Math.cos(angle) * scale, Math.sin(angle) * scale];
  return [cos, sin, -sin, cos, x + dx - cos * x + sin * y, y + dy - sin * x - cos * y];
}

const moved = ([a, b, c, d, e, f], [x, y, pressure]) => [a * x + c * y + e, b * x + d * y + f, pressure];
const scaleOf = ([a, b, c, d]) => Math.sqrt(Math.abs(a * d - b * c));

function movedItem(item, matrix) {
  if (item.picture) return { ...item, whole: false, matrix: after(item.matrix, matrix) };
  return { ...item, points: item.points.map((p) => moved(matrix, p)), width: item.width * scaleOf(matrix) };
}

/** Width of the line at a point: pens press, a mouse reports 0.5 or nothing. */
const widthAt = (stroke, pressure) => stroke.width * (0.4 + 1.2 * pressure);

function paintStroke(context, stroke) {
  const { points } = stroke;
  const [first] = points;
  if (points.length === 1) {
    context.beginPath();
    context.arc(first[0], first[1], widthAt(stroke, first[2]) / 2, 0, 2 * Math.PI);
    context.fill();
    return;
  }
  if (points.every((p) => p[2] === first[2])) {
    context.lineWidth = widthAt(stroke, first[2]);
    context.beginPath();
    context.moveTo(first[0], first[1]);
    for (let i = 1; i < points.length - 1; i++) {
      const [[x, y], [nextX, nextY]] = [points[i], points[i + 1]];
      context.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
    }
    context.lineTo(points.at(-1)[0], points.at(-1)[1]);
    context.stroke();
    return;
  }
  for (let i = 1; i < points.length; i++) {
    context.lineWidth = widthAt(stroke, (points[i - 1][2] + points[i][2]) / 2);
    context.beginPath();
    context.moveTo(points[i - 1][0], points[i - 1][1]);
    context.lineTo(points[i][0], points[i][1]);
    context.stroke();
  }
}

export class Drawing {
  #states;
  #at = 0;
  /** ground: the colour of the paper. strokes: what is on it at the beginning, which undo does not take away. */
  constructor(ground, strokes = []) {
    this.ground = ground;
    this.#states = [strokes];
    this.preview = null; // a matrix while the drawing is being moved
    this.current = null; // the stroke being drawn
  }
  get items() {
    return this.#states[this.#at];
  }
  get empty() {
    return !this.current && !this.items.some((item) => item.picture || !item.erase);
  }
  get canUndo() {
    return this.#at > 0;
  }
  get canRedo() {
    return this.#at < this.#states.length - 1;
  }
  /** The picture if nothing else is there and it was not moved: the network can be given itself, not its copy. */
  get onlyPicture() {
    const [item, ...others] = this.items;
    return !others.length && !this.current && !this.preview && item?.whole ? item.picture : null;
  }
  #set(items) {
    this.#states.splice(this.#at + 1, Infinity, items);
    if (this.#states.length > MOST_STATES) this.#states.shift();
    this.#at = this.#states.length - 1;
  }
  undo() {
    if (this.canUndo) this.#at -= 1;
  }
  redo() {
    if (this.canRedo) this.#at += 1;
  }
  clear() {
    if (this.items.length) this.#set([]);
  }
  begin({ width, colour, erase }, point) {
    this.current = { points: [point], width, colour, erase };
  }
  extend(point) {
    const [x, y] = this.current.points.at(-1);
    if (Math.hypot(point[0] - x, point[1] - y) > 0.002) this.current.points.push(point);
  }
  end() {
    if (this.current) this.#set([...this.items, this.current]);
    this.current = null;
  }
  /** Adds a picture of width x height in the middle, as large as the paper [width, height] allows. */
  add(picture, [width, height], paper) {
    const scale = Math.min(paper[0] / width, paper[1] / height);
    const [w, h] = [width * scale, height * scale];
    this.#set([...this.items, { picture, whole: true, matrix: [w, 0, 0, h, (paper[0] - w) / 2, (paper[1] - h) / 2] }]);
  }
  /** Ends a preview, or moves at once: one step of undo. */
  move(matrix = this.preview) {
    this.preview = null;
    if (matrix && this.items.length) this.#set(this.items.map((item) => movedItem(item, matrix)));
  }
  /** The middle of what was drawn; of the paper if nothing was. */
  middle(paper) {
    const points = this.items.flatMap((item) =>
      item.picture ? [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]].map((p) => moved(item.matrix, p)) : item.erase ? [] : item.points,
    );
    if (!points.length) return [paper[0] / 2, paper[1] / 2];
    const middle = (k) => (Math.min(...points.map((p) => p[k])) + Math.max(...points.map((p) => p[k]))) / 2;
    return [middle(0), middle(1)];
  }
  /** Paints it on a canvas whose longer side stands for 1. */
  paint(canvas) {
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const side = Math.max(canvas.width, canvas.height);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = this.ground;
    context.fillRect(0, 0, canvas.width, canvas.height);
    Object.assign(context, { lineCap: "round", lineJoin: "round", imageSmoothingQuality: "high" });
    const base = after(this.preview ?? IDENTITY, [side, 0, 0, side, 0, 0]);
    for (const item of this.current ? [...this.items, this.current] : this.items) {
      if (item.picture) {
        context.setTransform(...after(item.matrix, base));
        context.drawImage(item.picture, 0, 0, 1, 1);
        continue;
      }
      context.setTransform(...base);
      context.strokeStyle = context.fillStyle = item.erase ? this.ground : item.colour;
      paintStroke(context, item);
    }
  }
}
