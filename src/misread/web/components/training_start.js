// The start of a training: data, recipe and settings; or again with the recipe of the selected run.

import { say } from "../shell/messages.js";
import { make } from "./elements.js";
import { RecipeForm } from "./recipe_form.js";

const AUTO = "auto";
const CHECK_DELAY = 300; // ms after the last change

export class TrainingStart {
  #timer = 0;
  #checking = 0;

  /** started: called with the new training. */
  constructor(studio, choices, started) {
    const { t } = studio;
    Object.assign(this, { studio, choices, started });
    const options = (names) => names.map((name) => make("option", {}, name));
    this.data = make("select", { id: "train-data" }, ...options(choices.data));
    this.recipe = make("select", { id: "train-recipe" }, make("option", { value: AUTO }, t("train.auto")), ...options(Object.keys(choices.recipes)));
    this.description = make("p", { class: "quiet" });
    this.problem = make("p", { class: "note", role: "alert", hidden: "" });
    this.form = new RecipeForm(t, choices.schema, () => this.#changed());
    this.paused = make("input", { type: "checkbox", id: "train-paused" });
    this.button = make("button", { type: "submit", class: "main" }, t("train.start"));
    this.resumable = make("section", { class: "train-resumable", hidden: "" });
    const form = make("form", { class: "training-start" },
      make("div", { class: "tools" }, make("label", {}, t("train.data"), this.data), make("label", {}, t("train.recipe"), this.recipe)),
      this.description, this.form.root, this.problem,
      make("div", { class: "choice" }, this.button, make("label", { class: "check" }, this.paused, t("train.paused"))));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const recipe = this.recipe.value;
      this.start({ data: this.data.value, recipe, settings: recipe === AUTO ? {} : this.form.settings() });
    });
    this.recipe.addEventListener("change", () => this.#showRecipe());
    this.data.addEventListener("change", () => studio.address.write({ data: this.data.value }));
    this.root = make("section", { class: "train-new", "aria-label": t("train.new") }, make("h2", {}, t("train.new")), this.#again(), form, this.resumable);
    this.#first();
    this.showResumable();
  }

  /** The choice to begin with: that of the address, else the data that the studio was opened on. */
  #first() {
    const address = this.studio.address.read();
    const set = (select, ...values) => {
      select.value = values.find((value) => value && [...select.options].some((option) => option.value === value)) ?? select.options[0].value;
    };
    set(this.data, address.get("data"), this.choices.chosen, this.studio.run?.data.name);
    set(this.recipe, address.get("recipe"), this.studio.run?.recipe_name, "tutorial-mlp");
    this.#showRecipe();
  }

  /** Buttons that train the selected run again, with its own labels or with those that were fixed since. */
  #again() {
    const { t, run } = this.studio;
    if (!run) return "";
    const button = (key, patch) => {
      const made = make("button", { type: "button", "data-again": patch ? "fixes" : "same" }, t(key));
      made.addEventListener("click", () => this.start({ again: run.id, patch }));
      return made;
    };
    return make("div", { class: "choice again" }, make("span", { class: "quiet" }, run.title), button("train.again", false), button("train.again-fixes", true));
  }

  /** Offers the trainings that were interrupted. */
  async showResumable() {
    const { t, server } = this.studio;
    const runs = (await server.get("/api/runs").catch(() => [])).filter(({ status }) => ["interrupted", "unfinished"].includes(status));
    const rows = runs.map(({ id, name, title }) => {
      const resume = make("button", { type: "button", class: "quiet", "data-resume": id }, t("train.resume-run"));
      resume.addEventListener("click", () => this.start({ resume: id }).then(() => this.showResumable()));
      return make("li", {}, make("span", {}, title || name), resume);
    });
    this.resumable.hidden = !rows.length;
    this.resumable.replaceChildren(make("h2", {}, t("train.resumable")), make("ol", { class: "queue" }, ...rows));
  }

  /** body: of the request that starts a training. */
  async start(body) {
    this.button.disabled = true;
    try {
      if (body.recipe && (await this.#check())) return;
      this.started(await this.studio.server.post("/api/trainings", { ...body, paused: this.paused.checked }));
      this.#showProblem("");
    } catch (error) {
      this.#showProblem(error.message);
    } finally {
      this.button.disabled = false;
    }
  }

  #showRecipe() {
    const name = this.recipe.value;
    const values = this.choices.recipes[name];
    this.form.root.hidden = !values;
    this.description.textContent = values ? say(values.description, this.studio.t) : this.studio.t("train.auto-note");
    if (values) this.form.show(values);
    this.studio.address.write({ recipe: name });
    this.#showProblem("");
  }

  #changed() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#check().catch((error) => this.#showProblem(error.message)), CHECK_DELAY);
  }

  /** Shows the problems of the settings; returns them as a text, empty without any. */
  async #check() {
    clearTimeout(this.#timer);
    const checking = ++this.#checking;
    const body = { recipe: this.recipe.value, settings: this.recipe.value === AUTO ? {} : this.form.settings() };
    const { problem } = await this.studio.server.post("/api/trainings/check", body);
    if (checking === this.#checking) this.#showProblem(problem);
    return problem;
  }

  /** Problems of a recipe are lines after the first, each with the path of its setting. */
  #showProblem(message) {
    const [first, ...lines] = message.split("\n");
    const rest = this.form.showProblems(lines.filter(Boolean));
    const shown = lines.length && !rest.length ? "" : [first, ...rest].join("\n");
    this.problem.textContent = shown;
    this.problem.hidden = !shown;
  }
}
