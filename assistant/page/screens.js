// Dialogs: what each has at its head, the history, and the list of keys.

import { barsText } from "./music.js";
import { html } from "./vendor/lit-html.js";

export function dialogHead(title, on) {
  return html`<div class="dialog-head">
    <h2 id="dialog-title">${title}</h2>
    <button class="sign" aria-label="Close" @click=${on.close}>×</button>
  </div>`;
}

const when = (seconds) =>
  new Date(seconds * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });

const VERDICTS = { accept: "accepted", keep: "kept", reject: "rejected" };

/** Earlier pieces, and what was asked of this one. */
export function historyView({ sessions = [], proposals = [], session: open, title }, on) {
  const asked = ({ words, request }) =>
    `${words.operation}${request?.bars ? `, ${barsText(request.bars[0] - 1, request.bars[1] - 1)}` : ""}`;
  const became = ({ state, candidates }) => {
    const verdicts = candidates.filter((one) => one.verdict).map((one) => `${one.number} ${VERDICTS[one.verdict]}`);
    return state === "done" ? verdicts.join(", ") || `${candidates.length} candidates` : state;
  };
  return html`
    ${dialogHead("History", on)}
    <h3>Asked of ${title || "this piece"}</h3>
    ${proposals.length
      ? html`<ul class="list">
          ${proposals.map(
            (proposal) => html`<li>
              <button ?disabled=${proposal.state !== "done"} @click=${() => on.proposal(proposal.id)}>
                <strong>${asked(proposal)}</strong><span>${became(proposal)}</span
                ><span class="when">${when(proposal.created)}</span>
              </button>
            </li>`,
          )}
        </ul>
        <p><button class="small" @click=${on.undo}>Undo the last decision</button></p>`
      : html`<p class="quiet">Nothing yet.</p>`}
    <h3>Pieces</h3>
    <ul class="list">
      ${sessions.map(
        (session) => html`<li>
          <button aria-current=${session.id === open ? "true" : "false"} @click=${() => on.session(session.id)}>
            <strong>${session.name}</strong><span class="when">${when(session.created)}</span>
          </button>
        </li>`,
      )}
    </ul>
  `;
}

const KEYS = [
  ["space", "play and stop"],
  ["p", "propose: ask for candidates"],
  ["1 – 9", "hear a candidate"],
  ["0", "back to your piece"],
  ["enter", "accept the candidate you hear"],
  ["k, x", "keep it for later, reject it"],
  ["b", "compare blind"],
  ["z", "undo"],
  ["d", "take the candidate you hear, or the piece, away"],
  ["esc", "stop what plays or is being written"],
  ["arrows", "on the grid: choose a bar and a track, with Shift several"],
  ["+ −", "on the grid: zoom"],
  ["n, N", "the next and the previous note of the chosen bars"],
  ["l", "lock that note, or all of the chosen bars"],
  ["o, r", "open a file, record"],
  ["s, c, h", "styles, ports and clock, history"],
];

export function keysView(_, on) {
  return html`
    ${dialogHead("Keys", on)}
    <dl class="keys-list">
      ${KEYS.map(([key, deed]) => html`<dt><kbd>${key}</kbd></dt><dd>${deed}</dd>`)}
    </dl>
  `;
}
