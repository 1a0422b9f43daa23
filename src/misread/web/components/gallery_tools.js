// The form that filters, searches and sorts a gallery; see gallery.js, which gives it its work.

import { make } from "./elements.js";

const SORTS = ["confidence", "confidence-up", "loss", "loss-up", "margin", "margin-up", "index"];

/** The form. t: texts. withFiles: images have file names. more: further elements. */
export function galleryTools(t, { withFiles, more = [] }) {
  const choice = (id, all) => make("select", { id }, make("option", { value: "" }, all));
  const labelled = (text, element) => make("label", {}, text, " ", element);
  const sort = make("select", { id: "sort" }, ...SORTS.map((value) => make("option", { value }, t(`gallery.sort.${value}`))));
  return make(
    "form",
    { class: "tools", id: "tools", "aria-label": t("gallery.tools") },
    labelled(t("gallery.label"), choice("by-label", t("gallery.all-classes"))),
    labelled(t("gallery.prediction"), choice("by-prediction", t("gallery.all-classes"))),
    labelled(t("gallery.pair"), choice("by-pair", t("gallery.all-pairs"))),
    labelled(t("gallery.cause"), choice("by-cause", t("gallery.all-causes"))),
    labelled(t(withFiles ? "gallery.by-file" : "gallery.by-index"), make("input", { id: "by-name", type: "search", autocomplete: "off" })),
    labelled(t("gallery.sort"), sort),
    ...more,
    make("button", { type: "reset", id: "all" }, t("gallery.all")),
  );
}
