// What to write: the verb, the words that belong to it, and the limits every note keeps to, as chips.

import { chipView } from "./chip.js";
import { lockCount, lockedText } from "./locks.js";
import { barsText } from "./music.js";
import { sketchView } from "./sketch.js";
import { html, nothing } from "./vendor/lit-html.js";
import { parseBars, parseTracks, VERBS } from "./words.js";

const CHIPS = {
  "continue.bars": { label: "Bars", empty: "8", size: 3, mode: "numeric", tells: "How many bars to write" },
  "fill.bars": { label: "Bars", empty: "drag over the grid", size: 14, tells: "Which bars: 5, or 5-8. Or drag over the grid" },
  "fill.tracks": { label: "Tracks", empty: "all", size: 14, tells: "Names or numbers of tracks, with commas" },
  "accompany.add": {
    label: "Add", empty: "bass, drums", size: 20, list: "instruments", tells: "Instruments, with commas between them",
  },
  "vary.bars": { label: "Bars", empty: "all", size: 6, tells: "Which bars: 5, or 5-8. Or drag over the grid" },
  "vary.tracks": { label: "Tracks", empty: "all", size: 14, tells: "Names or numbers of tracks, with commas" },
  "vary.strength": { label: "Strength", empty: "0.5", size: 4, mode: "decimal", tells: "0 changes nothing, 1 all" },
  "vary.keep": {
    label: "Keep", choices: ["", "rhythm", "contour", "pitch"], empty: "nothing",
    tells: "What the notes that change keep: their rhythm, the rise and fall of the line, or their pitches",
  },
  "edit.text": { label: "Say", empty: "louder; bars 5-8 sparser", size: 30, tells: "What should be different" },
  key: { label: "Key", empty: "free", size: 9, list: "keys", tells: "Only notes of this scale, such as D minor" },
  chords: { label: "Chords", empty: "free", size: 14, tells: "Chords bar by bar, such as Dm | Gm A7 | Dm" },
  range: { label: "Range", empty: "free", size: 7, tells: "Lowest and highest note, such as C3-C5" },
  density: { label: "Notes a bar", empty: "free", size: 5, tells: "8 for at most 8, 2-8 for 2 to 8" },
  max_polyphony: { label: "Voices", empty: "free", size: 4, mode: "numeric", tells: "At most so many notes at once" },
  style: { label: "Style", choices: [""], empty: "none", tells: "Write like the musician a style was made from" },
  weight: { label: "How much", slider: [0, 1.5, 0.05], tells: "0 is without the style, 1 all of it" },
  temperature: { label: "Daring", empty: "0.95", size: 4, mode: "decimal", tells: "Lower is safer, higher bolder; 0 to 2" },
  candidates: { label: "Candidates", empty: "4", size: 3, mode: "numeric", tells: "How many answers to write" },
};
export const MORE = ["range", "density", "max_polyphony", "temperature", "candidates"]; // shown where they are wanted
const LIMITS = ["key", "chords", "style", "weight", ...MORE];

const TONICS = ["C", "D", "E", "F", "G", "A", "B", "Bb", "Eb", "Ab", "F#"];
const KEYS = TONICS.flatMap((tonic) => [`${tonic} major`, `${tonic} minor`]);
const INSTRUMENTS = ["upright bass", "electric bass", "drums", "piano", "strings", "flute", "acoustic guitar", "organ"];

/** What the request will be called on its button. */
export function askText(state) {
  const { verb, words, music, locks } = state;
  const said = words[verb];
  if (verb === "continue") {
    const bars = said.bars || "8";
    return `Continue for ${bars} ${bars === "1" ? "bar" : "bars"}`;
  }
  if (verb === "accompany") return `Add ${said.add || "bass, drums"}`;
  if (verb === "edit") return "Change it";
  const span = parseBars(said.bars);
  if (verb === "fill" && !span) return "Choose bars to fill";
  const tracks = music && parseTracks(said.tracks, music);
  const where = span ? barsText(span[0], span[1]) : "all bars";
  const name = VERBS[verb].name;
  const around = lockCount(locks) ? " around the locked notes" : "";
  if (!tracks || !said.tracks) return `${name} ${where}${around}`;
  const names = [...tracks].map((track) => music.parts[track].name);
  return `${name} ${where} of ${names.length > 2 ? `${names.length} tracks` : names.join(" and ")}${around}`;
}

