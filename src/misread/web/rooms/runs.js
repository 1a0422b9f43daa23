// All runs in a table.
export const runs = {
  id: "runs",
  mount(root, studio) {
    root.textContent = studio.t("shell.room.runs");
  },
};
