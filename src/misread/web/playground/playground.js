// The rooms Draw and Look inside within a report. An address with a room shows it in place of the report.

import { byId, make } from "../components/elements.js";
import { draw } from "../rooms/draw.js";
import { inside } from "../rooms/inside.js";
import { Address } from "../shell/address.js";
import { Keys } from "../shell/keys.js";
import { translator } from "../shell/messages.js";
import { roomParts } from "../shell/room_parts.js";
import { toasts } from "../shell/toasts.js";
import { Embedded } from "./embedded.js";

const ROOMS = { draw, inside };

class Playground {
  #leave = null;
  #shown = null;

  constructor(data) {
    const asked = new URLSearchParams(location.search).get("lang");
    this.lang = [asked, document.documentElement.lang, "en"].find((one) => one in data.texts);
    this.t = translator(this.lang, data.texts[this.lang]);
    this.run = data.run;
    this.embedded = new Embedded(data);
    this.address = new Address();
    this.keys = new Keys(this.t);
    this.say = toasts(byId("toasts"), this.t("shell.close"));
    this.keys.add("?", "shell.keys", () => this.keys.show());
    for (const id of Object.keys(ROOMS)) byId(`to-${id}`).textContent = this.t(`shell.room.${id}`);
    addEventListener("hashchange", () => this.#enter()); // also when the reader goes on to a section of the report
    this.#enter();
  }
  #enter() {
    const id = this.address.read().get("room");
    const room = Object.hasOwn(ROOMS, id) ? ROOMS[id] : null;
    if (this.#shown === room) return;
    this.#shown = room;
    this.#leave?.();
    this.#leave = null;
    byId("main").hidden = room !== null;
    byId("playground").hidden = room === null;
    for (const one of Object.keys(ROOMS)) {
      if (one === room?.id) byId(`to-${one}`).setAttribute("aria-current", "page");
      else byId(`to-${one}`).removeAttribute("aria-current");
    }
    byId("playground").replaceChildren();
    if (room) this.#mount(room);
    else document.getElementById(location.hash.slice(1))?.scrollIntoView(); // it was hidden when the browser looked for it
  }
  #mount(room) {
    const root = make("section", { class: "room", id: `room-${room.id}`, lang: this.lang });
    byId("playground").append(root);
    scrollTo(0, 0);
    const ends = [];
    const leave = room.mount(root, this.#studio(ends));
    this.#leave = () => {
      leave?.();
      for (const end of ends) end();
    };
  }
  /** What a room is given; see rooms/index.js. */
  #studio(ends) {
    const { lang, t, run, embedded, address } = this;
    return {
      lang, t, run, server: null, images: embedded, say: this.say,
      model: () => embedded.model(),
      ...roomParts(this, (state) => state.get("room") === this.#shown?.id, ends),
      go: (room, values = {}) => {
        address.go({ room, ...values });
        this.#enter();
      },
    }; // prettier-ignore
  }
}

export function startPlayground() {
  return new Playground(JSON.parse(byId("data").textContent).playground);
}
