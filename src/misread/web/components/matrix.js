// Moving in the confusion matrix by arrow keys: one stop for Tab, not ninety.

const MOVES = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };

export function startMatrix(matrix) {
  const buttons = [...matrix.querySelectorAll("button")];
  const at = (button) => [Number(button.dataset.label), Number(button.dataset.prediction)];
  if (buttons.length) buttons[0].tabIndex = 0;
  matrix.addEventListener("keydown", (event) => {
    const move = MOVES[event.key];
    const here = event.target.closest("button");
    if (!move || !here) return;
    event.preventDefault();
    const [row, column] = at(here);
    const along = move[0] ? 0 : 1;
    const ahead = buttons
      .map((button) => [button, at(button)[0] - row, at(button)[1] - column])
      .filter(([, down, right]) => (along ? right * move[1] : down * move[0]) > 0)
      .sort(([, d1, r1], [, d2, r2]) =>
        along ? Math.abs(d1) - Math.abs(d2) || Math.abs(r1) - Math.abs(r2) : Math.abs(r1) - Math.abs(r2) || Math.abs(d1) - Math.abs(d2),
      );
    ahead[0]?.[0].focus();
  });
  matrix.addEventListener("focusin", (event) => {
    if (!event.target.matches("button")) return;
    for (const button of buttons) button.tabIndex = button === event.target ? 0 : -1;
  });
}
