// Elements, texts and the browser's storage: what every component uses.

export const byId = (id) => document.getElementById(id);
export const percent = (share, digits = 1) => format("percent", digits).format(share);
export const number = (n) => format("decimal", 0).format(n);

const formats = new Map(); // making one takes longer than writing a number

/** Writes numbers as the language of the page does. */
function format(style, digits) {
  const { lang } = document.documentElement;
  const key = `${lang} ${style} ${digits}`;
  if (!formats.has(key)) {
    formats.set(key, new Intl.NumberFormat(lang || undefined, { style, minimumFractionDigits: digits, maximumFractionDigits: digits }));
  }
  return formats.get(key);
}

/** An element with attributes and children. Text is only ever set as text: names from files are not trusted. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined) continue;
    if (name === "style") element.style.cssText = value; // a page may forbid style attributes, not this
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Sets an element's text, if it has another: even the same text would be laid out and painted again. */
export function write(element, text) {
  if (element.textContent !== String(text)) element.textContent = text;
}

/** The browser's storage for this page. It may refuse it to a page opened from a file. */
export const storage = {
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
