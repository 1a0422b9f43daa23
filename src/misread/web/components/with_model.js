// Rooms that need a network: says that it is loading, or why it cannot be.

import { make } from "./elements.js";

/** Makes the room, which has `stop()`, when the network is there. Returns the function that leaves it. */
export function withModel(root, studio, makeRoom) {
  let room = null;
  let left = false;
  root.replaceChildren(make("p", { class: "quiet", role: "status" }, studio.t("draw.loading")));
  studio.model().then(
    (model) => {
      if (!left) room = makeRoom(model);
    },
    (error) => root.replaceChildren(make("p", { class: "note", role: "alert" }, error.message)),
  );
  return () => {
    left = true;
    room?.stop();
  };
}
