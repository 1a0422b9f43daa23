// What the page knows of a training: a snapshot of the server, and the events since.

/** States that a training does not leave. */
export const ENDED = ["finished", "interrupted", "failed", "cancelled"];

const MAX_POINTS = 6000; // of a curve by steps; then every second one is left out

export class TrainingRecord {
  constructor() {
    this.clear();
  }

  clear() {
    Object.assign(this, {
      training: null, started: null, now: null, losses: [], accuracies: [], rows: [], rates: [], notes: [],
      misreads: null, weights: null, dead: null, finished: null,
    });
  }

  /** Takes an event. The first one of a connection is a snapshot of everything so far. */
  add(event) {
    if (event.training) this.training = event.training;
    if (event.type === "snapshot") {
      this.clear();
      Object.assign(this, event);
    } else if (event.type === "progress") {
      for (const part of ["now", "misreads", "weights", "dead"]) if (event[part]) this[part] = event[part];
      this.losses = thinned([...this.losses, ...event.losses]);
      this.accuracies = thinned([...this.accuracies, ...event.accuracies]);
      this.rows.push(...event.rows);
    } else if (event.type === "rate") this.rates.push(event);
    else if (event.type === "note") this.notes.push(event.text);
    else if (event.type === "started") this.started = event;
    else if (event.type === "finished") this.finished = event;
  }
}

const thinned = (points) => (points.length > MAX_POINTS ? points.filter((_, i) => i % 2 === (points.length - 1) % 2) : points);
