// Starts the studio: language, texts, state of the server, and the frame around the rooms.

import { byId, make, storage } from "../components/elements.js";
import { startTheme } from "../components/theme.js";
import { Frame } from "./frame.js";
import { LANGUAGES, translator } from "./messages.js";
import { Server } from "./server.js";

const query = new URLSearchParams(location.search);
if (query.has("token")) {
  query.delete("token"); // it is in a cookie now, and need not be in the history or in a link that is shared
  history.replaceState(null, "", `${location.pathname}${query.size ? `?${query}` : ""}${location.hash}`);
}
const lang = [query.get("lang"), storage.read("misread-language"), navigator.language.slice(0, 2), "en"].find((one) =>
  Object.hasOwn(LANGUAGES, one),
);
storage.write("misread-language", lang);
document.documentElement.lang = lang;
startTheme(byId("theme"));

const PROBLEM = {
  en: ["The studio did not answer as it should", "Is misread studio still running in the terminal?", "Try again"],
  ko: ["스튜디오가 제대로 답하지 않았습니다", "터미널에서 misread studio가 아직 실행 중인가요?", "다시 시도"],
}; // the texts of the page may be what is missing

try {
  await start();
} catch (error) {
  const [title, ask, again] = PROBLEM[lang];
  const button = make("button", { type: "button", class: "main", id: "try-again" }, again);
  document.querySelector(".bar-tools").replaceChildren(); // its controls have no texts
  button.addEventListener("click", () => location.reload());
  byId("main").replaceChildren(
    make("div", { class: "empty", role: "alert" }, make("h1", {}, title), make("p", {}, error.message), make("p", {}, ask), button),
  );
  button.focus();
}

async function start() {
  const asked = ["/api/state", `/messages/${lang}`].map(answer);
  const [state, texts] = await Promise.all(asked);
  const t = translator(lang, texts);
  const server = new Server(t, (now) => frame.serverIs(now));
  const frame = new Frame(lang, t, server);
  frame.start(state);
}

async function answer(path) {
  const response = await fetch(path);
  const found = await response.json().catch(() => ({ error: `${response.status} ${response.statusText}` }));
  if (!response.ok) throw new Error(found.error);
  return found;
}
