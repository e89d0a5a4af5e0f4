// Keys that work everywhere on the page, and files that are dropped on it.

const dialog = document.getElementById("dialog");

/** keys: what each does, by the name the browser gives it. undo: what Ctrl-Z does. */
export function listenToKeys(keys, undo) {
  document.addEventListener("keydown", (event) => {
    const { target, key } = event;
    if (event.altKey || event.repeat || dialog.open) return;
    const plain = !event.ctrlKey && !event.metaKey;
    const writing = target.matches("input:not([type=radio], [type=file], [type=checkbox]), textarea, select");
    if (writing || (target.matches("button, summary, a, input") && (key === "Enter" || key === " "))) return;
    const deed = plain ? keys[key] : key === "z" && !event.shiftKey ? undo : null;
    if (!deed) return;
    event.preventDefault();
    deed();
  });

  // A button that was clicked with the mouse gives the keys back, so that space plays and does not click again.
  document.addEventListener("click", (event) => {
    const button = event.detail > 0 && event.target.closest?.("button, summary, input[type=radio]");
    if (button && !dialog.open && document.activeElement === button) button.blur();
  });
}

/** open(files): what happens to files that are let go over the page. */
export function listenToDrops(open) {
  let over = 0;
  document.addEventListener("dragenter", (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    over += 1;
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", () => {
    over = Math.max(0, over - 1);
    if (!over) document.body.classList.remove("dropping");
  });
  document.addEventListener("dragover", (event) => {
    if (event.dataTransfer.types.includes("Files")) event.preventDefault();
  });
  document.addEventListener("drop", (event) => {
    over = 0;
    document.body.classList.remove("dropping");
    const files = [...event.dataTransfer.files];
    if (!files.length) return;
    event.preventDefault();
    open(files);
  });
}
