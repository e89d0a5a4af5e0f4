// Bringing music in by playing it: a keyboard at this browser, what came into `Descant In`, or a sung line.

import { openScore } from "./pieces.js";
import { dialogHead } from "./screens.js";
import { ask, Refused } from "./server.js";
import { closeScreen, notice, openScreen, paint } from "./shell.js";
import { endSinging } from "./sing.js";
import { state } from "./state.js";
import { html } from "./vendor/lit-html.js";

const SONG = 0xf0; // from here on a message is the system's, and no music

/** Collects MIDI messages with the time they came. */
export class Recorder {
  constructor() {
    this.messages = []; // [seconds, [bytes]]
    this.notes = 0;
  }

  hear(seconds, data) {
    if (data.length < 2 || data[0] >= SONG) return;
    this.messages.push([seconds, [...data]]);
    if ((data[0] & 0xf0) === 0x90 && data[2]) this.notes += 1;
  }
}

let keyboards = null; // the browser's, once it may use them
const setting = { bpm: "100", meter: "4/4" };

export async function openRecord() {
  openScreen("record");
  state.live = await ask("GET", "/live");
  paint();
}

/** Ask the browser for keyboards, and record what comes from all of them. */
export async function recordKeyboard() {
  if (!navigator.requestMIDIAccess) throw new Refused("This browser has no MIDI", "Chrome, Edge and Firefox have; or use Descant In.");
  try {
    keyboards ??= await navigator.requestMIDIAccess();
  } catch {
    throw new Refused("The browser may not use MIDI keyboards", "Allow it in the address bar, and press record again.");
  }
  if (!keyboards.inputs.size) throw new Refused("The browser sees no MIDI keyboard", "Plug one in, and press record again.");
  const recorder = new Recorder();
  for (const input of keyboards.inputs.values()) {
    input.onmidimessage = ({ timeStamp, data }) => {
      recorder.hear(timeStamp / 1000, data);
      paint();
    };
  }
  state.recorder = { kind: "keyboard", recorder };
  paint();
}

/** Stop, and put what was played on the stage. */
export async function endRecording() {
  const { recorder, kind } = state.recorder ?? {};
  if (kind === "microphone") return endSinging();
  state.recorder = null;
  paint();
  for (const input of keyboards?.inputs.values() ?? []) input.onmidimessage = null;
  await bring(recorder.messages);
}

export async function bring(messages) {
  const [over, under] = setting.meter.split("/").map(Number);
  const score = await ask("POST", "/played", { messages, bpm: Number(setting.bpm), meter: [over, under] });
  await show(score, "What you played");
}

/** Take the last bars that came into `Descant In`. */
export async function capture(bars) {
  await show(await ask("POST", "/live/capture", bars ? { bars } : {}), "What was played");
}

async function show(score, what) {
  closeScreen();
  if (!(await openScore(score))) return;
  notice(`${what} is on the stage`, "Press p to hear where it could go.");
}

// --- The screen ----------------------------------------------------------------------------------------

export function recordView({ live, recorder }, on) {
  const keys = recorder?.kind === "keyboard";
  const sings = recorder?.kind === "microphone";
  return html`
    ${dialogHead("Record", on)}
    <ul class="ways">
      <li>
        <strong>Voice</strong>
        <span>
          ${sings
            ? html`<span class="light on" role="status">Hum, sing or whistle one line</span>
                <meter aria-label="Loudness" max="1" .value=${recorder.recorder.level}></meter>
                ${Math.floor(recorder.recorder.seconds)} s`
            : "hum or whistle a line, or drop a sound file anywhere"}
        </span>
        ${sings
          ? html`<button class="small act" @click=${on.endRecording}>Stop and use it</button>`
          : html`<button class="small" ?disabled=${Boolean(recorder)} @click=${on.sing}>Hum</button>`}
      </li>
      <li>
        <strong>Keyboard</strong>
        <span>
          ${keys ? html`<span class="light on" role="status">${recorder.recorder.notes} notes so far</span>` : "a MIDI keyboard that this browser sees"}
          <span class="chips">
            <label class="chip set"><span>Tempo</span><input name="played.bpm" size="4" .value=${setting.bpm} @change=${(event) => (setting.bpm = event.target.value)} /></label>
            <label class="chip set"><span>Meter</span><input name="played.meter" size="4" .value=${setting.meter} @change=${(event) => (setting.meter = event.target.value)} /></label>
          </span>
        </span>
        ${keys
          ? html`<button class="small act" @click=${on.endRecording}>Stop and use it</button>`
          : html`<button class="small" ?disabled=${Boolean(recorder)} @click=${on.recordKeyboard}>Record</button>`}
      </li>
      <li>
        <strong>DAW</strong>
        <span>
          ${live?.running
            ? html`what came into ${live.ports.in}: ${live.captured?.notes || "no"} notes`
            : html`through Descant In, <button class="link" @click=${on.ports}>which is not open</button>`}
        </span>
        <button class="small" ?disabled=${!live?.running || !live.captured?.notes} @click=${() => on.capture()}>Take it</button>
      </li>
    </ul>
    <p class="quiet">On a keyboard, play in time from beat 1; bars are counted from your first note.</p>
  `;
}
