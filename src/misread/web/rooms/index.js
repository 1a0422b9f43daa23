// The rooms of the studio in the order of the navigation. Each is a module of the same name, which is loaded when it is
// entered: it exports an object with its own name, {id, needs, mount(root, studio) -> leave}.

export const ROOMS = ["draw", "train", "inside", "misreads", "map", "lesson", "runs"];

export async function loadRoom(id) {
  return (await import(`./${id}.js`))[id];
}
