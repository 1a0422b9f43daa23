// The frame around the rooms: navigation, the selected run, keys, messages, and entering and leaving a room.

import { byId, make } from "../components/elements.js";
import { noRun } from "../components/no_run.js";
import { runName } from "../components/run_name.js";
import { loadRoom, ROOMS } from "../rooms/index.js";
import { Address } from "./address.js";
import { Images } from "./images.js";
import { Keys } from "./keys.js";
import { LANGUAGES } from "./messages.js";
import { roomParts } from "./room_parts.js";
import { toasts } from "./toasts.js";

export class Frame {
  #leave = null; // of the room that is shown
  #shown = ""; // room and run that are shown
  #entering = 0;
  #runs = [];

  constructor(lang, t, server) {
    this.lang = lang;
    this.t = t;
    this.server = server;
    this.address = new Address();
    this.keys = new Keys(t);
    this.say = toasts(byId("toasts"), t("shell.close"));
  }

  start(state) {
    this.state = state;
    this.rooms = ROOMS.filter((id) => state.rooms.includes(id));
    this.#label();
    this.keys.add("?", "shell.keys", () => this.keys.show());
    this.address.onChange(() => this.#enter());
    this.loadRuns();
    this.#enter();
  }

  /** Texts and controls of the bar. */
  #label() {
    const { t } = this;
    byId("skip").textContent = t("shell.skip");
    byId("skip").addEventListener("click", (event) => {
      event.preventDefault(); // the address holds the room
      byId("main").focus();
    });
    byId("rooms").setAttribute("aria-label", t("shell.rooms"));
    byId("theme").textContent = t("shell.theme");
    byId("keys").setAttribute("aria-label", t("shell.keys"));
    byId("keys").title = t("shell.keys");
    byId("keys").addEventListener("click", () => this.keys.show());
    const other = Object.keys(LANGUAGES).find((lang) => lang !== this.lang);
    byId("language").textContent = LANGUAGES[other];
    byId("language").lang = other;
    byId("language").addEventListener("click", () => {
      const url = new URL(location.href);
      url.searchParams.set("lang", other);
      location.assign(url);
    });
    const select = byId("run");
    select.setAttribute("aria-label", t("shell.run"));
    select.addEventListener("change", () => {
      const { room } = this.#place();
      this.address.go({ room, run: select.value });
    });
  }

  /** The room and the run that the address names, or those to begin with. */
  #place() {
    const values = this.address.read();
    const run = values.get("run") || this.state.selected;
    const first = this.state.data ? "train" : run ? this.rooms[0] : "runs";
    const room = [values.get("room"), first, "runs"].find((id) => this.rooms.includes(id));
    return { room, run };
  }

  #showRooms(room, run) {
    const links = this.rooms.map((id) => {
      const values = new URLSearchParams({ room: id, ...(run ? { run } : {}) });
      const here = id === room ? { "aria-current": "page" } : {};
      return make("a", { href: `#${values}`, ...here }, this.t(`shell.room.${id}`));
    });
    byId("rooms").replaceChildren(...links);
    links.find((link) => link.ariaCurrent)?.scrollIntoView({ block: "nearest", inline: "nearest" });
    document.title = `${this.t(`shell.room.${room}`)} · misread`;
  }

  async #enter({ again = false } = {}) {
    const { room: id, run } = this.#place();
    const place = `${id} ${run}`;
    if (place === this.#shown && !again) return;
    this.#shown = place;
    const entering = ++this.#entering;
    this.#exit();
    this.#showRooms(id, run);
    byId("run").value = run ?? "";
    this.#failed = false;
    const root = make("section", { class: "room", id: `room-${id}` });
    byId("main").replaceChildren(root);
    try {
      const [room, details] = await Promise.all([this.#room(id), this.#details(id, run)]);
      if (entering !== this.#entering) return; // the reader has gone on
      if (["run", "model"].includes(room.needs) && !details) return this.#showEmpty(root);
      const added = [];
      const leave = room.mount(root, this.#studio(details, added));
      this.#leave = () => {
        leave?.();
        for (const remove of added) remove();
      };
    } catch (error) {
      if (entering === this.#entering) this.#showProblem(root, error);
    }
  }

  #exit() {
    const leave = this.#leave;
    this.#leave = null;
    leave?.();
  }

  async #room(id) {
    try {
      return await loadRoom(id);
    } catch (error) {
      await this.server.get("/api/alive"); // if the server is away, this says so better
      throw error;
    }
  }

  /** The selected run. Where it cannot be read, only the rooms that can do without it are shown. */
  async #details(id, run) {
    if (!run) return null;
    try {
      return await this.server.get(`/api/runs/${encodeURIComponent(run)}`);
    } catch (error) {
      if (["runs", "train"].includes(id)) return null;
      throw error;
    }
  }

  /** What a room is given; see rooms/index.js. */
  #studio(run, added) {
    let model = null;
    return {
      lang: this.lang,
      t: this.t,
      server: this.server,
      run,
      say: this.say,
      ...roomParts(this, () => `${this.#place().room} ${this.#place().run}` === this.#shown, added),
      go: (room, values = {}) => this.address.go({ room, run: run?.id, ...values }),
      images: run && new Images(this.server, run),
      model: () => (model ??= this.#model(run)),
      runsChanged: () => this.loadRuns(),
    };
  }

  async #model(run) {
    if (!run) throw new Error(this.t("shell.no-run"));
    const [{ readModel }, bytes] = await Promise.all([
      import("../network/model.js"),
      this.server.bytes(`/api/runs/${run.id}/model`),
    ]);
    return readModel(bytes);
  }

  /** Fills the choice of runs. */
  async loadRuns() {
    try {
      this.#runs = (await this.server.get("/api/runs")).filter((run) => run.accuracy !== null);
    } catch {
      return; // the frame says that the server is away
    }
    const { run } = this.#place();
    const select = byId("run");
    const options = this.#runs.map((one) =>
      make("option", { value: one.id }, `${runName(one)} · ${this.#percent(one.accuracy)}`),
    );
    select.replaceChildren(...options);
    select.value = run ?? "";
    select.hidden = this.#runs.length === 0;
    this.state.selected ??= this.#runs[0]?.id ?? null;
  }

  #percent(share) {
    return new Intl.NumberFormat(this.lang, { style: "percent", maximumFractionDigits: 2 }).format(share);
  }

  #showEmpty(root) {
    const { t } = this;
    root.replaceChildren(noRun(t, () => this.address.go({ room: "train" }), make("h1", {}, t("shell.no-run"))));
  }

  #showProblem(root, error) {
    const { t } = this;
    const again = make("button", { type: "button", class: "main" }, t("shell.again"));
    again.addEventListener("click", () => this.#enter({ again: true }));
    const runs = make("button", { type: "button" }, t("shell.to-runs"));
    runs.addEventListener("click", () => this.address.go({ room: "runs" }));
    root.replaceChildren(
      make("div", { class: "empty" }, make("h1", {}, t("shell.problem")), make("p", { class: "message" }, error.message), again, " ", runs),
    );
    this.#failed = true;
  }
  #failed = false; // the room could not be shown

  /** Says that the server is away, and continues when it is back. */
  serverIs(now) {
    const banner = byId("offline");
    banner.hidden = now === "up";
    if (now === "down") banner.textContent = this.t("shell.no-server");
    if (now === "locked") banner.textContent = this.t("shell.locked");
    if (now !== "up") return;
    this.say(this.t("shell.back"));
    this.loadRuns();
    if (this.#failed) location.reload(); // a module that could not be loaded is not asked for again on the same page
  }
}
