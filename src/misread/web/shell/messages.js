// The texts of the page in one language. A text may have places for values: "{n} images".

export const LANGUAGES = { en: "English", ko: "한국어" };

/**
 * A function (key, values) -> text. Numbers are written as the language writes them. If values.n is 1 and there is a
 * text `key.one`, that is taken.
 */
export function translator(lang, texts) {
  const format = new Intl.NumberFormat(lang);
  return function t(key, values = {}) {
    const text = (values.n === 1 ? texts[`${key}.one`] : undefined) ?? texts[key];
    if (text === undefined) {
      console.error(`There is no text ${key}`);
      return key;
    }
    return text.replace(/\{(\w+)\}/g, (place, name) => {
      const value = values[name];
      if (value === undefined) return place;
      return typeof value === "number" ? format.format(value) : String(value);
    });
  };
}
