// What to write: the verb, the words that belong to it, and the limits every note keeps to, as chips.

import { barsText } from "./music.js";
import { sketchView } from "./sketch.js";
import { html, nothing } from "./vendor/lit-html.js";

/** The verbs this page knows how to ask for; shown when the server has them too. */
export const VERBS = {
  continue: { name: "Continue", tells: "Write what comes next", chips: ["bars"] },
  fill: { name: "Fill", tells: "Write some bars anew", chips: ["bars", "tracks"] },
  accompany: { name: "Accompany", tells: "Add new tracks", chips: ["add"] },
  vary: { name: "Vary", tells: "Change some of the notes", chips: ["bars", "tracks", "strength"] },
  edit: { name: "Edit", tells: "Say what should change", chips: ["text"] },
  sketch: { name: "Sketch", tells: "Describe a new piece", chips: [] },
};

const CHIPS = {
  "continue.bars": { label: "Bars", empty: "8", size: 3, mode: "numeric", tells: "How many bars to write" },
  "fill.bars": { label: "Bars", empty: "5-8", size: 6, tells: "Which bars: 5, or 5-8. Or drag over the grid" },
  "fill.tracks": { label: "Tracks", empty: "all", size: 14, tells: "Names or numbers of tracks, with commas" },
  "accompany.add": {
    label: "Add", empty: "bass, drums", size: 20, list: "instruments", tells: "Instruments, with commas between them",
  },
  "vary.bars": { label: "Bars", empty: "all", size: 6, tells: "Which bars: 5, or 5-8. Or drag over the grid" },
  "vary.tracks": { label: "Tracks", empty: "all", size: 14, tells: "Names or numbers of tracks, with commas" },
  "vary.strength": { label: "Strength", empty: "0.5", size: 4, mode: "decimal", tells: "0 changes nothing, 1 all" },
  "edit.text": { label: "Say", empty: "louder; bars 5-8 sparser", size: 30, tells: "What should be different" },
  key: { label: "Key", empty: "free", size: 9, list: "keys", tells: "Only notes of this scale, such as D minor" },
  chords: { label: "Chords", empty: "free", size: 14, tells: "Chords bar by bar, such as Dm | Gm A7 | Dm" },
  range: { label: "Range", empty: "free", size: 7, tells: "Lowest and highest note, such as C3-C5" },
  density: { label: "Notes a bar", empty: "free", size: 5, tells: "8 for at most 8, 2-8 for 2 to 8" },
  max_polyphony: { label: "Voices", empty: "free", size: 4, mode: "numeric", tells: "At most so many notes at once" },
  temperature: { label: "Daring", empty: "1", size: 4, mode: "decimal", tells: "Below 1 is safer, above 1 bolder; 0 to 2" },
  candidates: { label: "Candidates", empty: "4", size: 3, mode: "numeric", tells: "How many answers to write" },
};
const LIMITS = ["key", "chords", "range", "density", "max_polyphony", "temperature", "candidates"];

const TONICS = ["C", "D", "E", "F", "G", "A", "B", "Bb", "Eb", "Ab", "F#"];
const KEYS = TONICS.flatMap((tonic) => [`${tonic} major`, `${tonic} minor`]);
const INSTRUMENTS = ["upright bass", "electric bass", "drums", "piano", "strings", "flute", "acoustic guitar", "organ"];

/** What the request will be called on its button. */
export function askText(state) {
  const { verb, words, music } = state;
  const said = words[verb];
  if (verb === "continue") {
    const bars = said.bars || "8";
    return `Continue for ${bars} ${bars === "1" ? "bar" : "bars"}`;
  }
  if (verb === "accompany") return `Add ${said.add || "bass, drums"}`;
  if (verb === "edit") return "Change it";
  const span = parseBars(said.bars);
  const tracks = music && parseTracks(said.tracks, music);
  const where = span ? barsText(span[0], span[1]) : verb === "vary" ? "all bars" : "some bars";
  const name = VERBS[verb].name;
  if (!tracks || !said.tracks) return `${name} ${where}`;
  const names = [...tracks].map((track) => music.parts[track].name);
  return `${name} ${where} of ${names.length > 2 ? `${names.length} tracks` : names.join(" and ")}`;
}

/** The body of POST /proposals. */
export function askBody({ verb, words, limits, score }) {
  const body = { operation: verb, score: score.id };
  for (const [name, value] of [...Object.entries(words[verb]), ...Object.entries(limits)]) {
    if (value.trim()) body[name] = value.trim();
  }
  if (verb === "fill") body.bars ??= "";
  if (verb === "accompany") body.add ??= "bass, drums";
  if (verb === "edit") body.text ??= "";
  return body;
}

/** "5-8" as [4, 7]; null for anything else. */
export function parseBars(text) {
  const found = /^\s*(\d{1,5})(?:\s*[-–]\s*(\d{1,5}))?\s*$/.exec(text);
  if (!found) return null;
  const [first, last] = [Number(found[1]) - 1, Number(found[2] ?? found[1]) - 1];
  return first >= 0 && last >= first ? [first, last] : null;
}

