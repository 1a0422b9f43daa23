// The slider for the share of uncertain images that are left to a person.

import { byId, counted, number, percent } from "./elements.js";

/** slider: a range input. steps: what its positions mean; see `_confidence` in sections.py. */
export function startCoverage(slider, steps) {
  const move = () => {
    const step = steps[Number(slider.value)];
    const n = step.n + step.left;
    byId("left-share").textContent = percent(step.left / n);
    byId("left-result").textContent =
      `${counted(step.left, "image")} below a confidence of ${step.threshold.toFixed(4)}; of the rest ` +
      `${number(step.misread)} are misread: ${percent(step.error, 2)} instead of ${percent(steps[0].error, 2)} ` +
      `(95% interval ${percent(step.error_low, 2)} to ${percent(step.error_high, 2)}).`;
    const marker = byId("coverage-marker");
    marker.setAttribute("cx", step.x);
    marker.setAttribute("cy", step.y);
    slider.setAttribute("aria-valuetext", percent(step.left / n));
  };
  slider.addEventListener("input", move);
  move();
}
