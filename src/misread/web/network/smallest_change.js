// The smallest change of an image, in the Euclidean norm, that makes the network predict another class.
//
// DeepFool (Moosavi-Dezfooli et al. 2016, arXiv 1511.04599) steps to the nearest linearised boundary until the
// prediction flips. Then, as in SuperDeepFool (Abdollahi et al. 2023, arXiv 2303.12481), the original is projected on
// the boundary found, which makes the change smaller. At the end it is rounded to whole grey levels and shortened.

import { argmax } from "./argmax.js";

const CANDIDATES = 4; // classes whose boundaries are tried, the likeliest first
const STEPS = 30;
const ROUNDS = 4; // of projecting
const BEYOND = 1.02; // past the linearised boundary
const HALVINGS = 14;

const clipped = (v) => Math.max(0, Math.min(1, v));
const norm = (change) => Math.sqrt(change.reduce((sum, v) => sum + v * v, 0));

/** The image plus share * change, in whole grey levels. image, change: of the scale from 0 to 1. */
const rounded = (image, change, share = 1) => Uint8Array.from(image, (v, i) => Math.round(255 * clipped(v + share * change[i])));
const differs = (prediction, from, target) => (target === null ? prediction !== from : prediction === target);

/** One step of DeepFool from `at`: the nearest linearised boundary, or null if no class has a slope. */
function step(model, at, from, target) {
  const logits = model.logits(at);
  const order = [...logits.keys()].filter((k) => k !== from).sort((a, b) => logits[b] - logits[a]);
  const own = model.gradient(at, from);
  let nearest = null;
  for (const k of target === null ? order.slice(0, CANDIDATES) : [target]) {
    const slope = model.gradient(at, k).map((v, i) => v - own[i]);
    const length = norm(slope);
    if (!length) continue;
    const gap = Math.abs(logits[k] - logits[from]) + 1e-4;
    if (!nearest || gap / length < nearest.distance) nearest = { distance: gap / length, gap, slope, length };
  }
  return nearest;
}

/** The shortest share of the change, rounded to grey levels, that still flips; null if the whole of it does not. */
function shortened(image, change, flips) {
  const whole = rounded(image, change);
  if (!flips(whole)) return null;
  let [low, high, best] = [0, 1, whole];
  for (let i = 0; i < HALVINGS; i++) {
    const middle = (low + high) / 2;
    const tried = rounded(image, change, middle);
    if (flips(tried)) [high, best] = [middle, tried];
    else low = middle;
  }
  return best;
}

/** Sets pixels back to the original, those that changed least first, as long as the prediction stays flipped. */
function pruned(image, changed, flips) {
  const order = [...image.keys()].filter((i) => changed[i] !== image[i]);
  order.sort((a, b) => Math.abs(changed[a] - image[a]) - Math.abs(changed[b] - image[b]));
  const best = changed.slice();
  for (let block = order.length >> 1; block >= 4; block >>= 1) {
    const tried = best.slice();
    for (const i of order.slice(0, block)) tried[i] = image[i];
    if (!flips(tried)) continue;
    best.set(tried);
    break;
  }
  return best;
}

/**
 * Finds it, and yields after each step { step } so that the caller can leave the page time; returns
 * { image, from, to, distance, largest, pixels }, or null if no change was found.
 *
 * target: the class to arrive at; null for any other. distance: in units of the scale from 0 to 1. largest: the largest
 * change of a value, in grey levels. pixels: how many values changed.
 */
export function* smallestChange(model, image, target = null) {
  const from = argmax(model.predict(image));
  if (target === from) return null;
  const flips = (at) => differs(argmax(model.predict(at)), from, target);
  const original = Float32Array.from(image, (v) => v / 255);
  let best = null;
  const consider = (change) => {
    const found = shortened(original, change, flips);
    if (!found) return;
    const size = norm(Float32Array.from(found, (v, i) => v - image[i]));
    if (!best || size < best.size) best = { found, size };
  };
  let at = original.slice();
  for (let round = 0, steps = 0; round < ROUNDS; round++) {
    for (let i = 0; i < STEPS && !differs(argmax(model.logits(at)), from, target); i++) {
      const next = step(model, at, from, target);
      if (!next) break;
      const factor = (BEYOND * next.gap) / next.length ** 2;
      at = at.map((v, j) => clipped(v + factor * next.slope[j]));
      yield { step: ++steps };
    }
    const change = at.map((v, i) => v - original[i]);
    // small changes are lost by rounding to whole grey levels: then more of the same direction
    for (const stretch of [1, 1.2, 1.6, 2.5]) {
      const before = best;
      consider(change.map((v) => v * stretch));
      if (best !== before) break;
    }
    const reached = argmax(model.logits(at));
    if (reached === from) break;
    const own = model.gradient(at, from);
    const slope = model.gradient(at, reached).map((v, i) => v - own[i]);
    const length = norm(slope);
    if (!length) break;
    const along = change.reduce((sum, v, i) => sum + v * slope[i], 0) / length ** 2;
    at = original.map((v, i) => clipped(v + along * slope[i]));
    yield { step: ++steps };
  }
  if (!best) return null;
  const found = pruned(image, best.found, flips);
  const change = Float32Array.from(found, (v, i) => v - image[i]);
  return {
    image: found,
    from,
    to: argmax(model.predict(found)),
    distance: norm(change) / 255,
    largest: change.reduce((most, v) => Math.max(most, Math.abs(v)), 0),
    pixels: change.reduce((count, v) => count + (v !== 0), 0),
  };
}
