// What every part of the page needs: painting, saying something, and dialogs.

import { $, state } from "./state.js";

let painter = () => {};
let painting = false;

/** What brings the page up to date. */
export function paintWith(work) {
  painter = work;
}

/** Bring the page up to date with the state, in the next frame. */
export function paint() {
  if (painting) return;
  painting = true;
  requestAnimationFrame(() => {
    painting = false;
    painter();
  });
}

/** For screen readers. */
export function say(text) {
  $("say").textContent = text;
}

/** A sentence in the corner; errors stay until they are closed. action: {text, deed}. */
export function notice(message, hint = "", kind = "good", action = null) {
  const item = { message, hint, kind, action };
  state.notices = [...state.notices.filter((other) => other.message !== message).slice(-2), item];
  if (kind === "good") setTimeout(() => dismiss(item), 7000);
  paint();
}

export function dismiss(item) {
  state.notices = state.notices.filter((other) => other !== item);
  paint();
}

export function refuse(error) {
  if (error.status < 0) return say(error.message);
  notice(error.message, error.hint ?? "", "bad");
  state.notices.at(-1).lost = error.status === 0; // of no use any more once the server is back
}

/** The same function, with its errors shown. */
export const shown = (work) => async (...values) => {
  try {
    return await work(...values);
  } catch (error) {
    refuse(error);
  }
};

/** Open a dialog. subject: what it is about. */
export function openScreen(name, subject = 0) {
  const notices = state.notices.filter(({ kind }) => kind === "bad"); // what went well is not about this
  Object.assign(state, { screen: name, subject, notices });
  paint();
}

export function closeScreen() {
  state.screen = null;
  paint();
}
