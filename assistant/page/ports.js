// The screen of ports: what is connected, whether notes come and go, whose clock leads, and silence.

import { listenThrough } from "./listening.js";
import { pitchName } from "./music.js";
import { dialogHead } from "./screens.js";
import { ask } from "./server.js";
import { notice, openScreen, paint } from "./shell.js";
import { state } from "./state.js";
import { html, nothing } from "./vendor/lit-html.js";

const SHOWN = 600; // milliseconds that a note is seen after it came

let daws = { daws: [], problems: [] };
let steps = []; // of the last round trip through a DAW
let fading = null;

export async function openPorts() {
  openScreen("ports");
  await lookAtPorts();
  daws = await ask("GET", "/daws");
  paint();
}

export async function lookAtPorts() {
  state.live = await ask("GET", "/live");
  if (!state.live.running && state.through === "daw") listenThrough("here");
  paint();
}

/** An event of live playing. */
export function hearLive(event) {
  const { live } = state;
  if (event.event === "note") {
    if (!event.on) return;
    state.heard = event;
    clearTimeout(fading);
    fading = setTimeout(() => {
      state.heard = null;
      if (state.screen) paint();
    }, SHOWN);
    if (state.screen) paint();
    return;
  }
  if (["started", "stopped", "problem"].includes(event.event)) lookAtPorts().catch(() => {});
  if (!live) return;
  if (event.event === "transport") live.transport = { ...live.transport, ...event };
  if (event.event === "ports") live.ports = { ...live.ports, ...event };
  if (event.event === "playing") live.playing = event.state === "started";
  if (state.screen) paint();
}

export async function startPorts() {
  state.live = await ask("POST", "/live/start");
  paint();
}

export async function testNote() {
  const { waits } = await ask("POST", "/live/test-note");
  if (waits) notice("Press play in your DAW", "The note waits for its clock.");
  else notice("A middle C went out", "If you hear nothing: does a track of your DAW listen to Descant Out?");
}

export async function panic() {
  await ask("POST", "/live/panic");
  notice("All channels are silent");
}

export async function setLive(name, value) {
  state.live = await ask("PATCH", "/live/settings", { [name]: value });
  paint();
}

export async function transport(what) {
  state.live = await ask("POST", "/live/transport", { do: what });
  paint();
}

export async function connectPort(kind, name, on) {
  const { settings } = state.live;
  const others = settings[kind].filter((other) => other !== name);
  await setLive(kind, on ? [...others, name] : others);
}

export async function testDaw(name) {
  steps = [];
  ({ steps } = await ask("POST", `/daws/${encodeURIComponent(name)}/test`));
  paint();
}

// --- The screen ----------------------------------------------------------------------------------------

const SOURCES = { clock: "Your DAW leads", own: "Descant keeps its own time", link: "Ableton Link leads" };

export function portsView({ live, heard, through }, on) {
  const head = dialogHead("Ports", on);
  if (!live) return html`${head}<p class="quiet">Looking…</p>`;
  if (!live.running) {
    const { message, hint } = live.problem ?? { message: "Descant was started without MIDI ports", hint: "" };
    return html`${head}
      <p>${message}. ${hint}</p>
      <p class="quiet">
        Everything else works without ports: drag a card into your DAW, or download it.
      </p>
      <p><button class="small" @click=${on.startPorts}>Try again</button></p>
      ${dawsView(on)}`;
  }
  const { ports } = live;
  return html`
    ${head}
    <div class="ports">
      <section aria-label="Into Descant">
        <h3>Your DAW → <strong>${ports.in}</strong></h3>
        <p class="light ${heard ? "on" : ""}" role="status">
          ${heard ? `${pitchName(heard.pitch)}, channel ${heard.channel + 1}` : "Play a note there to see it here"}
        </p>
        ${otherPorts(live, "inputs", ports.sources, "Listen to", on)}
        <button class="small" @click=${() => on.capture()}>Take what was played</button>
      </section>
      <section aria-label="Out of Descant">
        <h3><strong>${ports.out}</strong> → your DAW</h3>
        <p>
          <button class="small" @click=${on.testNote}>Send a test note</button>
          <button class="small" @click=${on.panic}>Silence all</button>
        </p>
        ${otherPorts(live, "outputs", ports.targets, "Send to", on)}
        <label class="check">
          <input type="checkbox" .checked=${through === "daw"} @change=${(event) => on.through(event.target.checked ? "daw" : "here")} />
          Hear candidates in the DAW
        </label>
      </section>
    </div>
    ${clockView(live, on)}
    ${dawsView(on)}
  `;
}

