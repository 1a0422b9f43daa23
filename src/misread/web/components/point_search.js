// Finds points: the nearest to a place, those in a rectangle, and those inside a polygon.

const CELLS = 64; // of the grid, along each side

export class PointSearch {
  #starts;
  #order;

  /** places: (N, 2) Float32Array in -1..1. */
  constructor(places) {
    this.places = places;
    const n = places.length / 2;
    const counts = new Uint32Array(CELLS * CELLS + 1);
    const cells = new Uint32Array(n);
    for (let i = 0; i < n; i++) {
      cells[i] = cellOf(places[2 * i]) + CELLS * cellOf(places[2 * i + 1]);
      counts[cells[i] + 1] += 1;
    }
    for (let c = 0; c < CELLS * CELLS; c++) counts[c + 1] += counts[c];
    this.#starts = counts;
    const next = counts.slice();
    this.#order = new Uint32Array(n);
    for (let i = 0; i < n; i++) this.#order[next[cells[i]]++] = i;
  }

  /** Positions of the points in a rectangle, in no order. */
  inRectangle(x0, y0, x1, y1) {
    const found = [];
    const { places } = this;
    for (let row = cellOf(y0); row <= cellOf(y1); row++) {
      const [from, to] = [this.#starts[cellOf(x0) + CELLS * row], this.#starts[cellOf(x1) + CELLS * row + 1]];
      for (let at = from; at < to; at++) {
        const i = this.#order[at];
        const [x, y] = [places[2 * i], places[2 * i + 1]];
        if (x >= x0 && x <= x1 && y >= y0 && y <= y1) found.push(i);
      }
    }
    return found;
  }

  /** Positions of the points inside a polygon [[x, y], ...], which is closed by itself; by the even-odd rule. */
  inPolygon(polygon) {
    if (polygon.length < 3) return [];
    const [xs, ys] = [polygon.map(([x]) => x), polygon.map(([, y]) => y)];
    const box = this.inRectangle(Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys));
    return box.filter((i) => isInside(this.places[2 * i], this.places[2 * i + 1], polygon));
  }

  /** The position of the point nearest to a place, within a distance, among those that `keeps`; or -1. */
  nearest(x, y, distance, keeps = () => true) {
    let [best, least] = [-1, distance * distance];
    for (const i of this.inRectangle(x - distance, y - distance, x + distance, y + distance)) {
      const square = (this.places[2 * i] - x) ** 2 + (this.places[2 * i + 1] - y) ** 2;
      if (square <= least && keeps(i)) [best, least] = [i, square];
    }
    return best;
  }
}

const cellOf = (value) => Math.max(0, Math.min(CELLS - 1, Math.floor(((value + 1) / 2) * CELLS)));

function isInside(x, y, polygon) {
  let inside = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [[xi, yi], [xj, yj]] = [polygon[i], polygon[j]];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
}
