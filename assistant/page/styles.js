// The screen of styles: what there is and what it is worth, and making one from one's own MIDI files.

import { dialogHead } from "./screens.js";
import { ask, fetchFile, send } from "./server.js";
import { download } from "./take.js";
import { notice, openScreen, paint, say } from "./shell.js";
import { state } from "./state.js";
import { html, nothing } from "./vendor/lit-html.js";

const BUSY = ["reading", "training", "proving"];
const LEAST_GAIN = 0.02; // below it a style has learned hardly anything

/** Styles and trainings as they are now. */
export async function lookAtStyles() {
  const [{ styles }, { trainings }] = await Promise.all([ask("GET", "/styles"), ask("GET", "/trainings")]);
  Object.assign(state, { styles, trainings });
  if (!styles.some(({ name, usable }) => usable && name === state.limits.style)) state.limits.style = "";
  paint();
}

export async function openStyles() {
  openScreen("styles");
  await lookAtStyles();
}

/** What the server tells of a training or a style. */
export function hearStyle(event) {
  if (event.type === "style") return void lookAtStyles().catch(() => {});
  const { training } = event;
  const others = state.trainings.filter(({ name }) => name !== training.name);
  state.trainings = training.state === "forgotten" ? others : [...others, training];
  if (training.state === "done") {
    say(`The style ${training.name} is ready`);
    if (state.screen !== "styles") notice(`The style ${training.name} is ready`, "It is on the chip “Style”.");
    lookAtStyles().catch(() => {});
  }
  paint();
}

export function setNewStyle(name, value) {
  state.newStyle[name] = value;
  paint();
}

/** Send files that were dropped or chosen; they wait on the server until the training begins. */
export async function addStyleFiles(files) {
  const { newStyle } = state;
  const name = newStyle.name.trim() || "mine";
  Object.assign(newStyle, { name, sending: true });
  const failed = [];
  for (const file of files) {
    try {
      const path = `/trainings/${encodeURIComponent(name)}/files?file=${encodeURIComponent(file.name)}`;
      newStyle.files = (await send(path, file, "audio/midi")).files;
    } catch (error) {
      failed.push(error);
    }
    paint();
  }
  newStyle.sending = false;
  paint();
  if (failed.length) throw failed[0];
}

export async function train(name, body) {
  const training = await ask("POST", `/trainings/${encodeURIComponent(name)}`, body);
  hearStyle({ type: "training", training });
}

export async function makeStyle() {
  const { newStyle } = state;
  const name = newStyle.name.trim() || "mine";
  const body = { minutes: Number(newStyle.minutes) || 10 };
  if (newStyle.folder.trim()) body.folder = newStyle.folder.trim();
  await train(name, body);
  state.newStyle = { name: "", folder: "", files: 0, sending: false, minutes: newStyle.minutes };
  paint();
}

export async function stopTraining(name, forget) {
  const training = await ask("DELETE", `/trainings/${encodeURIComponent(name)}${forget ? "?forget=true" : ""}`);
  hearStyle({ type: "training", training });
}

export async function removeStyle(name) {
  await ask("DELETE", `/styles/${encodeURIComponent(name)}`);
  await lookAtStyles();
}

