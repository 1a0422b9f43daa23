// The texts of the page in one language. A text may have places for values: "{n} images".

export const LANGUAGES = { en: "English", ko: "한국어" };

/**
 * A function (key, values) -> text. Numbers are written as the language writes them. If values.n is 1 and there is a
 * text `key.one`, that is taken. A value may be a message {key, values}, or a list, whose parts get commas between them.
 */
export function translator(lang, texts) {
  const format = new Intl.NumberFormat(lang);
  const written = (value) => {
    if (Array.isArray(value)) return value.map(written).join(", ");
    return typeof value === "number" ? format.format(value) : say(value, t);
  };
  return t;
  function t(key, values = {}) {
    const text = (values.n === 1 ? texts[`${key}.one`] : undefined) ?? texts[key];
    if (text === undefined) {
      console.error(`There is no text ${key}`);
      return key;
    }
    return text.replace(/\{(\w+)\}/g, (place, name) => {
      const value = values[name];
      return value === undefined ? place : written(value);
    });
  }
}

/** A message {key, values} as text, by a function of `translator`. What is no message is its own text. */
export const say = (message, t) => (message?.key ? t(message.key, message.values) : String(message));
