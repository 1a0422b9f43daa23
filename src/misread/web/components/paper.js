// The canvas to draw on: mouse, touch and pen draw strokes or move what was drawn; keys move, turn and scale it.

import { motion } from "./drawing.js";

const STEP = 0.02; // of the paper's side, by an arrow key
const TURN = Math.PI / 36;
const GROW = 1.08;

const KEYS = {
  ArrowLeft: { dx: -STEP },
  ArrowRight: { dx: STEP },
  ArrowUp: { dy: -STEP },
  ArrowDown: { dy: STEP },
  "[": { angle: -TURN },
  "]": { angle: TURN },
  "+": { scale: GROW },
  "=": { scale: GROW },
  "-": { scale: 1 / GROW },
};
export const MOTIONS = { left: KEYS["["], right: KEYS["]"], larger: KEYS["+"], smaller: KEYS["-"] };

const middleOf = (points) => [0, 1].map((k) => points.reduce((sum, p) => sum + p[k], 0) / points.length);

/** How two fingers moved: from their first places to their places now. One finger only moves. */
function motionBetween(before, now) {
  const [from, to] = [middleOf(before), middleOf(now)];
  const change = { dx: to[0] - from[0], dy: to[1] - from[1] };
  if (before.length === 2 && now.length === 2) {
    const [u, v] = [before, now].map(([p, q]) => [q[0] - p[0], q[1] - p[1]]);
    change.scale = Math.hypot(...v) / Math.max(Math.hypot(...u), 0.01);
    change.angle = Math.atan2(v[1], v[0]) - Math.atan2(u[1], u[0]);
  }
  return motion(change, from);
}

export class Paper {
  #pointers = new Map(); // id -> place now
  #before = null; // places when the motion began, by id
  #penIsDown = false;
  /**
   * canvas: its width and height say the shape of the paper.
   * pen: () => { mode: "draw" | "erase" | "move", width, colour }. changed: called after every change.
   */
  constructor(canvas, drawing, pen, changed) {
    const longer = Math.max(canvas.width, canvas.height);
    Object.assign(this, { canvas, drawing, pen, changed, size: [canvas.width / longer, canvas.height / longer] });
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", (event) => this.#up(event));
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.#key(event));
    this.draw();
  }
  draw() {
    this.drawing.paint(this.canvas);
  }
  /** Moves what was drawn about its own middle, as one step of undo. change: { dx, dy, angle, scale }. */
  moveBy(change) {
    this.drawing.move(motion(change, this.drawing.middle(this.size)));
    this.changed();
  }
  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    const [width, height] = this.size;
    const pressure = event.pointerType === "pen" && event.pressure ? event.pressure : 0.5;
    return [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height, pressure];
  }
  #down(event) {
    if (event.button > 0) return;
    event.preventDefault();
    if (event.pointerType === "pen") this.#liftAll(); // the hand may lie on the paper
    else if (this.#penIsDown) return;
    this.#penIsDown = event.pointerType === "pen";
    this.canvas.focus({ preventScroll: true });
    try {
      this.canvas.setPointerCapture(event.pointerId);
    } catch {
      // a pointer that is already gone
    }
    this.#pointers.set(event.pointerId, this.#place(event));
    const { mode, ...pen } = this.pen();
    if (mode === "move" || this.#pointers.size > 1) {
      this.drawing.current = null; // a second finger: the first did not mean a stroke
      this.drawing.move();
      this.#before = new Map(this.#pointers);
    } else {
      this.drawing.begin({ ...pen, erase: mode === "erase" }, this.#place(event));
    }
    this.changed();
  }
  /** Forgets the pointers that are down, and what they were doing. */
  #liftAll() {
    this.#pointers.clear();
    this.#before = this.drawing.preview = this.drawing.current = null;
  }
  #move(event) {
    if (!this.#pointers.has(event.pointerId)) return;
    this.#pointers.set(event.pointerId, this.#place(event));
    if (this.#before) {
      const both = [...this.#before.keys()].filter((id) => this.#pointers.has(id)).slice(0, 2);
      this.drawing.preview = motionBetween(both.map((id) => this.#before.get(id)), both.map((id) => this.#pointers.get(id)));
    } else if (this.drawing.current) {
      const events = event.getCoalescedEvents?.() ?? [];
      for (const each of events.length ? events : [event]) this.drawing.extend(this.#place(each));
    }
    this.changed();
  }
  #up(event) {
    if (!this.#pointers.delete(event.pointerId)) return;
    this.#penIsDown = false;
    if (this.#before) {
      this.drawing.move();
      this.#before = this.#pointers.size ? new Map(this.#pointers) : null;
    } else {
      this.drawing.end();
    }
    this.changed();
  }
  #wheel(event) {
    if (this.pen().mode !== "move") return;
    event.preventDefault();
    this.moveBy(event.shiftKey ? { angle: Math.sign(event.deltaY || event.deltaX) * TURN } : { scale: event.deltaY < 0 ? GROW : 1 / GROW });
  }
  #key(event) {
    const change = KEYS[event.key];
    if (!change || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.moveBy(change);
  }
}