/** The body of POST /proposals. lock: notes that stay. */
export function askBody({ verb, words, limits, score }, lock) {
  const body = { operation: verb, score: score.id };
  const { style, weight, ...others } = limits;
  for (const [name, value] of [...Object.entries(words[verb]), ...Object.entries(others)]) {
    if (value.trim()) body[name] = value.trim();
  }
  if (style) body.style = `${style}:${weight}`;
  if (lock.length) body.lock = lock;
  if (verb === "fill") body.bars ??= "";
  if (verb === "accompany") body.add ??= "bass, drums";
  if (verb === "edit") body.text ??= "";
  return body;
}

/** The section. on: {verb(name), word(chip, text), propose(), sketch(), cancel(), styles(), unlockAll(), allLimits()}. */
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
            ${own}${locks(state, on)}<span class="rule" aria-hidden="true"></span>
            ${LIMITS.filter((name) => state.allLimits || limits[name] || !MORE.includes(name)).map((name) =>
              chip(name, limits[name], state, on),
            )}
            <button type="button" class="link more" aria-expanded=${state.allLimits ? "true" : "false"} @click=${on.allLimits}>
              ${state.allLimits ? "less" : "more…"}
            </button>
          </div>`}
      <div class="go">
        ${!busy && sketching
          ? nothing
          : busy
          ? html`<button type="button" class="main stop" @click=${on.cancel}>Stop <kbd>esc</kbd></button>`
          : html`<button type="submit" class="main" ?disabled=${waiting}>
              <span>${askText(state)}</span> <kbd>p</kbd>
            </button>`}
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
  let spec = CHIPS[name];
  if (name === "weight" && !state.limits.style) return nothing;
  if (name === "style") {
    const usable = state.styles.filter((style) => style.usable).map((style) => style.name);
    if (!usable.length) {
      return html`<button type="button" class="chip door" title=${spec.tells} @click=${on.styles}>
        <span>${spec.label}</span> make one…
      </button>`;
    }
    spec = { ...spec, choices: ["", ...usable] };
  }
  return chipView({ ...spec, name, value, refused: state.refusal?.chip === name }, (text) => on.word(name, text));
}

/** What is locked, or how to lock. */
function locks({ canLock, verb, locks: locked }, on) {
  if (!canLock || (verb !== "fill" && verb !== "vary")) return nothing;
  if (!lockCount(locked)) return html`<span class="quiet by-mouse">Draw around notes to keep them <kbd>l</kbd></span>`;
  return html`<span class="chip set locked">
    <span>Locked</span> ${lockedText(locked)}
    <button type="button" class="sign" aria-label="Unlock all notes" @click=${on.unlockAll}>×</button>
  </span>`;
}

function progress(state, busy) {
  const { proposal, engine } = state;
  if (engine.state !== "ready") return engineView(engine);
  if (!busy) return nothing;
  const done = proposal.candidates.reduce((sum, candidate) => sum + candidate.done, 0);
  const total = proposal.candidates.length * Math.max(0, ...proposal.candidates.map((candidate) => candidate.total));
  const drafted = total && done >= total; // what is written from here on is not told, but compared with what there is
  const words = drafted ? "Trying for better ones…" : { asked: "Asking…", queued: "Waiting for its turn…" }[proposal.state];
  return html`<p class="progress">
    <progress aria-label="Bars written" max="1" value=${drafted ? nothing : total ? done / total : 0}></progress>
    ${words ?? `${done} of ${total || "…"} bars`}
  </p>`;
}

/** Why nothing can be asked yet, or not at all. */
export function engineView(engine) {
  if (engine.state === "starting") return html`<p class="progress">The model is being loaded…</p>`;
  if (engine.state !== "failed") return nothing;
  const { message, hint } = engine.error ?? { message: "The model does not work", hint: "" };
  return html`<p class="refusal" role="alert"><strong>${message}.</strong> ${hint}</p>`;
}

/** The chip an error is about, by its first words. */
export function chipOf(message, verb) {
  const said = message.toLowerCase();
  const own = VERBS[verb].chips.map((name) => [name, `${verb}.${name}`]);
  const all = [...own, ...LIMITS.map((name) => [name, name])];
  return all.find(([name]) => new RegExp(`(^|\\W)(--)?${name.replace("_", "[-_]")}`).test(said))?.[1];
}