export async function saveStyle(name) {
  const url = URL.createObjectURL(await fetchFile(`/styles/${encodeURIComponent(name)}/file`));
  download(url, `${name}.zip`);
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

export async function bringStyle(file) {
  const { name } = await send("/styles", file, "application/zip");
  notice(`The style ${name} is here`, "It is on the chip “Style”.");
  await lookAtStyles();
}

/** Take a style for what is asked next. */
export function useStyle(name) {
  state.limits.style = name;
  Object.assign(state, { screen: null });
  notice(`In the style ${name}`, "Its chip has a slider for how much of it.");
}

// --- The screen ----------------------------------------------------------------------------------------

export function stylesView(known, on) {
  const { styles, trainings } = known;
  const open = trainings.filter(({ state }) => state !== "done" && state !== "collecting");
  const busy = open.some((training) => BUSY.includes(training.state));
  return html`
    ${dialogHead("Styles", on)}
    ${styles.length || open.length ? nothing : html`<p class="quiet">Descant learns how you play from your own MIDI files. Nothing leaves this computer.</p>`}
    ${open.map((training) => trainingView(training, on))}
    ${styles.map((style) => styleView(style, on))}
    ${busy ? nothing : makingView(known.newStyle, on)}
  `;
}

function trainingView({ name, state: at, share, seconds_left: left, intake, curve, error }, on) {
  const words = {
    reading: "Reading your files…",
    training: "Learning…",
    proving: "Measuring on pieces that it has not seen…",
    stopped: "Stopped. It can go on where it was.",
  };
  const busy = BUSY.includes(at);
  const gain = curve.length > 1 ? 1 - Math.min(...curve.map(([, nats]) => nats)) / curve[0][1] : 0;
  return html`<section class="making" aria-label="Making the style ${name}">
    <h3><strong>${name}</strong></h3>
    ${error
      ? html`<p class="refusal" role="alert"><strong>${error.message}.</strong> ${error.hint}</p>`
      : html`<p>
          ${words[at] ?? at} ${busy && left !== null && left !== undefined ? `At most ${leftText(left)} left.` : ""}
          ${gain > 0.001 ? html`<span class="good">${percent(gain)} better so far.</span>` : nothing}
        </p>`}
    ${busy ? html`<progress aria-label="Learned" max="1" .value=${share}></progress>` : nothing}
    ${intake ? html`<p class="quiet">${intakeText(intake)}</p>` : nothing}
    ${busy ? html`<p class="quiet">It goes on when you close this, and you can go on too.</p>` : nothing}
    <p>
      ${busy
        ? html`<button class="small" @click=${() => on.stopTraining(name, false)}>Stop</button>`
        : html`<button class="small" @click=${() => on.train(name, {})}>Go on</button>
            <button class="small" @click=${() => on.stopTraining(name, true)}>Forget it</button>`}
    </p>
  </section>`;
}

function intakeText({ pieces, notes, skipped_in_all: left, skipped }) {
  const out = left ? `; ${left} ${left === 1 ? "file was" : "files were"} left out: ${skipped[0].name}, ${skipped[0].reason}` : "";
  return `${pieces} pieces with ${notes.toLocaleString()} notes${out}.`;
}

function styleView(style, on) {
  const { name, usable, error } = style;
  return html`<section class="style" aria-label="The style ${name}">
    <h3><strong>${name}</strong> <span class="quiet">${style.pieces ? `from ${style.pieces} pieces` : ""}</span></h3>
    ${error ? html`<p class="refusal">${error.message}. ${error.hint}</p>` : proofView(style)}
    <p>
      ${usable
        ? html`<button class="small act" @click=${() => on.useStyle(name)}>Use it</button>`
        : html`<span class="quiet">Made for other weights: make it again.</span>`}
      <button class="small" @click=${() => on.saveStyle(name)}>Save as a file</button>
      <button class="small" @click=${() => on.removeStyle(name)}>Delete</button>
    </p>
  </section>`;
}

/** How surprised the network is by the musician's pieces that it has not learned from, before and after. */
function proofView({ nats_per_note: figures, held_out: kept = [] }) {
  if (!figures) return nothing;
  const gain = 1 - figures.own_after / figures.own_before;
  const forgotten = figures.base_after / figures.base_before - 1;
  const most = figures.own_before;
  const bar = (label, value, kind) => html`<div class="bar">
    <span>${label}</span>
    <meter class=${kind} min="0" max=${most} .value=${value} aria-label="${label}: ${value.toFixed(2)} nats a note"></meter>
    <span>${value.toFixed(2)}</span>
  </div>`;
  return html`<div class="proof">
    <p>
      Surprise at ${kept.length || "some"} of your pieces it has not seen:
      <strong class=${gain >= LEAST_GAIN ? "good" : ""}>${percent(gain)} less</strong>
    </p>
    ${bar("before", figures.own_before, "old")} ${bar("after", figures.own_after, "new")}
    <p class="quiet">
      ${gain < LEAST_GAIN ? "That is hardly anything: the pieces may be too few or too different. " : ""}Other music:
      ${percent(Math.abs(forgotten))} ${forgotten > 0 ? "more" : "less"}.
    </p>
  </div>`;
}

function makingView({ name, folder, files, sending, minutes }, on) {
  return html`<form
    class="making drop"
    aria-label="Make a style"
    @submit=${(event) => {
      event.preventDefault();
      on.makeStyle();
    }}
  >
    <h3>Make a style</h3>
    <p>
      Drop your MIDI files here, ten pieces or more
      <label class="small file">
        <input
          id="style-files"
          class="unseen"
          type="file"
          multiple
          accept=".mid,.midi,.zip,audio/midi"
          @change=${(event) => on.styleFiles([...event.target.files])}
        />
        <span>Choose files</span>
      </label>
    </p>
    ${files ? html`<p class="good" role="status">${files} ${files === 1 ? "file is" : "files are"} here${sending ? "…" : ""}</p>` : nothing}
    <div class="chips">
      <label class="chip ${folder ? "set" : ""}">
        <span>or a folder</span>
        <input name="style.folder" .value=${folder} placeholder="/music/midi" size="18" spellcheck="false" @input=${(event) => on.newStyle("folder", event.target.value)} />
      </label>
      <label class="chip set">
        <span>Name</span>
        <input name="style.name" .value=${name} placeholder="mine" size="8" ?disabled=${files > 0} @input=${(event) => on.newStyle("name", event.target.value)} />
      </label>
      <label class="chip set">
        <span>At most minutes</span>
        <input name="style.minutes" .value=${minutes} size="3" inputmode="decimal" @input=${(event) => on.newStyle("minutes", event.target.value)} />
      </label>
    </div>
    <button class="main" ?disabled=${sending || (!files && !folder.trim())}>Make it</button>
  </form>`;
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

function leftText(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} seconds`;
  return `${Math.round(seconds / 60)} minutes`;
}
