// The candidates as cards: what they look like, what is known about them, and what can be done with them.

import { blindView, comparable } from "./blind.js";
import { barsText } from "./music.js";
import { html, nothing } from "./vendor/lit-html.js";

const VERDICTS = { accept: "Accepted", keep: "Kept", reject: "Rejected" };

/**
 * The section. on: {audition(n), accept(n), keep(n), reject(n), original(), takeWhole(onlyNew), prepare(n),
 * downloadMidi(n), takeAway(n), dragged(n), and what a blind comparison needs}; n is a candidate's number, from 1.
 */
export function cardsView(state, on) {
  const { proposal } = state;
  if (!proposal) return html`<p class="quiet">Candidates appear here. Your piece stays as it is until you accept one.</p>`;
  if (state.blind) return blindView(state, on);
  return html`
    <div class="cards-head">
      <h2>${title(proposal)}</h2>
      <button ?hidden=${!state.score} class="small ${state.shown ? "" : "on"}" aria-pressed=${state.shown ? "false" : "true"} @click=${on.original}>
        Your piece <kbd>0</kbd>
      </button>
      ${comparable(proposal).length > 1
        ? html`<button class="small" @click=${on.beginBlind} title="Two at a time, without seeing which is which">
            Compare blind <kbd>b</kbd>
          </button>`
        : nothing}
      <fieldset class="take">
        <legend>Drag out</legend>
        ${[
          [true, "new notes"],
          [false, "whole piece"],
        ].map(
          ([value, text]) => html`<label>
            <input type="radio" name="take" .checked=${state.onlyNew === value} @change=${() => on.takeWhole(value)} />
            <span>${text}</span>
          </label>`,
        )}
      </fieldset>
    </div>
    ${proposal.state === "cancelled" ? html`<p class="quiet">Stopped. Nothing was kept of it.</p>` : nothing}
    <ol class="cards" aria-label="Candidates">
      ${proposal.candidates.map((candidate) => card(candidate, state, on))}
    </ol>
  `;
}

function title({ request, words }) {
  if (!request) return "Asked";
  if (request.command === "sketch") return "Sketches";
  if (request.command === "edit") return "Edited";
  const names = {
    continue: "What comes next", fill: "Written anew", vary: "Varied", accompany: `${words.add ?? "New tracks"}`,
  };
  return `${names[request.command] ?? request.command}: ${barsText(request.bars[0] - 1, request.bars[1] - 1)}`;
}

function card(candidate, state, on) {
  const { number, info, done, total } = candidate;
  const shown = state.shown === number;
  const playing = shown && state.playing;
  const sign = playing ? (state.waiting ? "…" : "■") : "▶";
  const ready = Boolean(info);
  const verdict = info?.verdict;
  return html`
    <li
      class="card ${shown ? "shown" : ""} ${verdict ?? ""}"
      tabindex="-1"
      data-number=${number}
      draggable=${candidate.file ? "true" : "false"}
      aria-label="Candidate ${number}${verdict ? `, ${VERDICTS[verdict].toLowerCase()}` : ""}"
      @pointerenter=${() => on.prepare(number)}
      @focusin=${() => on.prepare(number)}
      @dragstart=${(event) => drag(event, candidate)}
      @dragend=${(event) => event.dataTransfer.dropEffect !== "none" && on.dragged(number)}
    >
      <button
        class="pad"
        ?disabled=${!candidate.parts}
        aria-label="${playing ? "Stop" : "Hear"} candidate ${number}"
        @click=${() => on.audition(number)}
      >
        <span class="number" aria-hidden="true">${number}</span>
        <canvas class="mini" aria-hidden="true"></canvas>
        <span class="sign" aria-hidden="true">${sign}</span>
      </button>
      <div class="badges">
        ${verdict ? html`<span class="badge verdict">${VERDICTS[verdict]}</span>` : nothing}
        ${ready ? badges(info, state.proposal) : html`<span class="badge">${total ? `${done} of ${counted(total, "bar")}` : "waits for its turn"}</span>`}
      </div>
      <div class="deeds">
        <button class="accept" ?disabled=${!ready || verdict === "accept"} @click=${() => on.accept(number)}>
          Accept${shown ? html` <kbd>↵</kbd>` : nothing}
        </button>
        <button ?disabled=${!ready || verdict === "keep"} @click=${() => on.keep(number)}>
          Keep${shown ? html` <kbd>k</kbd>` : nothing}
        </button>
        <button ?disabled=${!ready || verdict === "reject"} @click=${() => on.reject(number)}>
          Reject${shown ? html` <kbd>x</kbd>` : nothing}
        </button>
      </div>
      <div class="taking">
        <span class="grip ${candidate.file ? "" : "waits"}" aria-hidden="true">⠿ drag to DAW</span>
        <button class="plain" ?disabled=${!ready} @click=${() => on.downloadMidi(number)}>
          Download<span class="unseen"> candidate ${number}</span>
        </button>
        <button class="plain" ?disabled=${!ready} @click=${() => on.takeAway(number)}>
          More…<span class="unseen"> ways to take candidate ${number}</span>
        </button>
      </div>
      ${ready ? why(candidate, state.proposal) : nothing}
    </li>
  `;
}

