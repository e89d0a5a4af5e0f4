// Taking it away: files that the server writes and the browser fetches, and the screen with all the ways.

import { openScreen, notice, paint, shown } from "./shell.js";
import { ask } from "./server.js";
import { state } from "./state.js";
import { html, nothing } from "./vendor/lit-html.js";
import { dialogHead } from "./screens.js";

/** See to it that a candidate's file is written before it can be dragged. */
export async function prepare(number) {
  const { proposal } = state;
  const candidate = proposal?.candidates[number - 1];
  if (!candidate?.info) return null;
  // What is wanted may change while the file is written.
  while (!candidate.file) {
    candidate.preparing ??= write(proposal.id, candidate, state.onlyNew).finally(() => (candidate.preparing = null));
    await candidate.preparing;
  }
  paint();
  return candidate.file;
}

async function write(proposal, candidate, onlyNew) {
  const path = `/proposals/${proposal}/candidates/${candidate.number}/file`;
  const made = await ask("POST", path, { only_new: onlyNew });
  const name = decodeURIComponent(made.url.slice(made.url.lastIndexOf("/") + 1));
  if (state.onlyNew === onlyNew) candidate.file = { ...made, name };
}

/** Hand a file of the server to the browser. */
export function download(url, name) {
  const link = document.createElement("a");
  Object.assign(link, { href: url, download: name });
  link.click();
}

/** The MIDI file of a candidate, or, for 0, of the piece, as {path, url, name}. */
async function midiOf(number) {
  return number ? prepare(number) : ask("POST", "/files", { score: state.score.id });
}

export async function downloadMidi(number) {
  const file = await midiOf(number);
  if (!file) return;
  download(file.url, file.name);
  told(file, "is downloaded");
}

function told(file, what) {
  const folder = file.path.replace(/[/\\][^/\\]*$/, "");
  notice(`${file.name} ${what}`, `A copy stays in ${folder}`, "good", { text: "Show it", deed: () => reveal(file) });
}

const codeOf = ({ url }) => url.split("/").at(-2);
const reveal = shown((file) => ask("POST", "/reveal", { code: codeOf(file) }));

export const revealMidi = async (number) => reveal(await midiOf(number));

export async function copyMidi(number) {
  const file = await midiOf(number);
  const { path } = await ask("POST", "/copies", { code: codeOf(file) });
  notice("Copied", `It is at ${path}`);
}

export function dragged(number) {
  const { file } = state.proposal.candidates[number - 1];
  if (file) told(file, "was dragged out");
}

export function takeWhole(onlyNew) {
  state.onlyNew = onlyNew;
  for (const candidate of state.proposal?.candidates ?? []) candidate.file = null;
  paint();
}

// --- Sound files ---------------------------------------------------------------------------------------

export async function beginRender(number, stems) {
  const what = number ? { proposal: state.proposal.id, candidate: number, only_new: state.onlyNew } : { score: state.score.id };
  hearRender(await ask("POST", "/renders", { ...what, stems }));
}

export const stopRender = (number) => ask("DELETE", `/renders/${number}`);

/** What the server tells of a sound file. */
export function hearRender(render) {
  if (render.state === "running") state.renders.set(render.render, render);
  else state.renders.delete(render.render);
  if (render.state === "done") {
    download(render.file.url, render.file.name);
    told(render.file, "is ready");
  }
  if (render.state === "failed") notice(render.error.message, render.error.hint, "bad");
  paint();
}

// --- The screen ----------------------------------------------------------------------------------------

export async function openTake(number) {
  openScreen("take", number);
  state.folder = (await ask("GET", "/folder")).folder;
  paint();
}

export async function chooseFolder(folder) {
  state.folder = (await ask("PATCH", "/folder", { folder: folder.trim() || null })).folder;
  state.notices = state.notices.filter(({ kind }) => kind !== "bad"); // another folder that was refused
  paint();
}

export function takeView({ subject, title, onlyNew, folder, renders, proposal }, on) {
  const what = subject ? `candidate ${subject}` : title;
  const sheet = subject ? (onlyNew ? "the new notes alone" : "the whole piece with them") : "the whole piece";
  const row = (name, tells, buttons) => html`<li><strong>${name}</strong><span>${tells}</span>${buttons}</li>`;
  return html`
    ${dialogHead(`Take ${what} away`, on)}
    ${subject && proposal?.score !== null
      ? html`<fieldset class="take">
          <legend>As</legend>
          ${[
            [true, "new notes"],
            [false, "whole piece"],
          ].map(
            ([value, text]) => html`<label>
              <input type="radio" name="take-as" .checked=${onlyNew === value} @change=${() => on.takeWhole(value)} />
              <span>${text}</span>
            </label>`,
          )}
        </fieldset>`
      : nothing}
    <ul class="ways">
      ${row("MIDI", sheet, html`<button class="small" @click=${() => on.downloadMidi(subject)}>Download MIDI</button>`)}
      ${row("WAV", "mixed by the neural synth", html`<button class="small" @click=${() => on.render(subject, false)}>Download WAV</button>`)}
      ${row("Stems", "a WAV for each track, zipped", html`<button class="small" @click=${() => on.render(subject, true)}>Download stems</button>`)}
      ${row("File", "in the file manager, to drag it from there", html`<button class="small" @click=${() => on.reveal(subject)}>Show the file</button>`)}
      ${row(
        "Folder",
        html`<label>
          <span class="unseen">Folder for copies</span>
          <input
            class="line"
            name="folder"
            placeholder="/whole/path/of/a/folder"
            .value=${folder ?? ""}
            spellcheck="false"
            @change=${(event) => on.chooseFolder(event.target.value)}
          />
        </label>`,
        html`<button class="small" ?disabled=${!folder} @click=${() => on.copy(subject)}>Copy MIDI there</button>`,
      )}
    </ul>
    ${[...renders.values()].map(
      ({ render, name }) => html`<p class="progress">
        <progress aria-label="Making ${name}"></progress> ${name}
        <button class="small" @click=${() => on.stopRender(render)}>Stop</button>
      </p>`,
    )}
  `;
}
