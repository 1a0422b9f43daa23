// The room Train: start a training, watch and steer it, see what became better.

import { make } from "../components/elements.js";
import { TrainingLive } from "../components/training_live.js";
import { ENDED } from "../components/training_record.js";
import { TrainingStart } from "../components/training_start.js";

const REFRESH = 3000; // ms between looks at the queue: another page may have changed it

export const train = {
  id: "train",
  needs: "server",
  mount(root, studio) {
    const room = new TrainRoom(root, studio);
    return () => room.close();
  },
};

class TrainRoom {
  #live = null;
  #closed = false;

  constructor(root, studio) {
    Object.assign(this, { root, studio });
    const { t } = studio;
    this.queue = make("section", { class: "train-queue", "aria-label": t("train.queue"), hidden: "" });
    this.live = make("div");
    this.start = make("div");
    root.append(make("h1", { class: "hidden" }, t("train.title")), make("div", { class: "train-room" }, make("div", { class: "train-side" }, this.queue, this.start), this.live));
    studio.address.onChange((state) => this.#show(state.get("training")));
    studio.keys.add("p", "train.key-pause", () => this.#live?.toggle());
    studio.keys.add("s", "train.key-step", () => this.#live?.act("step"));
    this.timer = setInterval(() => this.#loadQueue(), REFRESH);
    this.#open();
  }

  close() {
    this.#closed = true;
    clearInterval(this.timer);
    this.#live?.close();
  }

  async #open() {
    const { server, address, t } = this.studio;
    try {
      const [choices, trainings] = await Promise.all([server.get("/api/trainings/choices"), this.#loadQueue()]);
      if (this.#closed) return;
      this.start.replaceChildren(new TrainingStart(this.studio, choices, (training) => this.#begun(training)).root);
      const asked = address.read().get("training");
      const running = trainings.find((one) => !ENDED.includes(one.state));
      this.#show(trainings.find((one) => one.id === asked)?.id ?? running?.id ?? trainings.at(-1)?.id);
    } catch (error) {
      this.start.replaceChildren(make("p", { class: "note", role: "alert" }, error.message));
      this.live.replaceChildren(make("p", { class: "quiet" }, t("train.nothing")));
    }
  }

  #begun(training) {
    this.#loadQueue();
    this.#show(training.id);
  }

  /** Shows a training; without an id, what to do first. */
  #show(id) {
    if (id && this.#live?.id === id) return;
    this.#live?.close();
    this.#live = null;
    if (!id) {
      this.live.replaceChildren(make("p", { class: "quiet nothing" }, this.studio.t("train.nothing")));
      return;
    }
    this.#live = new TrainingLive(this.studio, id, (training) => this.#changed(training));
    this.live.replaceChildren(this.#live.root);
    this.studio.address.write({ training: id });
    this.#mark();
  }

  #changed(training) {
    this.#loadQueue();
    if (training.state === "finished") this.studio.runsChanged?.();
  }

  async #loadQueue() {
    let trainings;
    try {
      trainings = await this.studio.server.get("/api/trainings");
    } catch {
      return []; // the frame says that the server is away
    }
    if (this.#closed) return trainings;
    const { t } = this.studio;
    const text = JSON.stringify(trainings);
    if (text === this.shown) return trainings;
    this.shown = text;
    this.queue.hidden = trainings.length === 0;
    const rows = [...trainings].reverse().map((training) => {
      const open = make("button", { type: "button", class: "link", "data-training": training.id }, training.title);
      open.addEventListener("click", () => this.#show(training.id));
      const row = make("li", {}, open, make("span", { class: `state ${training.state}` }, t(`train.state.${training.state}`)));
      if (training.state === "queued") row.append(this.#cancel(training));
      return row;
    });
    this.queue.replaceChildren(make("h2", {}, t("train.queue")), make("ol", { class: "queue" }, ...rows));
    this.#mark();
    return trainings;
  }

  #cancel(training) {
    const { t, server, say } = this.studio;
    const cancel = make("button", { type: "button", class: "quiet", "aria-label": `${t("train.cancel")}: ${training.title}` }, t("train.cancel"));
    cancel.addEventListener("click", async () => {
      try {
        await server.post(`/api/trainings/${training.id}/stop`);
      } catch (error) {
        say(error.message, { error: true });
      }
      this.#loadQueue();
    });
    return cancel;
  }

  #mark() {
    for (const button of this.queue.querySelectorAll("[data-training]")) {
      if (button.dataset.training === this.#live?.id) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
  }
}
