// Bringing music in by playing it: a keyboard at this browser, what came into `Descant In`, or a sung line.

import { openScore } from "./pieces.js";
import { dialogHead } from "./screens.js";
import { ask, send } from "./server.js";
import { closeScreen, notice, openScreen, paint, shown } from "./shell.js";
import { state } from "./state.js";
import { html, nothing } from "./vendor/lit-html.js";

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
  if (!navigator.requestMIDIAccess) throw told("This browser has no MIDI", "Chrome, Edge and Firefox have; or use Descant In.");
  try {
    keyboards ??= await navigator.requestMIDIAccess();
  } catch {
    throw told("The browser may not use MIDI keyboards", "Allow it in the address bar, and press record again.");
  }
  if (!keyboards.inputs.size) throw told("The browser sees no MIDI keyboard", "Plug one in, and press record again.");
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
  const { recorder, kind, media } = state.recorder ?? {};
  state.recorder = null;
  paint();
  if (kind === "microphone") return media.stop();
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
  await openScore(score);
  notice(`${what} is on the stage`, "Press p to hear where it could go.");
}

const told = (message, hint) => Object.assign(new Error(message), { hint });

// --- Singing -------------------------------------------------------------------------------------------

/** Record the microphone until it is stopped; what was sung becomes notes. */
export async function recordMicrophone() {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false } });
  } catch {
    throw told("The browser may not use the microphone", "Allow it in the address bar, and try again.");
  }
  const media = new MediaRecorder(stream);
  const parts = [];
  media.ondataavailable = ({ data }) => parts.push(data);
  media.onstop = shown(async () => {
    for (const track of stream.getTracks()) track.stop();
    await openSung(new Blob(parts, { type: media.mimeType }), "Sung");
  });
  media.start();
  state.recorder = { kind: "microphone", media };
  paint();
}

/** A recording becomes notes: decoded here to plain samples, since browsers know more formats than servers. */
export async function openSung(file, name = "Sung") {
  state.loading = "Listening for notes…";
  paint();
  try {
    const context = new OfflineAudioContext(1, 1, 22050);
    const sound = await context.decodeAudioData(await file.arrayBuffer()).catch(() => {
      throw told("This is no sound that the browser can read", "Try a WAV, MP3 or Ogg file.");
    });
    const path = `${SUNG}?${new URLSearchParams({ name })}`;
    await show(await send(path, waveOf(sound), "audio/wav"), "What you sang");
  } finally {
    state.loading = "";
    paint();
  }
}

const SUNG = "/audio/hum";

/** Mono 16-bit WAV of a decoded sound. */
function waveOf(sound) {
  const { length, sampleRate, numberOfChannels: sides } = sound;
  const data = new DataView(new ArrayBuffer(44 + 2 * length));
  const text = (at, word) => [...word].forEach((char, i) => data.setUint8(at + i, char.charCodeAt(0)));
  text(0, "RIFF");
  data.setUint32(4, 36 + 2 * length, true);
  text(8, "WAVEfmt ");
  data.setUint32(16, 16, true);
  data.setUint16(20, 1, true);
  data.setUint16(22, 1, true);
  data.setUint32(24, sampleRate, true);
  data.setUint32(28, 2 * sampleRate, true);
  data.setUint16(32, 2, true);
  data.setUint16(34, 16, true);
  text(36, "data");
  data.setUint32(40, 2 * length, true);
  const channels = Array.from({ length: sides }, (_, side) => sound.getChannelData(side));
  for (let at = 0; at < length; at++) {
    const mean = channels.reduce((sum, samples) => sum + samples[at], 0) / sides;
    data.setInt16(44 + 2 * at, Math.max(-1, Math.min(1, mean)) * 32767, true);
  }
  return new Blob([data], { type: "audio/wav" });
}

// --- The screen ----------------------------------------------------------------------------------------

export function recordView({ live, recorder, canHum }, on) {
  const keys = recorder?.kind === "keyboard";
  const sings = recorder?.kind === "microphone";
  return html`
    ${dialogHead("Record", on)}
    <ul class="ways">
      <li>
        <strong>Keyboard</strong>
        <span>
          ${keys ? html`<span class="light on" role="status">${recorder.recorder.notes} notes so far</span>` : "at this browser"}
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
      ${canHum
        ? html`<li>
            <strong>Voice</strong>
            <span>
              ${sings ? html`<span class="light on" role="status">Sing or whistle one line</span>` : "hum or whistle a line, or drop a sound file"}
            </span>
            ${sings
              ? html`<button class="small act" @click=${on.endRecording}>Stop and use it</button>`
              : html`<button class="small" ?disabled=${Boolean(recorder)} @click=${on.recordMicrophone}>Sing</button>`}
          </li>`
        : nothing}
    </ul>
    <p class="quiet">Play in time from beat 1; bars are counted from your first note.</p>
  `;
}
