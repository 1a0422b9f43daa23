// What the lesson computes with: the learner's network, images, history and readings.

import { argmax } from "../network/argmax.js";

const SAMPLES = 120; // images of the test split that the pages use
const READ = 2000; // images that are read in the page where there is no server

/** Loads what there is. Without a run: the embedded digits, if a server offers them. */
export async function openLesson(studio) {
  const lesson = { studio, t: studio.t, lang: studio.lang, run: studio.run, chosen: 0, samples: [], model: null, problem: "" };
  if (studio.run) {
    lesson.shape = studio.run.data.image_shape;
    lesson.classNames = studio.run.data.class_names;
    const model = studio.model().catch((error) => {
      lesson.problem = error.message;
      return null;
    });
    [lesson.samples, lesson.model] = await Promise.all([samplesOf(studio, "test", SAMPLES), model]);
  } else if (studio.server) {
    const { image_shape, class_names, pixels, labels } = await studio.server.get("/api/examples");
    const bytes = Uint8Array.from(atob(pixels), (letter) => letter.charCodeAt(0));
    const size = image_shape.reduce((a, b) => a * b);
    lesson.shape = image_shape;
    lesson.classNames = class_names;
    lesson.samples = labels.map((label, row) => ({ row, label, pixels: bytes.subarray(row * size, (row + 1) * size) }));
  }
  return lesson;
}

/** The first images of a split: [{ row, label, pixels, file }]. An empty list if the split is not there. */
export async function samplesOf(studio, split, most) {
  const n = Math.min(most, (await studio.images.count(split).catch(() => 0)) || 0);
  if (!n) return [];
  const rows = Array.from({ length: n }, (_, row) => row);
  const { pixels, labels, files } = await studio.images.get(split, rows);
  return rows.map((row, i) => ({ row, label: labels[i], pixels: pixels[i], file: files ? files[i] : null }));
}

/** An image as numbers from 0 to 1, and its label, for training in the page. */
export const scaled = ({ pixels, label }) => ({ x: Float64Array.from(pixels, (pixel) => pixel / 255), label });

/**
 * The readings of the test split: { labels, predictions, confidences, n }. From the server all of them; without one the
 * first images, read in the page a few at a time. onProgress: called with the share that is done.
 */
export function readingsOf(lesson, onProgress = () => {}) {
  lesson.readings ??= lesson.studio.server ? stored(lesson) : readHere(lesson, onProgress);
  return lesson.readings;
}

async function stored({ studio, run, classNames }) {
  const [buffer, { labels }] = await Promise.all([
    studio.server.bytes(`/api/runs/${run.id}/predictions/test`),
    studio.server.get(`/api/runs/${run.id}/labels/test`),
  ]);
  const probs = new Float32Array(buffer);
  const found = { labels, predictions: [], confidences: [], n: labels.length };
  labels.forEach((_, i) => addReading(found, probs.subarray(i * classNames.length, (i + 1) * classNames.length)));
  return found;
}

async function readHere({ studio, model }, onProgress) {
  const images = await samplesOf(studio, "test", READ);
  const found = { labels: images.map(({ label }) => label), predictions: [], confidences: [], n: images.length };
  let paused = performance.now();
  for (const { pixels } of images) {
    addReading(found, model.predict(pixels));
    if (performance.now() - paused < 25) continue;
    onProgress(found.predictions.length / images.length);
    await new Promise((next) => setTimeout(next)); // the page answers in between
    paused = performance.now();
  }
  return found;
}

function addReading({ predictions, confidences }, probs) {
  const best = argmax(probs);
  predictions.push(best);
  confidences.push(probs[best]);
}
