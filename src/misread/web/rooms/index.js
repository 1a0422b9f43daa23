// The rooms of the studio in the order of the navigation. Each is a module of the same name, which is loaded when it is
// entered: it exports an object with its own name, {id, needs, mount(root, studio) -> leave}.
//
// needs: "model" or "run": the room is shown only with a selected run; "server": it can do without a run.
// A room is given a `studio`:
//   lang, t: the language, and its texts (shell/messages.js).
//   server: requests (shell/server.js); null in a report.
//   run: the selected run as `/api/runs/ID` gives it; null if there is none.
//   images: {count(split), get(split, rows) -> {pixels, labels, files}} of the run; in the studio also labels(split).
//   model(): resolves to the network (network/model.js). It is loaded when first asked for.
//   address: {read(), write(values, {push}), onChange(listener)} of the room's state; keys: {add(key, textKey, action)}.
//     Listeners and keys end when the room is left.
//   go(room, values): enters a room. say(text, {error, action}): a short message (shell/toasts.js).
//   runsChanged(): the list of runs has changed; not in a report.

export const ROOMS = ["draw", "train", "inside", "misreads", "map", "lesson", "runs"];

export async function loadRoom(id) {
  return (await import(`./${id}.js`))[id];
}