/** The tracks a text names, from 0; all for no text, null when a word names none. */
export function parseTracks(text, music) {
  const words = text.split(",").map((word) => word.trim().toLowerCase()).filter(Boolean);
  if (!words.length) return new Set(music.parts.keys());
  const tracks = new Set();
  for (const word of words) {
    const number = Number(word) - 1;
    const named = music.parts.findIndex((part) => part.name.toLowerCase().startsWith(word));
    const track = music.parts[number] ? number : named;
    if (track < 0) return null;
    tracks.add(track);
  }
  return tracks;
}

/** A text for tracks that names them as the server reads it. */
export function tracksText(tracks, music) {
  if (tracks.size === music.parts.length) return "";
  const names = music.parts.map((part) => part.name.toLowerCase());
  const plain = (name) => !name.includes(",") && isNaN(name) && names.filter((n) => n.startsWith(name)).length === 1;
  return [...tracks]
    .map((track) => (plain(names[track]) ? music.parts[track].name : String(track + 1)))
    .join(", ");
}

/** The section. on: {verb(name), word(chip, text), propose(), cancel()}. */
export function askView(state, on) {
  const { verb, words, limits, proposal } = state;
  const busy = proposal && ["asked", "queued", "running"].includes(proposal.state);
  const own = VERBS[verb].chips.map((name) => chip(`${verb}.${name}`, words[verb][name], state, on));
  const sketching = verb === "sketch";
  const waiting = state.engine.state !== "ready";
  return html`
    <form
      class="ask"
      @submit=${(event) => {
        event.preventDefault();
        if (!busy) (sketching ? on.sketch : on.propose)();
      }}
    >
      <div class="verbs" role="radiogroup" aria-label="What to do">
        ${state.verbs.map(
          (name) => html`
            <label class="verb" title=${VERBS[name].tells}>
              <input type="radio" name="verb" .checked=${verb === name} ?disabled=${!state.score && name !== "sketch"} @change=${() => on.verb(name)} />
              <span>${VERBS[name].name}</span>
            </label>
          `,
        )}
      </div>
      ${sketching
        ? sketchView(state, on, busy)
        : html`<div class="chips">
            ${own}<span class="rule" aria-hidden="true"></span>
            ${LIMITS.map((name) => chip(name, limits[name], state, on))}
          </div>`}
      <div class="go">
        ${!busy && sketching
          ? nothing
          : busy
          ? html`<button type="button" class="main stop" @click=${on.cancel}>Stop <kbd>esc</kbd></button>`
          : html`<button type="submit" class="main" ?disabled=${waiting}>${askText(state)} <kbd>p</kbd></button>`}
      </div>
      ${progress(state, busy)}
      ${state.refusal
        ? html`<p class="refusal" role="alert">
            <strong>${state.refusal.message}.</strong> ${state.refusal.hint}
          </p>`
        : nothing}
    </form>
    <datalist id="keys">${KEYS.map((key) => html`<option value=${key}></option>`)}</datalist>
    <datalist id="instruments">${INSTRUMENTS.map((name) => html`<option value=${name}></option>`)}</datalist>
  `;
}

function chip(name, value, state, on) {
  const spec = CHIPS[name];
  const refused = state.refusal?.chip === name;
  return html`
    <label class="chip ${value ? "set" : ""}" title=${spec.tells}>
      <span>${spec.label}</span>
      <input
        name=${name}
        .value=${value}
        placeholder=${spec.empty}
        size=${spec.size}
        maxlength="2000"
        inputmode=${spec.mode ?? "text"}
        list=${spec.list ?? nothing}
        autocomplete="off"
        spellcheck="false"
        aria-invalid=${refused ? "true" : "false"}
        aria-description=${spec.tells}
        @input=${(event) => on.word(name, event.target.value)}
      />
    </label>
  `;
}

function progress(state, busy) {
  const { proposal, engine } = state;
  if (engine.state === "starting") return html`<p class="progress">The model is being loaded…</p>`;
  if (engine.state === "failed") {
    const { message, hint } = engine.error ?? { message: "The model does not work", hint: "" };
    return html`<p class="refusal" role="alert"><strong>${message}.</strong> ${hint}</p>`;
  }
  if (!busy) return nothing;
  const [done, total] = proposal.candidates.reduce(
    ([sum, all], { done, total }) => [sum + done, all + total],
    [0, 0],
  );
  const words = { asked: "Asking…", queued: "Waiting for its turn…" }[proposal.state];
  return html`<p class="progress">
    <progress aria-label="Bars written" max="1" .value=${total ? done / total : 0}></progress>
    ${words ?? `${done} of ${total || "…"} bars`}
  </p>`;
}

/** The chip an error is about, by its first words. */
export function chipOf(message, verb) {
  const said = message.toLowerCase();
  const own = VERBS[verb].chips.map((name) => [name, `${verb}.${name}`]);
  const all = [...own, ...LIMITS.map((name) => [name, name])];
  return all.find(([name]) => new RegExp(`(^|\\W)(--)?${name.replace("_", "[-_]")}`).test(said))?.[1];
}
