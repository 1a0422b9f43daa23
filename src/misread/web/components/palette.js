// Colours of classes, causes and shares: Okabe and Ito's where there are few, else evenly spaced hues.

const FEW = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a800", "#7f5fc4", "#8c5a2b", "#7a8a99"];

/** `count` colours as [r, g, b] of 0..255. */
export function classColours(count) {
  if (count <= FEW.length) return FEW.slice(0, count).map(fromHex);
  // the golden angle keeps colours of neighbouring numbers apart; lightness alternates as well
  return Array.from({ length: count }, (_, k) => fromHue((k * 137.508) % 360, 0.6, [0.45, 0.6, 0.36][k % 3]));
}

/** The colour of a share from 0 (orange) to 1 (blue). */
export function shareColour(share) {
  const [low, high] = [[213, 94, 0], [30, 120, 190]];
  return low.map((from, i) => Math.round(from + (high[i] - from) * share));
}

export const css = ([r, g, b]) => `rgb(${r} ${g} ${b})`;

const fromHex = (text) => [1, 3, 5].map((at) => Number.parseInt(text.slice(at, at + 2), 16));

function fromHue(hue, saturation, lightness) {
  const a = saturation * Math.min(lightness, 1 - lightness);
  const channel = (n) => {
    const k = (n + hue / 30) % 12;
    return Math.round(255 * (lightness - a * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [channel(0), channel(8), channel(4)];
}
