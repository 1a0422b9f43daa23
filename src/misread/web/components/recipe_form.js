// A form for the settings of a recipe, made from its JSON schema: the common ones first, the others folded.

import { make } from "./elements.js";

const COMMON = ["epochs", "batch_size", "optimizer", "seed"];
const HIDDEN = ["name", "description", "backbone", "layers"];

export class RecipeForm {
  #values = {};
  #base = {};
  #fields = new Map(); // path -> the element that shows its problem

  /** schema: of a recipe. changed: called after every change. */
  constructor(t, schema, changed) {
    this.t = t;
    this.schema = schema;
    this.changed = changed;
    this.root = make("div", { class: "recipe-form" });
  }

  /** Shows the values of a recipe. */
  show(values) {
    this.#base = structuredClone(values);
    this.#values = structuredClone(values);
    this.#draw();
  }

  /** The top settings that differ from the recipe. */
  settings() {
    const differs = ([name, value]) => JSON.stringify(value) !== JSON.stringify(this.#base[name]);
    return Object.fromEntries(Object.entries(this.#values).filter(differs));
  }

  /** Shows problems, lines of the form "path: text", at their fields. Returns the lines that belong to no field. */
  showProblems(lines) {
    for (const { problem, input } of this.#fields.values()) {
      problem.textContent = "";
      input?.removeAttribute("aria-invalid");
    }
    return lines.filter((line) => {
      const path = line.split(":")[0].trim();
      const known = [...this.#fields.keys()].filter((one) => path === one || path.startsWith(`${one}.`));
      const nearest = known.sort((a, b) => b.length - a.length)[0];
      if (!nearest) return true;
      const { problem, input } = this.#fields.get(nearest);
      problem.textContent = line.trim();
      input?.setAttribute("aria-invalid", "true");
      problem.closest("details")?.setAttribute("open", "");
      return false;
    });
  }

  #draw() {
    this.#fields.clear();
    const { properties } = this.schema;
    const others = Object.keys(properties).filter((name) => !COMMON.includes(name) && !HIDDEN.includes(name));
    const open = this.root.querySelector("details.more-settings")?.open;
    const more = make("details", { class: "more-settings" }, make("summary", {}, this.t("train.more-settings")),
      make("div", { class: "fields" }, ...others.map((name) => this.#field(name, properties[name]))));
    more.open = Boolean(open);
    this.root.replaceChildren(
      make("div", { class: "fields" }, ...COMMON.map((name) => this.#field(name, properties[name]))),
      this.#layers(),
      more,
    );
  }

  /** The parts of a schema without references. null: whether the value may be left out. */
  #resolved(schema) {
    const all = (schema.anyOf ?? [schema]).map((one) => this.#follow(one));
    const parts = all.flatMap((one) => one.oneOf?.map((part) => this.#follow(part)) ?? [one]);
    return { optional: parts.some((one) => one.type === "null"), parts: parts.filter((one) => one.type !== "null") };
  }
  #follow(schema) {
    return schema.$ref ? this.schema.$defs[schema.$ref.split("/").at(-1)] : schema;
  }

  #field(path, schema) {
    const { optional, parts } = this.#resolved(schema);
    if (parts[0].type === "object") return this.#table(path, parts, optional);
    return this.#single(path, parts, optional);
  }

  /** A table of settings. If there are several forms of it, its name chooses one. */
  #table(path, parts, optional) {
    const value = this.#at(path);
    const named = parts.length > 1;
    const nameOf = (part) => part.properties.name?.const ?? part.properties.name?.default;
    const part = (value && parts.find((one) => nameOf(one) === value.name)) ?? parts[0];
    const legend = make("legend", {}, path);
    const children = [legend];
    if (optional) {
      const box = make("input", { type: "checkbox", "aria-label": path });
      box.checked = value !== null;
      box.addEventListener("change", () => this.#set(path, box.checked ? defaults(part) : null, true));
      legend.prepend(box);
    }
    if (named) {
      const input = make("select", { "aria-label": `${path}.name` }, ...parts.map((one) => make("option", {}, nameOf(one))));
      input.value = value.name;
      input.addEventListener("change", () => this.#set(path, defaults(parts.find((one) => nameOf(one) === input.value)), true));
      children.push(this.#labelled(`${path}.name`, "name", input));
    }
    if (value !== null) {
      const names = Object.keys(part.properties).filter((name) => !(named && name === "name"));
      children.push(...names.map((name) => this.#field(`${path}.${name}`, part.properties[name])));
    }
    const problem = this.#problem(path);
    return make("fieldset", {}, ...children, problem);
  }

  #single(path, parts, optional) {
    const choices = parts.flatMap((one) => one.enum ?? (one.const ? [one.const] : []));
    const value = this.#at(path);
    const isFlag = parts[0].type === "boolean";
    let input;
    if (isFlag) {
      input = make("input", { type: "checkbox" });
      input.checked = value;
    } else if (choices.length && choices.length === (parts[0].enum ?? parts).length) {
      input = make("select", {}, ...choices.map((choice) => make("option", {}, choice)));
      input.value = value;
    } else {
      input = make("input", { type: "text", inputmode: "decimal", autocomplete: "off", spellcheck: "false" });
      input.value = value === null ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
    }
    const read = () => (isFlag ? input.checked : parsed(input.value, optional));
    input.addEventListener(isFlag || input.tagName === "SELECT" ? "change" : "input", () => this.#set(path, read()));
    return this.#labelled(path, path.split(".").at(-1), input);
  }

  #labelled(path, text, input) {
    const problem = this.#problem(path, input);
    return make("label", { "data-setting": path }, make("span", {}, text), input, problem);
  }

  #problem(path, input = null) {
    const problem = make("span", { class: "problem", role: "alert" });
    this.#fields.set(path, { problem, input });
    return problem;
  }

  /** The layers as a list, and as text to change. */
  #layers() {
    const { t } = this;
    const list = make("ol", { class: "layers" });
    const fill = () => list.replaceChildren(...this.#values.layers.map((layer) => make("li", {}, ...summary(layer))));
    fill();
    const text = make("textarea", { rows: "8", spellcheck: "false", "aria-label": t("train.layers-text") });
    text.value = layersText(this.#values.layers);
    const problem = this.#problem("layers", text);
    text.addEventListener("input", () => {
      try {
        const layers = JSON.parse(text.value);
        if (!Array.isArray(layers)) throw new Error(t("train.layers-list"));
        this.#set("layers", layers);
        fill();
      } catch (error) {
        problem.textContent = `layers: ${error.message}`;
      }
    });
    return make("fieldset", {}, make("legend", {}, "layers"), list,
      make("details", {}, make("summary", {}, t("train.layers-change")), text), problem);
  }

  #at(path) {
    return path.split(".").reduce((value, name) => value?.[name] ?? null, this.#values);
  }

  #set(path, value, again = false) {
    const names = path.split(".");
    const last = names.pop();
    const table = names.reduce((values, name) => values[name], this.#values);
    table[last] = value;
    if (again) {
      this.#draw();
      this.root.querySelector(`[aria-label="${CSS.escape(path)}"], [aria-label="${CSS.escape(path)}.name"]`)?.focus();
    }
    this.changed();
  }
}

const defaults = (schema) =>
  Object.fromEntries(Object.entries(schema.properties).map(([name, one]) => [name, one.const ?? one.default ?? null]));

/** A number or JSON where the text is that, else the text: the server says what is wrong with it. */
function parsed(text, optional) {
  const trimmed = text.trim();
  if (trimmed === "") return optional ? null : "";
  try {
    return JSON.parse(trimmed);
  } catch {
    return trimmed;
  }
}

/** A layer in a few words: its type, and its arguments that differ from plain ones. */
function summary(layer) {
  const { type, layers, ...rest } = layer ?? {};
  const shown = Object.entries(rest).filter(([, value]) => value !== null && value !== "linear" && value !== true);
  const words = shown.map(([name, value]) => (typeof value === "string" ? value : `${name} ${[value].flat().join("×")}`));
  const inner = layers ? [make("ol", {}, ...layers.map((one) => make("li", {}, ...summary(one))))] : [];
  return [make("b", {}, String(type)), ` ${words.join(", ")}`, ...inner];
}

const layersText = (layers) => `[\n${layers.map((layer) => `  ${JSON.stringify(withoutNull(layer))}`).join(",\n")}\n]`;
const withoutNull = (layer) => Object.fromEntries(Object.entries(layer).filter(([, value]) => value !== null));