function otherPorts({ settings, ports }, kind, names, tells, on) {
  const others = (names ?? []).filter((name) => !/descant/i.test(name));
  const gone = settings[kind].filter((name) => !others.includes(name));
  if (!others.length && !gone.length) return html`<p class="quiet">No other port is there.</p>`;
  return html`<ul class="others" aria-label=${tells}>
    ${[...others, ...gone].map((name) => {
      const chosen = settings[kind].some((part) => name.includes(part));
      const there = !gone.includes(name);
      const linked = (ports.connected ?? []).includes(name);
      return html`<li>
        <label class="check">
          <input type="checkbox" .checked=${chosen} @change=${(event) => on.connectPort(kind, name, event.target.checked)} />
          ${name}${there ? nothing : html` <span class="quiet">(not there)</span>`}
          ${linked ? html` <span class="badge good">connected</span>` : nothing}
        </label>
      </li>`;
    })}
  </ul>`;
}

function clockView({ transport: now, settings }, on) {
  const own = now.source === "own";
  return html`<section class="clock" aria-label="Clock">
    <h3>${SOURCES[now.source] ?? now.source}</h3>
    <p>
      ${now.rolling ? html`<strong>Rolling</strong>, bar ${now.bar}` : "Standing"} · ${now.bpm} bpm ·
      ${now.meter.join("/")}
      ${own
        ? html`<button class="small" @click=${() => on.transport(now.rolling ? "stop" : "play")}>
            ${now.rolling ? "Stop" : "Roll"}
          </button>`
        : nothing}
    </p>
    <div class="chips">
      ${choice("Who leads", "sync", settings.sync, [["auto", "a clock, if one comes"], ["clock", "the DAW"], ["own", "Descant"], ["link", "Link"]], on)}
      ${own ? field("Tempo", "bpm", settings.bpm, Number, on) : nothing}
      ${field("Meter", "meter", settings.meter.join("/"), (text) => text.split("/").map(Number), on)}
      ${choice("Begin at the next", "quantum", settings.quantum, [["bar", "bar"], ["beat", "beat"]], on)}
      ${field("Earlier by ms", "offset_ms", settings.offset_ms, Number, on)}
    </div>
  </section>`;
}

const field = (label, name, value, read, on) => html`<label class="chip set">
  <span>${label}</span>
  <input name="live.${name}" .value=${String(value)} size="5" autocomplete="off" @change=${(event) => on.setLive(name, read(event.target.value))} />
</label>`;

const choice = (label, name, value, pairs, on) => html`<label class="chip set">
  <span>${label}</span>
  <select name="live.${name}" @change=${(event) => on.setLive(name, event.target.value)}>
    ${pairs.map(([own, text]) => html`<option value=${own} .selected=${own === value}>${text}</option>`)}
  </select>
</label>`;

function dawsView(on) {
  if (!daws.daws.length && !daws.problems.length) return nothing;
  return html`<section aria-label="DAW scripts">
    <h3>DAW scripts</h3>
    <ul class="others">
      ${daws.daws.map(
        ({ daw, daw_version: version }) => html`<li>
          <strong>${daw}</strong> ${version}
          <button class="small" @click=${() => on.testDaw(daw)}>Try it out</button>
        </li>`,
      )}
    </ul>
    ${daws.problems.map(({ message, hint }) => html`<p class="refusal"><strong>${message}.</strong> ${hint}</p>`)}
    ${steps.length
      ? html`<ul class="others">
          ${steps.map(({ name, passed, note }) => html`<li>${passed ? "✓" : "✗"} ${name}${note ? `: ${note}` : ""}</li>`)}
        </ul>`
      : nothing}
  </section>`;
}
