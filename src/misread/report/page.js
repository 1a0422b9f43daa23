"use strict";
{
  const data = JSON.parse(document.getElementById("data").textContent);
  const TILES = 120; // that are drawn at a time
  const CARDS = 24; // each has a list of all classes, so fewer
  const byId = (id) => document.getElementById(id);
  const className = (k) => data.classes[k];
  const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}%`;
  const counted = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

  /** An element with attributes and children. Text is only ever set as text: names from files are not trusted. */
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child !== null));
    return element;
  }

  /** The browser's storage for this page. It may refuse it to a page opened from a file. */
  const storage = {
    read(name) {
      try {
        return JSON.parse(localStorage.getItem(name));
      } catch {
        return null;
      }
    },
    write(name, value) {
      try {
        localStorage.setItem(name, JSON.stringify(value));
      } catch {
        // the page works without
      }
    },
  };

  // ---- theme

  const theme = byId("theme");
  function showTheme(name) {
    if (name) document.documentElement.dataset.theme = name;
    theme.setAttribute("aria-pressed", String(isDark()));
  }
  function isDark() {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }
  theme.addEventListener("click", () => {
    const name = isDark() ? "light" : "dark";
    storage.write("misread-theme", name);
    showTheme(name);
  });
  const storedTheme = storage.read("misread-theme");
  showTheme(storedTheme === "dark" || storedTheme === "light" ? storedTheme : null);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => showTheme(null));

  // ---- pictures and tiles

  function picture(place, description) {
    if (place === null || place === undefined) return null;
    return make("img", { class: "picture", src: `data:image/png;base64,${data.pictures[place]}`, alt: description });
  }

  const reading = (item) =>
    item.label === item.prediction
      ? `${className(item.label)}, read right`
      : `${className(item.label)} read as ${className(item.prediction)}`;
  /** On one line where it fits, else on two that are cut where they are too long; the large view has names in full. */
  const fromTo = (from, to) =>
    make("span", { class: "caption" }, make("span", {}, className(from)), make("span", {}, `→ ${className(to)}`));
  const named = (item) => item.file || `index ${item.index.toLocaleString("en")}`;

  function tile(place, shown, moreSaid) {
    const item = data.items[place];
    const more = moreSaid ?? percent(item.confidence, 2);
    const button = make(
      "button",
      { type: "button", class: "tile", "data-item": place, "aria-label": `${reading(item)}, ${more}, ${named(item)}. Enlarge.` },
      picture(item.picture, ""),
      fromTo(item.label, item.prediction),
      make("span", { class: "detail" }, more),
      item.picture === undefined ? make("span", { class: "detail clip" }, named(item)) : null,
    );
    button.addEventListener("click", () => openView(shown(), place, button));
    return button;
  }

  /** A list of tiles that grows by a page at a time, so that thousands open as fast as a few. */
  class Tiles {
    constructor(list, more, build, size = TILES) {
      Object.assign(this, { list, more, build, size, places: [] });
      more.addEventListener("click", () => {
        const first = this.list.children.length;
        this.grow();
        this.list.children[first]?.querySelector("button")?.focus();
      });
    }
    show(places) {
      this.places = places;
      this.list.replaceChildren();
      this.grow();
    }
    grow() {
      const from = this.list.children.length;
      const next = this.places.slice(from, from + this.size);
      this.list.append(...next.map((place) => make("li", {}, this.build(place))));
      const left = this.places.length - from - next.length;
      this.more.hidden = left === 0;
      this.more.textContent = left > this.size ? `Show ${this.size} more of ${left.toLocaleString("en")}` : `Show ${left} more`;
    }
  }

  // ---- the gallery

  let choosePair = () => {};
  if (byId("gallery")) {
    const label = byId("by-label");
    const prediction = byId("by-prediction");
    const cause = byId("by-cause");
    const sort = byId("sort");
    const item = (place) => data.items[place];
    let shown = data.misreads;
    const tiles = new Tiles(byId("tiles"), byId("more"), (place) => tile(place, () => shown));

    function fill(select, values, all, name) {
      const counts = new Map();
      for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
      const sorted = [...counts].sort(([a], [b]) => (a < b ? -1 : 1));
      select.append(make("option", { value: "" }, all));
      for (const [value, n] of sorted) select.append(make("option", { value }, `${name(value)} (${n.toLocaleString("en")})`));
    }
    fill(label, data.misreads.map((p) => item(p).label), "all classes", className);
    fill(prediction, data.misreads.map((p) => item(p).prediction), "all classes", className);
    if (cause) fill(cause, data.misreads.map((p) => item(p).cause), "all causes", (name) => name);

    function update() {
      const [key, up] = sort.value.split("-");
      const order = key === "index" || up ? 1 : -1;
      shown = data.misreads
        .filter((p) => label.value === "" || item(p).label === Number(label.value))
        .filter((p) => prediction.value === "" || item(p).prediction === Number(prediction.value))
        .filter((p) => !cause || cause.value === "" || item(p).cause === cause.value)
        .sort((p, q) => order * (item(p)[key] - item(q)[key]));
      tiles.show(shown);
      const chosen = [
        label.value && `labelled ${className(label.value)}`,
        prediction.value && `read as ${className(prediction.value)}`,
        cause?.value,
      ].filter(Boolean);
      byId("count").textContent =
        `${shown.length.toLocaleString("en")} of ${counted(data.misreads.length, "misread image")}` +
        (chosen.length ? `: ${chosen.join(", ")}` : "");
      for (const button of document.querySelectorAll("#matrix button")) {
        const same = button.dataset.label === label.value && button.dataset.prediction === prediction.value;
        button.setAttribute("aria-pressed", String(same));
      }
    }
    for (const select of [label, prediction, cause, sort]) select?.addEventListener("change", update);
    byId("tools").addEventListener("submit", (event) => event.preventDefault());
    byId("tools").addEventListener("reset", () => setTimeout(update));

    function choose(values) {
      label.value = values.label ?? "";
      prediction.value = values.prediction ?? "";
      if (cause) cause.value = values.cause ?? "";
      update();
      byId("gallery").scrollIntoView();
      (byId("tiles").querySelector("button") ?? label).focus({ preventScroll: true });
    }
    choosePair = (element) => choose({ label: element.dataset.label, prediction: element.dataset.prediction });
    for (const button of document.querySelectorAll("[data-cause]")) {
      button.addEventListener("click", () => choose({ cause: button.dataset.cause }));
    }
    update();

    byId("preview").append(
      ...data.misreads.slice(0, 18).map((place) => make("li", {}, tile(place, () => data.misreads))),
    );
  }
  for (const cell of document.querySelectorAll("#confusion [data-label]")) {
    cell.addEventListener("click", () => choosePair(cell));
  }

  // ---- moving in the matrix by arrow keys: one stop for Tab, not ninety

  const matrix = byId("matrix");
  if (matrix) {
    const buttons = [...matrix.querySelectorAll("button")];
    const at = (button) => [Number(button.dataset.label), Number(button.dataset.prediction)];
    const moves = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
    if (buttons.length) buttons[0].tabIndex = 0;
    matrix.addEventListener("keydown", (event) => {
      const move = moves[event.key];
      const here = event.target.closest("button");
      if (!move || !here) return;
      event.preventDefault();
      const [row, column] = at(here);
      const along = move[0] ? 0 : 1;
      const ahead = buttons
        .map((button) => [button, at(button)[0] - row, at(button)[1] - column])
        .filter(([, down, right]) => (along ? right * move[1] : down * move[0]) > 0)
        .sort(([, d1, r1], [, d2, r2]) =>
          along ? Math.abs(d1) - Math.abs(d2) || Math.abs(r1) - Math.abs(r2) : Math.abs(r1) - Math.abs(r2) || Math.abs(d1) - Math.abs(d2),
        );
      ahead[0]?.[0].focus();
    });
    matrix.addEventListener("focusin", (event) => {
      if (!event.target.matches("button")) return;
      for (const button of buttons) button.tabIndex = button === event.target ? 0 : -1;
    });
  }

  // ---- tables that sort

  for (const table of document.querySelectorAll(".sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    const value = (row, column) => {
      const cell = row.cells[column];
      const text = cell.dataset.value ?? cell.textContent.replaceAll(",", "").trim();
      return text === "" ? null : Number.isNaN(Number(text)) || column === 0 ? cell.textContent.trim() : Number(text);
    };
    heads.forEach((head, column) => {
      head.querySelector("button")?.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") ? head.getAttribute("aria-sort") === "ascending" : column !== 0;
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const compare = (a, b) => {
          const [x, y] = [value(a, column), value(b, column)];
          if (x === null || y === null) return (x === null) - (y === null); // what is not defined comes last
          const order = typeof x === "number" ? x - y : x.localeCompare(y, "en", { numeric: true });
          return down ? -order : order;
        };
        const body = table.tBodies[0];
        body.append(...[...body.rows].sort(compare));
      });
    });
  }

  // ---- coverage

  const left = byId("left");
  if (left) {
    const move = () => {
      const step = data.coverage[Number(left.value)];
      const n = step.n + step.left;
      const all = data.coverage[0];
      byId("left-share").textContent = percent(step.left / n);
      byId("left-result").textContent =
        `${counted(step.left, "image")} below a confidence of ${step.threshold.toFixed(4)}; of the rest ` +
        `${step.misread.toLocaleString("en")} are misread: ${percent(step.error, 2)} instead of ${percent(all.error, 2)} ` +
        `(95% interval ${percent(step.error_low, 2)} to ${percent(step.error_high, 2)}).`;
      const marker = byId("coverage-marker");
      marker.setAttribute("cx", step.x);
      marker.setAttribute("cy", step.y);
      left.setAttribute("aria-valuetext", percent(step.left / n));
    };
    left.addEventListener("input", move);
    move();
  }

  // ---- the large view

  const view = byId("view");
  let viewed = { places: [], at: 0, from: null };

  function openView(places, place, from) {
    viewed = { places, at: Math.max(0, places.indexOf(place)), from };
    drawView();
    view.showModal();
    byId("close").focus();
  }
  function step(by) {
    const at = viewed.at + by;
    if (at < 0 || at >= viewed.places.length) return;
    viewed.at = at;
    drawView();
    // what had the focus may be gone with the image before, or be disabled now
    if (!view.contains(document.activeElement) || document.activeElement.disabled) byId("close").focus();
  }
  /** The most probable classes of a reading, and the label where it is none of them. */
  function bars({ top, confidence, margin }, label, title) {
    const shown = top.some(([k]) => k === label) ? top : [...top, [label, Math.max(0, confidence - margin)]];
    const rows = shown.map(([k, share]) =>
      make(
        "tr",
        { class: k === label ? "is-label" : k === top[0][0] ? "is-wrong" : "" },
        make("th", { scope: "row" }, className(k), k === label ? make("small", {}, " (label)") : null),
        make("td", { class: "rod" }, make("span", { style: `--share:${(100 * share).toFixed(2)}` })),
        make("td", {}, percent(share, 2)),
      ),
    );
    return make("table", { class: "probs" }, make("caption", { class: "hidden" }, title), make("tbody", {}, ...rows));
  }
  function neighbours(item) {
    if (!item.neighbours?.length) return [];
    const list = item.neighbours.map((near) =>
      make(
        "li",
        {},
        picture(near.picture, `training image ${near.file || near.index}, labelled ${className(near.label)}`),
        make("b", { class: "clip" }, className(near.label)),
        make("span", { class: "quiet clip" }, near.file || near.index.toLocaleString("en")),
      ),
    );
    return [
      make("h3", {}, "The nearest training images, by the network's features"),
      make("ol", { class: "near" }, ...list),
    ];
  }
  function drawView() {
    const place = viewed.places[viewed.at];
    const item = data.items[place];
    const [a, b] = data.names ?? [];
    const other = item.b;
    const title = other
      ? `Labelled ${className(item.label)}`
      : `Labelled ${className(item.label)}, read as ${className(item.prediction)}`;
    const facts = make(
      "div",
      {},
      make("h2", { id: "view-title" }, title),
      other ? make("h3", {}, `A, ${a}: ${className(item.prediction)}`) : null,
      bars(item, item.label, "Most probable classes"),
      other ? make("h3", {}, `B, ${b}: ${className(other.prediction)}`) : null,
      other ? bars(other, item.label, "Most probable classes by B") : null,
      item.cause
        ? make(
            "p",
            {},
            make("span", { class: "chip" }, item.cause),
            item.cause === "undetermined" ? " " : ` at least ${Math.floor(100 * item.cause_probability)}% sure; `,
            item.evidence,
          )
        : null,
    );
    const hash = item.hash ? `, hash ${item.hash}` : "";
    const file = item.file ? `, file ${item.file}` : "";
    const enlarged = picture(item.picture, `the image: labelled ${className(item.label)}, read as ${className(item.prediction)}`);
    byId("view-body").replaceChildren(
      make(
        "div",
        { class: enlarged ? "view" : "" },
        enlarged ?? "",
        facts,
        make(
          "div",
          { class: "wide-row" },
          ...neighbours(item),
          item.hash && byId("doubtful") ? make("h3", {}, "The label") : null,
          item.hash && byId("doubtful") ? decision(place, item.prediction) : null,
          make("p", { class: "meta" }, `Index ${item.index.toLocaleString("en")}${file}; confidence ${percent(item.confidence, 2)}, margin ${percent(item.margin, 2)}, loss ${item.loss.toPrecision(4)}${hash}`),
        ),
      ),
    );
    byId("view-place").textContent = `${(viewed.at + 1).toLocaleString("en")} of ${viewed.places.length.toLocaleString("en")}`;
    byId("previous").disabled = viewed.at === 0;
    byId("next").disabled = viewed.at === viewed.places.length - 1;
  }
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("close").addEventListener("click", () => view.close());
  view.addEventListener("click", (event) => {
    if (event.target === view) view.close();
  });
  view.addEventListener("keydown", (event) => {
    if (event.target.matches("input, select")) return;
    if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "ArrowRight") step(1);
    else return;
    event.preventDefault();
  });
  view.addEventListener("close", () => {
    // to the tile of the image last looked at, where it is in the same list; else to where it was opened
    const place = viewed.places[viewed.at];
    const list = viewed.from?.closest("ul");
    (list?.querySelector(`[data-item="${place}"]`) ?? viewed.from)?.focus();
  });

  // ---- labels: decisions, stored by image hash, and the patch made of them

  const DECISIONS = "misread-decisions";
  const onPage = new Map(data.items.filter((item) => item.hash).map((item) => [item.hash, item]));
  const decisions = new Map(
    Object.entries(storage.read(DECISIONS) ?? {}).filter(
      ([hash, made]) => onPage.has(hash) && typeof made === "object" && data.classes.includes(made?.label),
    ),
  );

  function decide(hash, made) {
    const all = storage.read(DECISIONS) ?? {}; // another page may have written since
    if (made) {
      decisions.set(hash, made);
      all[hash] = made;
    } else {
      decisions.delete(hash);
      delete all[hash];
    }
    storage.write(DECISIONS, all);
    showDecisions();
  }

  const fixes = () => [...decisions].filter(([hash, made]) => made.label !== className(onPage.get(hash).label));

  /** The buttons that decide on one label: take the suggestion, another class, or keep it; and a note. */
  function decision(place, suggested) {
    const item = data.items[place];
    const { hash } = item;
    const old = className(item.label);
    const offer = className(suggested);
    const set = (label) =>
      decide(hash, decisions.get(hash)?.label === label ? null : { label, note: note.value, at: new Date().toISOString() });
    const button = (text, label) => {
      const made = make("button", { type: "button", "data-decide": label }, text);
      made.addEventListener("click", () => set(label));
      return made;
    };
    const others = make("select", { "aria-label": "Another class" }, make("option", { value: "" }, "other …"));
    for (const name of data.classes) {
      if (name !== old && name !== offer) others.append(make("option", { value: name }, name));
    }
    others.addEventListener("change", () => others.value !== "" && set(others.value));
    const note = make("input", { maxlength: "300", placeholder: "why", value: decisions.get(hash)?.note ?? "" });
    note.addEventListener("change", () => decisions.has(hash) && decide(hash, { ...decisions.get(hash), note: note.value }));
    const group = make(
      "div",
      { class: "decision", role: "group", "aria-label": `The label of ${named(item)}`, "data-hash": hash },
      make(
        "div",
        { class: "choice" },
        suggested === item.label ? null : button(`It is ${offer}`, offer),
        button(`Keep ${old}`, old),
        data.classes.length > 2 ? others : null,
      ),
      make("label", {}, "Note ", note),
    );
    showDecision(group);
    return group;
  }

  function showDecision(group) {
    const made = decisions.get(group.dataset.hash);
    for (const button of group.querySelectorAll("[data-decide]")) {
      button.setAttribute("aria-pressed", String(made?.label === button.dataset.decide));
    }
    const others = group.querySelector("select");
    if (others) others.value = [...others.options].some((option) => option.value === made?.label) ? made.label : "";
    const note = group.querySelector("input");
    if (document.activeElement !== note) note.value = made?.note ?? note.value;
    group.closest("li")?.toggleAttribute("data-decided", Boolean(made));
  }

  function showDecisions() {
    document.querySelectorAll("[data-hash]").forEach(showDecision);
    if (!byId("doubtful")) return;
    const fixed = fixes().length;
    byId("save").disabled = fixed === 0;
    byId("forget").disabled = decisions.size === 0;
    byId("decided").textContent = decisions.size
      ? `${counted(fixed, "label")} to fix, ${(decisions.size - fixed).toLocaleString("en")} kept`
      : "Nothing decided yet";
  }

  if (byId("doubtful")) {
    const shown = () => data.doubtful.map((doubt) => doubt.item);
    const list = new Tiles(byId("doubts"), byId("doubts-more"), (doubt) => {
      const item = data.items[doubt.item];
      const fragment = document.createDocumentFragment();
      const group = decision(doubt.item, doubt.suggested);
      group.prepend(
        make("p", {}, make("b", {}, `${className(item.label)}, or ${className(doubt.suggested)}?`), make("span", { class: "quiet" }, ` label ${percent(doubt.doubt, 2)}`)),
      );
      fragment.append(tile(doubt.item, shown, named(item)), group);
      return fragment;
    }, CARDS);
    list.show(data.doubtful);
    const by = byId("by");
    by.value = storage.read("misread-by") ?? "";
    by.addEventListener("change", () => storage.write("misread-by", by.value.trim()));
    byId("forget").addEventListener("click", () => {
      for (const hash of [...decisions.keys()]) decide(hash, null);
      for (const note of document.querySelectorAll("[data-hash] input")) note.value = "";
    });
    byId("save").addEventListener("click", () => {
      const lines = fixes().map(
        ([image, made]) =>
          `${JSON.stringify({ image, old: className(onPage.get(image).label), new: made.label, by: by.value.trim(), at: made.at, note: made.note ?? "" })}\n`,
      );
      const link = make("a", { href: URL.createObjectURL(new Blob([lines.join("")], { type: "application/jsonl" })), download: "labels.jsonl" });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
    showDecisions();
  }

  // ---- what changed between two models

  if (data.changes) {
    const choice = byId("changes-choice");
    let shown = [];
    const tiles = new Tiles(byId("changes-tiles"), byId("changes-more"), (place) => {
      const item = data.items[place];
      const made = tile(place, () => shown);
      made.querySelector(".caption").replaceWith(fromTo(item.prediction, item.b.prediction));
      made.setAttribute("aria-label", `Labelled ${className(item.label)}; A read ${className(item.prediction)}, B ${className(item.b.prediction)}. Enlarge.`);
      made.querySelector(".detail").textContent = `label ${className(item.label)}`;
      return made;
    });
    const show = (name) => {
      shown = data.changes[name];
      for (const button of choice.children) button.setAttribute("aria-pressed", String(button.dataset.change === name));
      byId("changes-count").textContent =
        counted(shown.length, "image") +
        { broken: ": A read them right, B misreads them.", fixed: ": A misread them, B reads them right.", both: ": misread by both." }[name] +
        (shown.length ? " Below each: what A read → what B reads." : "");
      tiles.show(shown);
    };
    for (const button of choice.children) button.addEventListener("click", () => show(button.dataset.change));
    show("broken");
  }
}
