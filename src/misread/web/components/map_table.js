// The chosen images of a map as a table: for reading with a screen reader, and for what the map cannot show.

import { make, percent } from "./elements.js";
import { pictureCanvas } from "./pixels.js";

const LISTED = 200; // images in the table

/**
 * Fills `body` with the table of images. rows: {split, position, label, prediction, confidence, cause}, names as text.
 * images: as `studio.images`. shape: of an image. stale: whether the table is no longer wanted.
 */
export async function fillTable(body, rows, { t, images, shape, withCauses, stale }) {
  const shown = rows.slice(0, LISTED);
  const cells = shown.map(() => make("td", { class: "map-picture" }));
  const columns = ["image", "split", "row", "label", "prediction", "confidence", ...(withCauses ? ["cause"] : [])];
  const lines = shown.map((row, i) =>
    make(
      "tr",
      { class: row.label === row.prediction ? "" : "is-wrong" },
      cells[i],
      make("td", { class: "text" }, t(`map.split.${row.split}`)),
      make("td", {}, String(row.position)),
      make("td", { class: "text" }, row.label),
      make("td", { class: "text" }, row.prediction),
      make("td", {}, percent(row.confidence, 2)),
      withCauses ? make("td", { class: "text" }, row.cause) : null,
    ),
  );
  const head = make("tr", {}, ...columns.map((name) => make("th", { scope: "col", class: ["row", "confidence"].includes(name) ? "" : "text" }, t(`map.col.${name}`))));
  const table = make("table", { class: "numbers" }, make("thead", {}, head), make("tbody", {}, ...lines));
  body.replaceChildren(
    make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": t("map.chosen", { n: rows.length }) }, table),
    rows.length > LISTED ? make("p", { class: "quiet" }, t("map.more", { n: LISTED })) : "",
  );
  for (const split of new Set(shown.map((row) => row.split))) {
    const some = shown.flatMap((row, i) => (row.split === split ? [i] : []));
    const { pixels } = await images.get(split, some.map((i) => shown[i].position));
    if (stale()) return;
    some.forEach((i, at) => cells[i].append(pictureCanvas(pixels[at], shape)));
  }
}
