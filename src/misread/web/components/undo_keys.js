// Undo and redo by the keys that every program has.

/** Calls `undo` at Ctrl+Z or Command+Z, `redo` with Shift, except in fields for text. Returns a function that ends this. */
export function undoKeys(undo, redo) {
  const press = (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z" || event.target.closest?.("input, textarea")) return;
    event.preventDefault();
    if (event.shiftKey) redo();
    else undo();
  };
  addEventListener("keydown", press);
  return () => removeEventListener("keydown", press);
}
