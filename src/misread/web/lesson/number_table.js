// A table of names and numbers.

import { make } from "../components/elements.js";

/** columns: their names; the first column names the row. rows: texts or numbers. */
export function numberTable(columns, rows) {
  const cell = (value, i) => (i ? make("td", { class: "n" }, String(value)) : make("th", { scope: "row" }, String(value)));
  return make(
    "table",
    { class: "figures-table" },
    make("thead", {}, make("tr", {}, ...columns.map((column, i) => make("th", { scope: "col", class: i ? "n" : "" }, column)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map(cell)))),
  );
}