function badges(info, { request, words }) {
  const limits = ["key", "chords", "range", "density", "max_polyphony"].filter((name) => request?.[name]);
  const names = limits.map((name) => LIMIT_NAMES[name]);
  if (words.lock?.length) names.push("locked notes");
  const kept = names.length ? html`<span class="badge good">keeps ${names.join(", ")}</span>` : nothing;
  const bars = request ? request.bars[1] - request.bars[0] + 1 : 0;
  return html`
    <span class="badge">${bars ? `${counted(bars, "bar")} · ` : ""}${counted(info.notes, "note")}</span>
    ${info.violations.length
      ? html`<span class="badge bad">${info.violations.length} limits broken</span>`
      : kept}
    ${info.originality ? originality(info.originality) : nothing}
  `;
}

const counted = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;

/** Whether a candidate shares more in a row with known music than people's pieces do with each other. */
function originality(found) {
  const copied = found.training.notes > found.human.notes || (found.own && found.own.notes > found.human.notes);
  return html`<span class="badge ${copied ? "bad" : "original"}" title=${sharedText(found)}>
    ${copied ? `shares ${Math.max(found.training.notes, found.own?.notes ?? 0)} notes` : "original"}
  </span>`;
}

function sharedText({ training, human, own }) {
  const mine = own ? `, ${own.notes} with your files` : "";
  return `at most ${counted(training.notes, "note")} in a row with the music it learned from${mine}; pieces by people share up to ${human.notes}`;
}

const LIMIT_NAMES = { key: "key", chords: "chords", range: "range", density: "density", max_polyphony: "voices" };

function why({ info, whole }, { request, words }) {
  if (!request) return nothing;
  const { brief } = request;
  const facts = [
    ["Text", words.text ?? brief?.text],
    ["Genre", brief?.genre],
    ["Tempo", brief?.tempo],
    ["Meter", brief?.meter.join("/")],
    ["Asked", `${request.command}, ${barsText(request.bars[0] - 1, request.bars[1] - 1)}`],
    ["Tracks", request.tracks.map((track) => whole.parts[track - 1]?.name ?? track).join(", ")],
    ["Added", words.add],
    ["Strength", words.strength],
    ["Kept", words.keep],
    ["Locked", words.lock?.length ? `${words.lock.length} notes` : ""],
    ["In the style", request.style ?? words.style],
    ["Key", request.key ?? brief?.key],
    ["Chords", request.chords ?? brief?.chords],
    ["Range", request.range],
    ["Notes a bar", request.density?.join(" to ")],
    ["Voices", request.max_polyphony],
    ["Daring", request.temperature],
    ["Shares", info.originality ? sharedText(info.originality) : ""],
    ["Limits broken", info.violations.join("; ")],
    ["Seed", `${info.seed}, candidate ${info.number}`],
    ["Model", info.model_hash.slice(0, 12)],
    ["First bar", info.ms_to_first_bar ? `after ${Math.round(info.ms_to_first_bar)} ms` : ""],
  ];
  return html`<details class="why">
    <summary>Why these notes</summary>
    <dl>
      ${facts
        .filter(([, value]) => value !== undefined && value !== null && value !== "")
        .map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}
    </dl>
  </details>`;
}

/** A card is draggable only once its file is written; the drag carries a link to that file. */
function drag(event, { file }) {
  if (!file) return event.preventDefault();
  event.dataTransfer.effectAllowed = "copy";
  event.dataTransfer.setData("DownloadURL", `audio/midi:${file.name}:${file.url}`);
  event.dataTransfer.setData("text/uri-list", file.url);
}
