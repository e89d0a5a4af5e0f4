// What stands around the stage: the head with the transport, the way in, track names, notices and dialogs.

import { barsText } from "./music.js";
import { briefFacts, sketchView } from "./sketch.js";
import { html, nothing } from "./vendor/lit-html.js";

const SPEAKER = html`<svg viewBox="0 0 16 16" aria-hidden="true">
  <path d="M2 6h3l4-3v10l-4-3H2z" /><path class="waves" d="M11 5.5a4 4 0 0 1 0 5M12.8 3.6a6.5 6.5 0 0 1 0 8.8" />
</svg>`;

/** The line at the top: piece, transport, and the way to other pieces. */
export function headView(state, on) {
  const { score, music, playing, title, brief } = state;
  const told = score?.facts;
  const facts = told ? [told.key, told.meter, told.tempo, told.length] : brief ? briefFacts(brief) : [];
  return html`
    <h1><img src="/page/icon.svg" alt="" width="24" height="24" /> Descant</h1>
    ${music
      ? html`
          <div class="piece">
            <strong>${title}</strong>
            <span>${facts.filter(Boolean).join(" · ")}</span>
          </div>
          <div class="transport">
            <button class="play" aria-label=${playing ? "Stop" : "Play"} title="Space" @click=${on.play}>
              <span aria-hidden="true">${playing ? "■" : "▶"}</span>
            </button>
            <span id="place">${on.placeText(state.place)}</span>
            <button class="sign" aria-label="Zoom out" title="-" @click=${() => on.zoom(0.8)}>−</button>
            <button class="sign" aria-label="Zoom in" title="+" @click=${() => on.zoom(1.25)}>+</button>
          </div>
        `
      : nothing}
    <nav aria-label="Pieces and help">
      ${music
        ? html`
            <button @click=${on.undo} title="z">Undo</button>
            <button ?disabled=${!score} @click=${on.downloadPiece} aria-label="Save the piece as MIDI">Save</button>
            <button @click=${on.library} title="h">History</button>
          `
        : nothing}
      ${state.entered ? html`<button @click=${on.open} title="o">Open</button>` : nothing}
      <button class="sign" aria-label="Keys" title="?" @click=${on.keys}>?</button>
      <button class="sign" aria-label="Light or dark" @click=${on.theme}>◐</button>
      <label class="unseen">
        A MIDI file
        <input
          id="file"
          type="file"
          tabindex="-1"
          accept=".mid,.midi,audio/midi"
          @change=${(event) => {
            const [file] = event.target.files;
            event.target.value = "";
            if (file) on.file(file);
          }}
        />
      </label>
    </nav>
    ${state.online
      ? nothing
      : html`<p class="lost" role="alert">
          <strong>Descant has stopped answering.</strong> Start it again with <code>descant serve</code>; this page finds
          it by itself.
        </p>`}
  `;
}

/** What there is to do without a piece. */
export function welcomeView(state, on) {
  if (!state.entered) {
    return html`<div class="welcome">
      <h2>This page needs a fresh link</h2>
      <p>Run <code>descant serve</code>: it opens the page, or shows a link that works once.</p>
    </div>`;
  }
  return html`<div class="welcome">
    <img src="/page/motif.svg" alt="" width="420" height="104" />
    <h2>Bring a few bars. Hear where they could go.</h2>
    <p>
      Descant proposes; you decide. It writes next bars, fills gaps or adds instruments, on this computer alone, and
      changes nothing of yours until you say so.
    </p>
    <div class="drop">
      <p>Drop a MIDI file here</p>
      <button class="main" @click=${on.open}>Choose a MIDI file</button>
    </div>
    ${state.demos.length
      ? html`<p class="demos">
          or listen first:
          ${state.demos.map(
            (demo, index) => html`${index ? " or " : ""}<button class="link" @click=${() => on.demo(demo)}>
                ${demo.title}</button
              >${demo.composer ? html` <span>(${demo.composer})</span>` : nothing}`,
          )}
        </p>`
      : nothing}
    ${state.verbs.includes("sketch")
      ? html`<form
          class="describe"
          @submit=${(event) => {
            event.preventDefault();
            on.sketch();
          }}
        >
          <h3>or describe one</h3>
          ${sketchView(state, on, false)}
        </form>`
      : nothing}
    ${state.refusal
      ? html`<p class="refusal" role="alert"><strong>${state.refusal.message}.</strong> ${state.refusal.hint}</p>`
      : nothing}
    ${state.loading ? html`<p role="status">${state.loading}</p>` : nothing}
  </div>`;
}

/** The names at the left of the grid; each chooses its track, and can be silenced. */
export function namesView({ music, silent, proposal, shown, verb, words }, on) {
  const whole = shown && proposal?.candidates[shown - 1]?.whole;
  const said = verb === "accompany" ? (words.accompany.add || "bass, drums").split(",") : [];
  const fresh = shown
    ? (whole?.parts ?? []).slice(music.parts.length).map((part) => part.name)
    : said.map((name) => name.trim()).filter(Boolean);
  return html`<ul>
    ${music.parts.map(
      (part, track) => html`<li>
        <button class="name" title="Choose ${part.name}" @click=${() => on.track(track)}>
          <span class="swatch mine-${(track % 4) + 1}" aria-hidden="true"></span><span>${part.name}</span>
        </button>
        <button
          class="mute ${silent.has(track) ? "off" : ""}"
          aria-label="Silence ${part.name}"
          aria-pressed=${silent.has(track) ? "true" : "false"}
          @click=${() => on.mute(track)}
        >
          ${SPEAKER}
        </button>
      </li>`,
    )}
    ${fresh.map((name) => html`<li class="ghost"><span class="swatch fresh" aria-hidden="true"></span>${name}</li>`)}
  </ul>`;
}

export function noticesView({ notices }, on) {
  return notices.map(
    (item) => html`<div class="notice ${item.kind}" role=${item.kind === "bad" ? "alert" : "status"}>
      <p><strong>${item.message}${item.hint ? "." : ""}</strong> ${item.hint}</p>
      ${item.action
        ? html`<button @click=${item.action.deed}>${item.action.text} <kbd>z</kbd></button>`
        : nothing}
      <button class="sign" aria-label="Close" @click=${() => on.dismiss(item)}>×</button>
    </div>`,
  );
}

const when = (seconds) =>
  new Date(seconds * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });

/** Earlier pieces, and what was asked of this one. */
export function libraryView({ sessions, proposals, session: open, title }, on) {
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
        </ul>`
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

const VERDICTS = { accept: "accepted", keep: "kept", reject: "rejected" };

const KEYS = [
  ["space", "play and stop"],
  ["p", "propose: ask for candidates"],
  ["1 – 9", "hear a candidate"],
  ["0", "back to the original"],
  ["enter", "accept the candidate you hear"],
  ["k, x", "keep it for later, reject it"],
  ["z", "undo"],
  ["esc", "stop what plays or is being written"],
  ["arrows", "on the grid: choose a bar and a track, with Shift several"],
  ["+ −", "on the grid: zoom"],
  ["o, h", "open a file, history"],
];

export function keysView(on) {
  return html`
    ${dialogHead("Keys", on)}
    <dl class="keys-list">
      ${KEYS.map(([key, deed]) => html`<dt><kbd>${key}</kbd></dt><dd>${deed}</dd>`)}
    </dl>
  `;
}

function dialogHead(title, on) {
  return html`<div class="dialog-head">
    <h2 id="dialog-title">${title}</h2>
    <button class="sign" aria-label="Close" @click=${on.close}>×</button>
  </div>`;
}

