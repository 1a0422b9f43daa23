// Lists of positions as short text for an address: differences in base 36, with runs of neighbours as one.

/** rows: whole numbers from 0, in any order. Returns text; "0.2-2" is 0, 3, 4, 5. */
export function packRows(rows) {
  const sorted = [...new Set(rows)].sort((a, b) => a - b);
  const parts = [];
  let end = 0; // the row after the last one
  for (let i = 0; i < sorted.length; ) {
    let run = 0;
    while (sorted[i + run + 1] === sorted[i] + run + 1) run += 1;
    parts.push((sorted[i] - end).toString(36) + (run ? `-${run.toString(36)}` : ""));
    end = sorted[i] + run + 1;
    i += run + 1;
  }
  return parts.join(".");
}

/** The rows of such text, rising. What is no such text gives no rows. */
export function unpackRows(text) {
  const rows = [];
  let end = 0;
  for (const part of text ? text.split(".") : []) {
    const [skip, run = "0"] = part.split("-");
    const [first, more] = [end + Number.parseInt(skip, 36), Number.parseInt(run, 36)];
    if (!(first >= 0) || !(more >= 0) || more > 1e6) return [];
    for (let i = 0; i <= more; i++) rows.push(first + i);
    end = first + more + 1;
  }
  return rows;
}
