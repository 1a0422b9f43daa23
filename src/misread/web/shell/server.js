// Requests to the studio's server. It may end and come back while the page is open.

const RETRY = 1500; // ms between questions to a server that does not answer
const WATCH = 5000; // ms between questions to one that does

/** onChange: called with "down", "up", or "locked" (it was started again with another token). */
export class Server {
  #state = "up";

  constructor(t, onChange) {
    this.t = t;
    this.onChange = onChange;
    this.#watch();
  }

  async get(path) {
    return (await this.#fetch(path)).json();
  }

  async post(path, body = {}) {
    const headers = { "Content-Type": "application/json" };
    return (await this.#fetch(path, { method: "POST", headers, body: JSON.stringify(body) })).json();
  }

  async bytes(path) {
    return (await this.#fetch(path)).arrayBuffer();
  }

  /** Server-sent events of a path, each as parsed JSON, until the stream is closed. The browser connects again by itself. */
  events(path, onEvent) {
    const stream = new EventSource(path);
    stream.onmessage = (event) => onEvent(JSON.parse(event.data));
    return stream;
  }

  async #fetch(path, options) {
    let response;
    try {
      response = await fetch(path, options);
    } catch {
      this.#set("down");
      throw new Error(this.t("shell.no-server"));
    }
    if (response.status === 401) {
      this.#set("locked");
      throw new Error(this.t("shell.locked"));
    }
    this.#set("up");
    if (!response.ok) throw new Error(await problemIn(response));
    return response;
  }

  #set(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.onChange(state);
  }

  async #watch() {
    for (;;) {
      await new Promise((wait) => setTimeout(wait, this.#state === "up" ? WATCH : RETRY));
      if (document.hidden && this.#state === "up") continue;
      try {
        await this.get("/api/alive"); // an answer that is not read to its end keeps its connection
      } catch {
        // the state says it
      }
    }
  }
}

async function problemIn(response) {
  try {
    return (await response.json()).error;
  } catch {
    return `${response.status} ${response.statusText}`;
  }
}
