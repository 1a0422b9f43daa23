// Starts the studio: language, texts, state of the server, and the frame around the rooms.

import { byId, storage } from "../components/elements.js";
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

const state = fetch("/api/state");
const texts = await (await fetch(`/messages/${lang}`)).json();
const t = translator(lang, texts);
const server = new Server(t, (now) => frame.serverIs(now));
const frame = new Frame(lang, t, server);
frame.start(await (await state).json());
