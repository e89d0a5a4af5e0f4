// A piece from words: the text box, and what was understood of it as chips that can be changed.

import { Music } from "./music.js";
import { ask } from "./server.js";
import { html, nothing } from "./vendor/lit-html.js";

const EXAMPLE = "dusty jazz waltz, Rhodes and upright bass, D minor, 96 bpm, 16 bars";

// How each fact of a brief is written on its chip, and read from it again.
const number = { write: String, read: (text) => (text.trim() && !isNaN(text) ? Number(text) : text) };
const plain = { write: (value) => value ?? "", read: (text) => text.trim() };
const FACTS = {
  genre: { label: "Style", ...plain },
  tempo: { label: "Tempo", ...number },
  meter: {
    label: "Meter",
    write: (value) => value.join("/"),
    read: (text) => text.split("/").map((part) => (part.trim() && !isNaN(part) ? Number(part) : part)),
  },
  key: { label: "Key", ...plain },
  bars: { label: "Bars", ...number },
  instruments: {
    label: "Tracks",
    write: (value) => value.join(", "),
    read: (text) => text.split(",").map((name) => name.trim()).filter(Boolean),
  },
  chords: { label: "Chords", ...plain },
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

/** A chip was changed by hand. */
export async function changeFact(box, name, value) {
  box.edited = true;
  await readBrief(box, { brief: changed(box.brief, name, value) });
}

/** A brief with one fact as a chip says it; what was changed by hand counts as said. */
function changed(brief, name, text) {
  return { ...brief, [name]: FACTS[name].read(text), said: [...new Set([...brief.said, name])] };
}

/** The box and its chips. on: {words(text), fact(name, text), sketch()}. */
export function sketchView(state, on, busy) {
  const { text, brief, briefRefusal } = state.sketch;
  return html`
    <div class="sketch">
      <div class="sketch-line">
        <input
          class="words"
          name="sketch"
          aria-label="Describe a piece"
          placeholder=${EXAMPLE}
          .value=${text}
          maxlength="1000"
          autocomplete="off"
          @input=${(event) => on.words(event.target.value)}
        />
        ${busy
          ? nothing
          : html`<button type="submit" class="main" ?disabled=${state.engine.state !== "ready"}>
              Sketch it${state.music ? html` <kbd>enter</kbd>` : nothing}
            </button>`}
      </div>
      ${brief && text
        ? html`<div class="chips" role="group" aria-label="Understood">
            ${Object.entries(FACTS).map(([name, fact]) => {
              const said = brief.said.includes(name);
              return html`<label class="chip ${said ? "set" : ""}" title=${said ? "You said so" : "Chosen for you"}>
                <span>${fact.label}</span>
                <input
                  name="brief.${name}"
                  .value=${fact.write(brief[name])}
                  autocomplete="off"
                  @change=${(event) => on.fact(name, event.target.value)}
                />
              </label>`;
            })}
          </div>`
        : nothing}
      ${briefRefusal
        ? html`<p class="refusal" role="alert"><strong>${briefRefusal.message}.</strong> ${briefRefusal.hint}</p>`
        : brief?.remarks.length && text
          ? html`<p class="quiet">${brief.remarks.join(". ")}.</p>`
          : nothing}
    </div>
  `;
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
