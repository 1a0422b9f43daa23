// The lesson: 24 pages beside the learner's own run. Each explains one idea and has one thing to touch.

import { make, storage } from "../components/elements.js";
import { pages } from "../lesson/pages.js";
import { openLesson } from "../lesson/source.js";

const STORED = "misread-lesson"; // ids of the pages whose thing was touched

export const lesson = {
  id: "lesson",
  mount(root, studio) {
    const { t } = studio;
    const touched = new Set(storage.read(STORED) ?? []);
    const contents = make("nav", { class: "contents", "aria-label": t("lesson.contents") });
    const article = make("article", { "aria-labelledby": "lesson-title" });
    root.classList.add("lesson");
    root.replaceChildren(contents, article);
    let [current, leave, visit] = [null, () => {}, 0];
    const loading = openLesson(studio);

    function list() {
      const lines = pages.map(({ id }, i) => {
        const name = t(`lesson.${id}.title`);
        const link = make("a", { href: addressOf(id), "aria-current": id === current ? "page" : null }, `${i + 1}. ${name}`);
        const done = touched.has(id);
        return make("li", { class: done ? "done" : "" }, link, done ? make("span", { class: "hidden" }, ` (${t("lesson.tried")})`) : null);
      });
      const progress = t("lesson.progress", { n: pages.filter(({ id }) => touched.has(id)).length, all: pages.length });
      const details = make("details", {}, make("summary", {}, `${t("lesson.contents")} · ${progress}`), make("ol", {}, ...lines));
      details.open = matchMedia("(min-width: 1000px)").matches;
      contents.replaceChildren(details);
    }
    function addressOf(id) {
      const state = studio.address.read();
      state.set("room", "lesson");
      state.set("page", id);
      return `#${state}`;
    }
    function touch() {
      if (touched.has(current)) return;
      touched.add(current);
      storage.write(STORED, [...touched]);
      list();
    }

    async function show(focus) {
      const asked = studio.address.read().get("page");
      const at = Math.max(0, pages.findIndex(({ id }) => id === asked));
      if (pages[at].id === current) return;
      leave();
      leave = () => {};
      current = pages[at].id;
      const mine = ++visit;
      list();
      const stage = make("div", { class: "stage" }, make("p", { class: "quiet", role: "status" }, t("lesson.loading")));
      for (const event of ["input", "click"]) stage.addEventListener(event, ({ target }) => target.closest("button, input, select, canvas") && touch());
      article.replaceChildren(...explanation(t, pages[at], at), stage, steps(at));
      if (focus) article.querySelector("h1").focus();
      try {
        const opened = await loading;
        if (mine !== visit) return; // the reader has moved on
        const missing = missingFor(pages[at], opened);
        stage.replaceChildren();
        if (missing) stage.append(...missing.map((text) => make("p", { class: "note" }, ...marked(text))));
        else leave = pages[at].show(stage, opened) ?? (() => {});
      } catch (error) {
        if (mine === visit) stage.replaceChildren(make("p", { class: "note", role: "alert" }, error.message));
      }
    }
    function missingFor({ needs }, { run, model, samples, problem }) {
      if (needs === "run" && !run) return [t("lesson.no-run")];
      if (needs === "model" && !model) return run ? [t("lesson.no-model"), problem] : [t("lesson.no-run")];
      if (needs && !samples.length) return [run ? t("lesson.no-images") : t("lesson.no-run")];
      return null;
    }
    function go(by) {
      const to = pages.findIndex(({ id }) => id === current) + by;
      if (to < 0 || to >= pages.length) return;
      studio.address.write({ page: pages[to].id }, { push: true });
      show(true);
    }
    function steps(at) {
      const button = (by, name) => {
        const to = pages[at + by];
        if (!to) return make("span");
        const made = make("button", { type: "button", class: by > 0 ? "main" : "", "data-step": by }, `${name}: ${t(`lesson.${to.id}.title`)}`);
        made.addEventListener("click", () => go(by));
        return made;
      };
      return make("nav", { class: "steps", "aria-label": t("lesson.steps") }, button(-1, t("lesson.previous")), button(1, t("lesson.next")));
    }

    const stops = [
      studio.address.onChange(() => show(true)),
      studio.keys.add("n", "lesson.next", () => go(1)),
      studio.keys.add("p", "lesson.previous", () => go(-1)),
    ];
    show(false);
    return () => {
      visit += 1;
      leave();
      for (const stop of stops) stop?.();
    };
  },
};

/** The words of a page: title, paragraphs, formula, and what to try. */
function explanation(t, { id, formula }, at) {
  const paragraphs = t(`lesson.${id}.text`).split("\n");
  return [
    make("p", { class: "quiet" }, t("lesson.place", { n: at + 1, all: pages.length })),
    make("h1", { id: "lesson-title", tabindex: "-1" }, t(`lesson.${id}.title`)),
    ...paragraphs.map((text) => make("p", {}, ...marked(text))),
    ...(formula ? [make("p", { class: "formula", lang: "en" }, formula)] : []),
    make("p", { class: "try" }, make("strong", {}, t("lesson.try")), " ", t(`lesson.${id}.try`)),
  ];
}

/** Text with code between backticks. */
function marked(text) {
  return text.split("`").map((part, i) => (i % 2 ? make("code", {}, part) : part));
}
