// What every unit does over many images: how often it is active, and which images excite it most.

import { stagesOf } from "./stages.js";

const KEPT = 9; // images kept for each unit

/** Layers whose units are looked at: those with weights or an activation of their own. */
const counts = ({ layer }) => layer && ["Conv2D", "Whitening", "Dense", "Activation"].includes(layer.type);

/** Whether a unit can be silent: it ends in a ReLU. */
export const hasSilence = ({ layer }) => layer?.spec.activation === "relu";

class UnitRecord {
  constructor() {
    Object.assign(this, { active: 0, best: [] }); // best: [{ value, row }], the largest first
  }
  add(value, row) {
    if (value > 0) this.active += 1;
    const { best } = this;
    if (best.length === KEPT && value <= best.at(-1).value) return;
    best.push({ value, row });
    best.sort((a, b) => b.value - a.value);
    best.length = Math.min(best.length, KEPT);
  }
}

/** The largest value of each unit: of a feature map over all its pixels. */
export function peaks({ shape, values }) {
  const units = shape.at(-1);
  const most = new Float32Array(units).fill(-Infinity);
  for (let i = 0, k = 0; i < values.length; i++, k = k + 1 === units ? 0 : k + 1) if (values[i] > most[k]) most[k] = values[i];
  return most;
}

/**
 * Surveys images; yields { done, total } after each, and returns
 * [{ name, place, silent, units: [{ active, best: [{ value, row }] }] }] for the layers with units.
 *
 * images: [{ image, row }]. place: of the layer in `stagesOf`. active: how many images gave the unit a value above 0
 * anywhere; a unit with a ReLU that has 0 is dead on these images. silent: whether it has a ReLU.
 */
export function* surveyUnits(model, images) {
  let layers = null;
  for (const [done, { image, row }] of images.entries()) {
    const stages = stagesOf(model, image);
    layers ??= stages.flatMap((stage, place) =>
      counts(stage) ? [{ name: stage.name, place, silent: hasSilence(stage), units: Array.from({ length: stage.shape.at(-1) }, () => new UnitRecord()) }] : [],
    );
    for (const layer of layers) peaks(stages[layer.place]).forEach((value, k) => layer.units[k].add(value, row));
    yield { done: done + 1, total: images.length };
  }
  return layers;
}
