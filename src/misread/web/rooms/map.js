// All images of a run as points: those that the network sees alike lie near each other.

import { make, percent } from "../components/elements.js";
import { COLOURS, MapPoints } from "../components/map_points.js";
import { fillTable } from "../components/map_table.js";
import { MapView } from "../components/map_view.js";
import { css, shareColour } from "../components/palette.js";
import { pictureCanvas } from "../components/pixels.js";
import { packRows } from "../components/rows.js";

const POLL = 700; // ms between questions while the map is computed
const CHECKED = 2000; // images that the room of misread images takes
const KEPT = 3000; // pictures in memory
const CHOICES = { split: ["test", "val", "train", "all"], method: ["pca", "tsne"], colour: COLOURS, show: ["all", "misread"] };
const TOOLS = ["move", "lasso", "rectangle"];

class MapRoom {
  #end = new AbortController();
  #asked = 0;
  #chosen = [];
  #pictures = new Map();

  constructor(root, studio) {
    Object.assign(this, { root, studio, t: studio.t, run: studio.run, points: new MapPoints(studio.run.data.class_names, studio.t) });
    this.chosen = Object.fromEntries(Object.entries(CHOICES).map(([name, values]) => [name, this.#valid(name, values, studio.address.read())]));
    this.#build();
    this.#keys();
    studio.address.onChange((state) => {
      for (const [name, values] of Object.entries(CHOICES)) this.selects[name].value = this.chosen[name] = this.#valid(name, values, state);
      this.#load();
    });
    this.#load();
  }

  leave() {
    this.#end.abort();
  }

  #valid(name, values, state) {
    const given = state.get(name);
    const exists = name !== "split" || given === "all" || this.run.splits.includes(given);
    return values.includes(given) && exists ? given : values[0];
  }

  #build() {
    const { t, run } = this;
    const labelled = (name, element) => make("label", {}, t(`map.${name}`), " ", element);
    this.selects = {};
    for (const [name, values] of Object.entries(CHOICES)) {
      const there = name === "split" ? values.filter((value) => value === "all" || run.splits.includes(value)) : values;
      const select = make("select", { id: `map-${name}` }, ...there.map((value) => make("option", { value }, t(`map.${name}.${value}`))));
      select.value = this.chosen[name];
      select.addEventListener("change", () => this.#choose(name, select.value));
      this.selects[name] = select;
    }
    this.tools = TOOLS.map((tool) => this.#button(`map.tool.${tool}`, () => this.#take(tool), { "data-tool": tool }));
    const zoom = [["map.zoom-in", "+", () => this.view.zoomBy(1.6)], ["map.zoom-out", "−", () => this.view.zoomBy(1 / 1.6)]];
    this.state = make("p", { class: "quiet", id: "map-state", role: "status" });
    this.tip = make("div", { class: "map-tip", hidden: "" });
    this.legend = make("div", { class: "map-legend" });
    this.list = make("section", { class: "map-list", "aria-labelledby": "map-chosen" });
    const window = make("div", { class: "map-window" });
    this.root.replaceChildren(
      make("h1", {}, t("map.title")),
      make("p", { class: "quiet" }, t("map.help")),
      make("div", { class: "tools" }, ...Object.keys(CHOICES).map((name) => labelled(name, this.selects[name]))),
      make(
        "div",
        { class: "map-bar" },
        make("div", { class: "choice", role: "group", "aria-label": t("map.tool") }, ...this.tools),
        make("div", { class: "choice" }, ...zoom.map(([key, sign, act]) => this.#button(key, act, { "aria-label": t(key), title: t(key) }, sign)), this.#button("map.whole", () => this.view.whole()), this.#button("map.in-view", () => this.#select(this.view.inView()), { id: "in-view" })),
      ),
      this.state,
      make("div", { class: "map-frame" }, window, this.tip),
      this.legend,
      this.list,
    );
    this.view = new MapView(window, {
      label: "",
      on: {
        hover: (point, x, y) => this.#hover(point, x, y),
        choose: (points) => this.#select(points),
        moved: ({ x, y }) => this.studio.address.write({ view: this.view.zoom === 1 ? "" : [x, y, this.view.zoom].map((v) => v.toFixed(4)).join(",") }),
        pictures: (points) => this.#loadPictures(points),
      },
      picture: (point) => this.#pictures.get(this.#key(point)),
      draw: this.studio.address.read().get("draw"),
      signal: this.#end.signal,
    });
    this.#take("move");
    this.#showChosen();
  }

  #button(key, act, attributes = {}, text = this.t(key)) {
    const made = make("button", { type: "button", ...attributes }, text);
    made.addEventListener("click", act);
    return made;
  }

  #keys() {
    const add = (key, text, act) => this.studio.keys.add(key, text, act);
    add("+", "map.key.zoom-in", () => this.view.zoomBy(1.6));
    add("=", "map.key.zoom-in", () => this.view.zoomBy(1.6));
    add("-", "map.key.zoom-out", () => this.view.zoomBy(1 / 1.6));
    add("0", "map.key.whole", () => this.view.whole());
    add("m", "map.key.move", () => this.#take("move"));
    add("l", "map.key.lasso", () => this.#take("lasso"));
    add("b", "map.key.rectangle", () => this.#take("rectangle"));
    add("v", "map.key.in-view", () => this.#select(this.view.inView()));
    add("Escape", "map.key.clear", () => this.#select([]));
  }

  #take(tool) {
    this.view.tool = tool;
    this.view.over.dataset.tool = tool;
    for (const button of this.tools) button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
  }

  #choose(name, value) {
    this.chosen[name] = value;
    this.studio.address.write({ [name]: value === CHOICES[name][0] ? "" : value, view: "" }, { push: true });
    if (["split", "method"].includes(name)) this.#load();
    else this.#colour();
  }

  /** Loads the places, as soon as they are computed, and what is known of each image. */
  async #load() {
    const { studio, t, run } = this;
    const { split, method } = this.chosen;
    const asked = ++this.#asked;
    const path = `/api/runs/${run.id}/map/${split}`;
    this.state.textContent = t("map.loading");
    const place = `${split} ${method}`;
    if (place === this.place) return this.#colour();
    try {
      let known;
      while (!(known = await studio.server.get(`${path}?method=${method}`)).splits) {
        if (asked !== this.#asked || this.#end.signal.aborted) return;
        this.state.textContent = t("map.computing", { share: Math.round(100 * known.progress), seconds: Math.round(known.seconds) });
        await new Promise((wait) => setTimeout(wait, POLL));
      }
      const [bytes, ...labels] = await Promise.all([studio.server.bytes(`${path}/points?method=${method}`), ...known.splits.map(({ name }) => studio.images.labels(name))]);
      if (asked !== this.#asked || this.#end.signal.aborted) return;
      this.place = place;
      this.#fill(known.splits, new Float32Array(bytes), labels.map((one) => one.labels));
    } catch (error) {
      if (asked === this.#asked) this.state.textContent = error.message;
    }
  }

  #fill(splits, columns, labels) {
    const places = this.points.fill(splits, columns, labels);
    this.#chosen = [];
    this.view.over.setAttribute("aria-label", this.t("map.canvas", { n: this.points.n }));
    this.view.setPlaces(places);
    this.#showChosen();
    this.#colour();
    const view = (this.studio.address.read().get("view") ?? "").split(",").map(Number);
    if (view.length === 3) this.view.show({ x: view[0], y: view[1], zoom: view[2] });
  }

  /** Colours and sizes of all points, and the legend. */
  async #colour() {
    const { t, points } = this;
    if (!points.n) return;
    const asked = this.#asked;
    if (this.chosen.colour === "cause") {
      try {
        await points.loadCauses(this.studio.server, this.run.id, {
          wanted: () => asked === this.#asked && !this.#end.signal.aborted,
          waiting: (seconds) => (this.state.textContent = t("misreads.finding-causes", { seconds })),
        });
      } catch (error) {
        this.state.textContent = error.message;
        return;
      }
      if (asked !== this.#asked || this.#end.signal.aborted) return;
    }
    const { n } = points;
    const groups = points.groups(this.chosen.colour);
    const [colours, sizes] = [new Uint8Array(4 * n), new Float32Array(n)];
    const chosen = new Uint8Array(n);
    for (const i of this.#chosen) chosen[i] = 1;
    const keeps = this.chosen.show === "misread" ? (i) => points.misread(i) : () => true;
    const base = n > 30000 ? 2.2 : n > 5000 ? 3 : n > 1000 ? 5 : 7;
    let misread = 0;
    for (let i = 0; i < n; i++) {
      misread += points.misread(i);
      if (!keeps(i)) continue;
      colours.set(groups.colour(i), 4 * i);
      colours[4 * i + 3] = this.#chosen.length && !chosen[i] ? 70 : 235;
      sizes[i] = base * (points.misread(i) ? 1.7 : 1) * (chosen[i] ? 1.6 : 1);
    }
    this.view.setLook(colours, sizes, keeps);
    this.#showLegend(groups, keeps);
    this.state.textContent = t("map.count", { n, misread });
  }

  #showLegend(groups, keeps) {
    const { t } = this;
    if (!groups.names.length) {
      const bar = make("span", { class: "map-shares" });
      bar.style.background = `linear-gradient(to right, ${[0, 0.25, 0.5, 0.75, 1].map((share) => css(shareColour(share))).join(", ")})`;
      this.legend.replaceChildren(t("map.low"), bar, t("map.high"));
      return;
    }
    const points = groups.names.map(() => []);
    for (let i = 0; i < this.points.n; i++) if (keeps(i)) points[groups.of(i)].push(i);
    const buttons = groups.names.map((name, k) => {
      const dot = make("span", { class: "map-dot" });
      dot.style.background = css(groups.colours[k]);
      const made = this.#button("", () => this.#select(points[k]), {}, name);
      made.prepend(dot);
      made.append(make("small", {}, String(points[k].length)));
      return made;
    });
    this.legend.replaceChildren(...buttons.filter((_, k) => points[k].length));
  }

  #key(i) {
    return `${this.points.split(i)} ${this.points.position[i]}`;
  }
  #shape() {
    return this.run.data.image_shape;
  }

  async #loadPictures(points) {
    const missing = points.filter((i) => !this.#pictures.has(this.#key(i)));
    if (!missing.length) return;
    for (const split of new Set(missing.map((i) => this.points.split(i)))) {
      const some = missing.filter((i) => this.points.split(i) === split);
      const keys = some.map((i) => this.#key(i));
      try {
        const { pixels } = await this.studio.images.get(split, some.map((i) => this.points.position[i]));
        keys.forEach((key, at) => this.#pictures.set(key, pictureCanvas(pixels[at], this.#shape())));
      } catch {
        return; // the frame says that the server is away
      }
    }
    for (const key of this.#pictures.keys()) {
      if (this.#pictures.size <= KEPT) break;
      this.#pictures.delete(key);
    }
    this.view.redraw();
  }

  #hover(i, x, y) {
    this.tip.hidden = i < 0;
    if (i < 0) return;
    const { label, prediction, confidence, cause, split, position } = this.points.row(i);
    const picture = this.#pictures.get(this.#key(i));
    if (!picture) this.#loadPictures([i]).then(() => !this.tip.hidden && this.tip.dataset.point === String(i) && this.#hover(i, x, y));
    this.tip.dataset.point = String(i);
    const copy = picture && make("canvas", { width: picture.width, height: picture.height });
    copy?.getContext("2d").drawImage(picture, 0, 0);
    this.tip.replaceChildren(
      copy ?? "",
      make("p", {}, make("b", {}, this.t("map.fact", { label, read: prediction, share: percent(confidence, 1) })), make("br"), `${this.t(`map.split.${split}`)} ${position}`, cause ? make("br") : "", cause),
    );
    const { clientWidth: width, clientHeight: height } = this.view.over;
    this.tip.style.left = `${Math.min(x + 14, width - this.tip.offsetWidth - 6)}px`;
    this.tip.style.top = `${y + 14 + this.tip.offsetHeight > height ? Math.max(4, y - this.tip.offsetHeight - 10) : y + 14}px`;
  }

  #select(points) {
    this.#chosen = points;
    this.#showChosen();
    this.#colour();
  }

  #showChosen() {
    const { t, run } = this;
    const { splits, splitOf, position } = this.points;
    const points = this.#chosen;
    const heading = make("h2", { id: "map-chosen", role: "status" }, points.length ? t("map.chosen", { n: points.length }) : t("map.none"));
    const buttons = splits.flatMap((split, which) => {
      const positions = points.filter((i) => splitOf[i] === which).map((i) => position[i]);
      if (!positions.length) return [];
      const text = `${t("map.to-misreads")}${splits.length > 1 ? ` (${t(`map.split.${split}`)})` : ""}`;
      return [this.#button("", () => this.#check(split, positions), { class: "main", "data-check": split }, text)];
    });
    const body = make("div");
    this.list.replaceChildren(heading, make("div", { class: "choice" }, ...buttons, points.length ? this.#button("map.clear", () => this.#select([]), { id: "map-clear" }) : ""), body);
    if (!points.length) return;
    const rows = points.map((i) => this.points.row(i));
    const stale = () => this.#chosen !== points || this.#end.signal.aborted;
    fillTable(body, rows, { t, images: this.studio.images, shape: run.data.image_shape, withCauses: rows.some((row) => row.cause), stale }).catch((error) => {
      if (!stale()) this.state.textContent = error.message;
    });
  }

  #check(split, positions) {
    const sorted = positions.sort((a, b) => a - b);
    if (sorted.length > CHECKED) this.studio.say(this.t("map.too-many", { n: CHECKED, all: sorted.length }));
    this.studio.go("misreads", { list: "chosen", split: split === "test" ? "" : split, rows: packRows(sorted.slice(0, CHECKED)) });
  }
}

export const map = {
  id: "map",
  needs: "run",
  mount(root, studio) {
    const room = new MapRoom(root, studio);
    return () => room.leave();
  },
};
