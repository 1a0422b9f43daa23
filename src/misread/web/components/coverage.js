// The slider for the share of uncertain images that are left to a person.

import { byId, percent } from "./elements.js";

/** slider: a range input. steps: what its positions mean; see `_confidence` in sections.py. t: texts. */
export function startCoverage(slider, steps, t) {
  const move = () => {
    const step = steps[Number(slider.value)];
    const n = step.n + step.left;
    byId("left-share").textContent = percent(step.left / n);
    byId("left-result").textContent = t("report.coverage", {
      left: t("report.n-images", { n: step.left }),
      threshold: step.threshold.toFixed(4),
      misread: step.misread,
      error: percent(step.error, 2),
      all: percent(steps[0].error, 2),
      low: percent(step.error_low, 2),
      high: percent(step.error_high, 2),
    });
    const marker = byId("coverage-marker");
    marker.setAttribute("cx", step.x);
    marker.setAttribute("cy", step.y);
    slider.setAttribute("aria-valuetext", percent(step.left / n));
  };
  slider.addEventListener("input", move);
  move();
}
