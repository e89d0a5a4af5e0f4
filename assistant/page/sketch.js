// A piece from words: the text box, and what was understood of it as chips that can be changed.

import { chipView } from "./chip.js";
import { Music } from "./music.js";
import { ask } from "./server.js";
import { html, nothing } from "./vendor/lit-html.js";

const EXAMPLE = "dusty jazz waltz, Rhodes and upright bass, D minor, 96 bpm, 16 bars";

// How each fact of a brief is written on its chip, and read from it again. main: shown whether it was said or not.
const number = { write: String, read: (text) => (text.trim() && !isNaN(text) ? Number(text) : text) };
const plain = { write: (value) => value ?? "", read: (text) => text.trim() };
const words = (text) => text.split(",").map((name) => name.trim()).filter(Boolean);
const steps = (...names) => ({
  choices: names.map((name, at) => [String(at - 2), name]), write: String, read: Number,
});
const FACTS = {
  genre: { label: "Genre", main: true, known: "genres", ...plain },
  tempo: { label: "Tempo", main: true, mode: "decimal", ...number },
  meter: {
    label: "Meter",
    main: true,
    write: (value) => value.join("/"),
    read: (text) => text.split("/").map((part) => (part.trim() && !isNaN(part) ? Number(part) : part)),
  },
  key: { label: "Key", main: true, list: "keys", ...plain },
  bars: { label: "Bars", main: true, mode: "numeric", ...number },
  instruments: { label: "Tracks", main: true, write: (value) => value.join(", "), read: words },
  chords: { label: "Chords", main: true, ...plain },
  drums: { label: "Drums", known: "drums", write: (value) => value ?? "none", read: (text) => (text.trim() === "none" ? null : text.trim()) },
  swing: {
    label: "Feel", choices: [["false", "straight"], ["true", "swung"]], write: String, read: (text) => text === "true",
  },
  bass: { label: "Bass", known: "bass", ...plain },
  density: { label: "Notes", ...steps("very few", "few", "medium", "many", "very many") },
  register: { label: "Register", ...steps("very low", "low", "middle", "high", "very high") },
  dynamics: { label: "Loudness", known: "dynamics", choice: true, ...plain },
  textures: {
    label: "Texture",
    empty: "free",
    known: "textures",
    write: (value) => value.map(([name]) => name).join(", "),
    read: (text) => words(text).map((name) => [name, 1]),
  },
  sections: {
    label: "Form",
    empty: "free",
    write: (value) => value.map(({ name, bars }) => (bars ? `${name} ${bars}` : name)).join(", "),
    read: (text) =>
      words(text).map((word) => {
        const [, name, bars] = /^(.*?)\s*(\d+)?$/.exec(word);
        return { name, bars: Number(bars ?? 0) };
      }),
  },
};

let waiting = null;

/** Read the words a moment after the last key. box: state.sketch; then(): what is to happen once it has changed. */
export function understand(box, text, then) {
  clearTimeout(waiting);
  Object.assign(box, { text, edited: false, briefRefusal: null });
  waiting = setTimeout(() => readBrief(box, text.trim() ? { text } : null).then(then), 250);
}

/** Ask what words, or a brief that was changed, are understood as. An answer to older words is left alone. */
export async function readBrief(box, body) {
  clearTimeout(waiting);
  const { text } = box;
  try {
    const brief = body && (await ask("POST", "/briefs", body)).brief;
    if (box.text === text) Object.assign(box, { brief, briefRefusal: null });
  } catch (error) {
    if (box.text === text) box.briefRefusal = error;
  }
}

/** A chip was changed by hand; what was changed counts as said. One change waits for the one before. */
export function changeFact(box, name, value) {
  const { text } = box;
  box.edited = true;
  box.changing = Promise.resolve(box.changing).then(async () => {
    if (box.text !== text || !box.brief) return;
    const said = [...new Set([...box.brief.said, name])];
    await readBrief(box, { brief: { ...box.brief, [name]: FACTS[name].read(value) } });
    if (box.text === text) box.brief = { ...box.brief, said };
  });
  return box.changing;
}

/** The box and its chips. on: {words(text), fact(name, text), allFacts(), sketch()}. */
export function sketchView(state, on, busy) {
  const { text, brief, briefRefusal } = state.sketch;
  return html`
    <div class="sketch">
      <div class="sketch-line">
        <textarea
          class="words"
          name="sketch"
          rows="1"
          aria-label="Describe a piece"
          placeholder=${EXAMPLE}
          .value=${text}
          maxlength="1000"
          autocomplete="off"
          @input=${(event) => on.words(event.target.value.replace(/\s*\n\s*/g, " "))}
          @keydown=${submit}
        ></textarea>
        ${busy
          ? nothing
          : html`<button type="submit" class="main" ?disabled=${state.engine.state !== "ready" || state.asking}>
              ${state.asking ? "Asking…" : "Sketch it"}${state.music ? html` <kbd>enter</kbd>` : nothing}
            </button>`}
      </div>
      ${brief && text ? factsView(state, on) : nothing}
      ${text.trim() && !brief && !briefRefusal ? html`<p class="quiet">Reading…</p>` : nothing}
      ${briefRefusal
        ? html`<p class="refusal" role="alert"><strong>${briefRefusal.message}.</strong> ${briefRefusal.hint}</p>`
        : brief?.remarks.length && text
          ? html`<p class="quiet">${brief.remarks.join(". ")}.</p>`
          : nothing}
    </div>
  `;
}

/** Enter asks, as in a box of one line. */
function submit(event) {
  if (event.key !== "Enter" || event.isComposing) return;
  event.preventDefault();
  event.target.form.requestSubmit();
}

function factsView({ sketch: { brief, all }, vocabulary }, on) {
  const entries = Object.entries(FACTS).filter(([name, fact]) => all || fact.main || brief.said.includes(name));
  return html`<div class="chips" role="group" aria-label="Understood">
    ${entries.map(([name, fact]) => {
      const said = brief.said.includes(name);
      const known = vocabulary[fact.known];
      const chip = {
        ...fact,
        name: `brief.${name}`,
        value: fact.write(brief[name]),
        tells: said ? "You said so" : "Chosen for you",
        list: fact.list ?? (known ? `known-${fact.known}` : undefined),
        choices: fact.choices ?? (fact.choice ? known : undefined),
        set: said,
      };
      return chipView(chip, (text) => on.fact(name, text), true);
    })}
    <button type="button" class="link" aria-expanded=${all ? "true" : "false"} @click=${on.allFacts}>
      ${all ? "less" : "more…"}
    </button>
    ${Object.entries(vocabulary).map(
      ([name, values]) => html`<datalist id="known-${name}">
        ${name === "drums" ? html`<option value="none"></option>` : nothing}
        ${values.map((value) => html`<option value=${value}></option>`)}
      </datalist>`,
    )}
  </div>`;
}

/** The empty sheet a sketch will be written on: its bars, its tempo, and its tracks without a note. */
export function blank({ meter, bars, tempo, instruments, drums }) {
  const quarter = 480;
  const length = (quarter * 4 * meter[0]) / meter[1];
  const names = [...instruments, ...(drums ? ["Drums"] : [])];
  return new Music({
    ticks_per_quarter: quarter,
    bars: Array.from({ length: bars }, (_, index) => [index * length, length, ...meter]),
    tempos: [[0, 60e6 / tempo]],
    tracks: names.map((name) => ({ name, notes: [] })),
  });
}

/** What the head says of a brief, as it does of a piece. */
export const briefFacts = ({ key, meter, tempo, bars }) => [key, meter.join("/"), `${tempo} bpm`, `${bars} bars`];
