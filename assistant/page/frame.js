// What stands around the stage: the head with the transport, the way in, track names and notices.

import { engineView } from "./ask.js";
import { briefFacts, sketchView } from "./sketch.js";
import { html, nothing } from "./vendor/lit-html.js";

const SPEAKER = html`<svg viewBox="0 0 16 16" aria-hidden="true">
  <path d="M2 6h3l4-3v10l-4-3H2z" /><path class="waves" d="M11 5.5a4 4 0 0 1 0 5M12.8 3.6a6.5 6.5 0 0 1 0 8.8" />
</svg>`;

/** The line at the top: piece, transport, and the way to other pieces. */
export function headView(state, on) {
  const { score, music, playing, waiting, title, brief, live, through } = state;
  const told = score?.facts;
  const facts = told ? [told.key, told.meter, told.tempo, told.length] : brief ? briefFacts(brief) : [];
  return html`
    <h1><img src="/page/icon.svg" alt="" width="24" height="24" /> <span>Descant</span></h1>
    ${music
      ? html`
          <div class="piece">
            <strong>${title}</strong>
            <span>${facts.filter(Boolean).join(" · ")}</span>
          </div>
          <div class="transport">
            <button class="play" aria-label=${playing ? "Stop" : "Play"} title="Space" @click=${on.play}>
              <span aria-hidden="true">${playing ? (waiting ? "…" : "■") : "▶"}</span>
            </button>
            <span id="place"></span>
            <button class="sign" aria-label="Zoom out" title="-" @click=${() => on.zoom(0.8)}>−</button>
            <button class="sign" aria-label="Zoom in" title="+" @click=${() => on.zoom(1.25)}>+</button>
            ${live?.running
              ? html`<label class="through">
                  <span class="unseen">Heard through</span>
                  <select name="through" @change=${(event) => on.through(event.target.value)}>
                    <option value="here" .selected=${through === "here"}>♪ here</option>
                    <option value="daw" .selected=${through === "daw"}>♪ in the DAW</option>
                  </select>
                </label>`
              : nothing}
          </div>
        `
      : nothing}
    <nav aria-label="Pieces and help">
      ${state.entered
        ? html`
            ${music ? html`<button @click=${on.undo} title="z">Undo</button>` : nothing}
            <button @click=${on.open} title="Open a MIDI file (o)">Open</button>
            <button @click=${on.record} title="Play or sing something (r)">Record</button>
            ${music
              ? html`<button ?disabled=${!score} title="Take the piece away (d)" @click=${() => on.takeAway(0)}>Save</button>
                  <button @click=${on.history} title="h">History</button>`
              : nothing}
            <button @click=${on.styles} title="Your own style (s)">Styles</button>
            <button @click=${on.ports} title="Ports and clock (c)">
              Ports ${live?.running ? html`<span class="dot ${state.heard ? "on" : ""}" aria-hidden="true"></span>` : nothing}
            </button>
          `
        : nothing}
      <button class="sign" aria-label="Keys" title="?" @click=${on.keys}>?</button>
      <button class="sign" aria-label="Light or dark" @click=${on.theme}>◐</button>
      <label class="unseen">
        A MIDI or sound file
        <input
          id="file"
          type="file"
          tabindex="-1"
          accept=".mid,.midi,audio/midi,audio/*"
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
    <div class="drop">
      <p>Drop a MIDI file here, or a recording of a tune</p>
      <div class="ways-in">
        <button class="main" @click=${on.open}>Choose a file</button>
        <button class="main second" @click=${on.record}>Play or hum</button>
      </div>
      ${state.demos.length
        ? html`<p class="demos">
            or try it on
            ${state.demos.map(
              (demo, index) => html`${index ? " or " : ""}<button class="link" @click=${() => on.demo(demo)}>
                  ${demo.title}</button
                >${demo.composer ? html` <span>(${demo.composer})</span>` : nothing}`,
            )}
          </p>`
        : nothing}
    </div>
    ${state.verbs.includes("sketch")
      ? html`<form
          class="describe"
          @submit=${(event) => {
            event.preventDefault();
            on.sketch();
          }}
        >
          <h3>or describe a new piece</h3>
          ${sketchView(state, on, false)} ${engineView(state.engine)}
        </form>`
      : nothing}
    ${state.refusal
      ? html`<p class="refusal" role="alert"><strong>${state.refusal.message}.</strong> ${state.refusal.hint}</p>`
      : nothing}
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

export function noticesView({ notices, loading }, on) {
  const coming = loading
    ? html`<div class="notice coming" role="status">
        <p><progress aria-label=${loading.text}></progress> ${loading.text}</p>
        ${loading.stopper ? html`<button @click=${() => loading.stopper.abort()}>Stop</button>` : nothing}
      </div>`
    : nothing;
  return [coming, ...notices.map(
    (item) => html`<div class="notice ${item.kind}" role=${item.kind === "bad" ? "alert" : "status"}>
      <p><strong>${item.message}${item.hint ? "." : ""}</strong> ${item.hint}</p>
      ${item.action
        ? html`<button @click=${item.action.deed}>
            ${item.action.text}${item.action.key ? html` <kbd>${item.action.key}</kbd>` : nothing}
          </button>`
        : nothing}
      <button class="sign" aria-label="Close" @click=${() => on.dismiss(item)}>×</button>
    </div>`,
  )];
}
