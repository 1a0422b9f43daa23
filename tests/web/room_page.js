// Mounts a room with a `studio` as the shell of the studio or the offline page makes it.

import { translator } from "/web/shell/messages.js";
import { readModel } from "/web/network/model.js";

const facts = await (await fetch("/facts.json")).json();
const bytes = (path) => fetch(path).then((answer) => answer.arrayBuffer());
const test = new Uint8Array(await bytes("/images.bin"));
const size = facts.run.data.image_shape.reduce((a, b) => a * b);
const listeners = new Set();
const values = () => new URLSearchParams(location.hash.slice(1));

function write(changed, { push = false } = {}) {
  const state = values();
  for (const [name, value] of Object.entries(changed)) value ? state.set(name, value) : state.delete(name);
  history[push ? "pushState" : "replaceState"](null, "", `#${state}`);
}

async function ask(path, options) {
  const answer = await fetch(path, options);
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error);
  return body;
}

const server = {
  get: (path) => ask(path),
  post: (path, body) => ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) }),
};
const keys = new Map();
addEventListener("keydown", (event) => {
  if (!event.ctrlKey && !event.target.closest("input, select, textarea")) keys.get(event.key)?.(event);
});
addEventListener("hashchange", () => listeners.forEach((listener) => listener(values())));

export const studio = {
  lang: facts.lang,
  t: translator(facts.lang, facts.texts),
  address: { read: values, write, onChange: (f) => (listeners.add(f), () => listeners.delete(f)) },
  go: (room, more = {}) => {
    history.pushState(null, "", `#${new URLSearchParams({ room, ...more })}`);
    enter();
  },
  server: facts.server ? server : null,
  run: facts.run,
  model: async () => (window.model = readModel(await bytes("/model.bin"))),
  images: {
    split: "test",
    count: async () => facts.labels.length,
    get: async (split, rows) => ({
      pixels: rows.map((row) => test.subarray(row * size, (row + 1) * size)),
      labels: rows.map((row) => facts.labels[row]),
      files: null,
    }),
  },
  keys: { add: (key, text, action) => (keys.set(key, action), () => keys.delete(key)) },
  say: (text) => (window.said = text),
};

let leave = null;
async function enter() {
  const name = values().get("room");
  leave?.();
  const root = Object.assign(document.createElement("section"), { className: "room", id: `room-${name}` });
  document.getElementById("main").replaceChildren(root);
  const room = (await import(`/web/rooms/${name}.js`))[name];
  leave = room.mount(root, studio);
}
addEventListener("popstate", () => {
  if (!document.getElementById(`room-${values().get("room")}`)) enter();
});
enter();
