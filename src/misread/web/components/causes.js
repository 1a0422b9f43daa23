// The causes of misread images, which the server finds in the background.

const POLL = 800; // ms between questions

/**
 * Asks until the causes of a split are found; resolves to the server's answer, or to null when they are no longer wanted.
 * wanted: whether they still are. waiting: called with the seconds so far.
 */
export async function foundCauses(server, run, split, { wanted, waiting }) {
  for (;;) {
    const data = await server.get(`/api/runs/${run}/causes/${split}`);
    if (!wanted()) return null;
    if (data.items) return data;
    waiting(Math.round(data.seconds));
    await new Promise((wait) => setTimeout(wait, POLL));
  }
}
