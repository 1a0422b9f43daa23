// The page: reads its data and starts the components that have a section.

import { translator } from "../shell/messages.js";
import { onAddress, readAddress, writeAddress } from "./address.js";
import { Changes } from "./changes.js";
import { startCoverage } from "./coverage.js";
import { byId } from "./elements.js";
import { Gallery } from "./gallery.js";
import { ImageList } from "./image_list.js";
import { Items } from "./items.js";
import { Labels, startDoubtful } from "./labels.js";
import { startMatrix } from "./matrix.js";
import { startSorting } from "./tables.js";
import { startTheme } from "./theme.js";
import { View } from "./view.js";

const data = JSON.parse(byId("data").textContent);
const t = translator(data.language, data.texts);
const items = new Items(data);
const labels = byId("doubtful") ? new Labels(items, t) : null;
const view = new View(items, t, data.names, labels && ((place, suggested) => labels.decision(place, suggested)));
const open = (places, place, focus) => view.open(places, place, focus);

// a row of tiles has one height: names on a line below each other, unless they are as short as digits
document.body.classList.toggle("long-names", Math.max(...items.classes.map((name) => name.length)) > 2);
startTheme(byId("theme"));
if (byId("matrix")) startMatrix(byId("matrix"));
for (const table of document.querySelectorAll(".sortable")) startSorting(table);
if (byId("left")) startCoverage(byId("left"), data.coverage, t);
const address = { read: readAddress, write: writeAddress };
const counted = items.columns.shard ? "gallery.count-here" : "gallery.count";
const gallery = byId("gallery") ? new Gallery(items, data.misreads, open, { address, t, counted }) : null;
const changes = data.changes ? new Changes(items, t, data.changes, open) : null;
const lists = [...document.querySelectorAll("[data-list]")].map((list) => new ImageList(list, items, data.lists[list.dataset.list], open, t));
if (labels) startDoubtful(labels, t, data.doubtful, open);

/** Enlarges the image that the address names, in the list where it is shown. */
function openFrom(state) {
  const place = state.has("image") ? items.find(Number(state.get("image"))) : -1;
  if (place < 0) return view.dialog.close();
  const list = [gallery, changes, ...lists].find((one) => one?.shown.includes(place));
  open(list ? list.shown : [place], place, list ? list.back : () => {});
}

const inRoom = (state) => state.has("room"); // another part of the page shows it; see playground/playground.js
const linked = readAddress();
if (linked.size && !inRoom(linked)) {
  const onlyChange = linked.has("change") && linked.size === 1;
  ((!onlyChange && byId("gallery")) || byId("comparison"))?.scrollIntoView();
  openFrom(linked);
}
onAddress((state) => {
  if (inRoom(state)) return;
  gallery?.restore(state);
  changes?.restore(state);
  openFrom(state);
});
