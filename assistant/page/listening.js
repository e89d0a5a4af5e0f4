// What is heard, and through what: the server's synth, the page's own where nothing else can, or the DAW.

import { audition, hideCandidate, spanHeard } from "./choosing.js";
import { player, stage } from "./desk.js";
import { ask } from "./server.js";
import { notice, paint } from "./shell.js";
import { state } from "./state.js";
import { Recording } from "./tape.js";

const WARMED = 4; // candidates whose sound is made before anybody asks for it
const LONGEST_WARMED = 90; // seconds; what is longer is made while it is heard

let plain = false; // the server's synth does not work here

/** Play from `from` to `until`. body: what the server would have to play, null for what it does not have yet. */
async function play(music, from, until, body, recording = null, region = null) {
  Object.assign(state, { playing: true, waiting: true });
  paint();
  if (state.through === "daw" && body) return playInDaw(music, body, region);
  if (body && !plain) recording ??= new Recording(body);
  const options = { silent: state.silent, until };
  try {
    await player.play(music, from, { ...options, recording });
  } catch (error) {
    if (recording?.aborted) return;
    if (recording) {
      plain = true;
      notice("The synth does not play; you hear a simpler one", `${error.message}. ${error.hint ?? ""}`, "bad");
      await player.play(music, from, options).catch(silence);
    } else silence(error);
  }
}

function silence(error) {
  Object.assign(state, { playing: false, waiting: false });
  notice("This browser does not play sound", String(error.message), "bad");
}

const silent = () => [...state.silent].map((track) => track + 1);

/** Play the piece from where it stands, the candidate that is shown, or stop. */
export function playOrStop() {
  if (state.playing) return stop();
  if (!state.music) return;
  if (state.shown || !state.score) return audition(state.shown || 1);
  playPiece(state.place >= state.music.end ? 0 : state.place);
}

function playPiece(from) {
  for (const candidate of state.proposal?.candidates ?? []) halt(candidate);
  play(state.music, from, undefined, { score: state.score.id, begin: Math.round(from), silent: silent() });
}

export function seek(tick) {
  const { playing } = state;
  if (state.shown) hideCandidate();
  state.place = Math.min(tick, state.music.end);
  if (playing && state.through === "here") playPiece(state.place);
  else stage.follow(state.place);
  paint();
}

export function stop() {
  if (clock) return stopDaw();
  if (!player.playing) Object.assign(state, { playing: false, waiting: false });
  player.stop();
  paint();
}

// --- Candidates ----------------------------------------------------------------------------------------

/** The sound of a candidate, begun unless it is there. Nothing for one that is still being written. */
function recordingOf(proposal, candidate) {
  if (!candidate.info || plain) return null;
  if (candidate.recording && !candidate.recording.error) return candidate.recording;
  const { music, from, until } = spanHeard(proposal, candidate);
  const keep = music.seconds(until) - music.seconds(from) <= LONGEST_WARMED;
  const recording = new Recording(bodyOf(proposal, candidate), keep);
  if (keep) candidate.recording = recording;
  return recording;
}

function bodyOf(proposal, candidate) {
  const { from, until } = spanHeard(proposal, candidate);
  return { proposal: proposal.id, candidate: candidate.number, begin: from, end: until, silent: silent() };
}

export function playCandidate(proposal, candidate) {
  for (const other of proposal.candidates) if (other !== candidate) halt(other);
  const { music, from, until, region } = spanHeard(proposal, candidate);
  const body = candidate.info ? bodyOf(proposal, candidate) : null;
  const recording = state.through === "here" ? recordingOf(proposal, candidate) : null;
  play(music, from, until, body, recording, region);
  recording?.finished.then(warm);
}

/** Call off what is being made and nobody hears. */
function halt(candidate) {
  if (candidate.recording && !candidate.recording.done) {
    candidate.recording.abort();
    candidate.recording = null;
  }
}

/** Make the sound of the first candidates, one after the other, so that each is heard as soon as it is asked for. */
export async function warm() {
  const { proposal } = state;
  if (proposal?.state !== "done" || state.through !== "here" || plain) return;
  for (const candidate of proposal.candidates.slice(0, WARMED)) {
    if (state.proposal !== proposal || state.playing || !candidate.info) return;
    const { music, from, until } = spanHeard(proposal, candidate);
    if (music.seconds(until) - music.seconds(from) > LONGEST_WARMED) return;
    await recordingOf(proposal, candidate)?.finished;
  }
}

export function dropRecordings(proposal) {
  for (const candidate of proposal?.candidates ?? []) {
    candidate.recording?.abort();
    candidate.recording = null;
  }
}

export function mute(track) {
  if (!state.silent.delete(track)) state.silent.add(track);
  dropRecordings(state.proposal);
  const again = state.playing && state.through === "here" && !state.shown && state.score;
  if (again) playPiece(stage.playhead ?? state.place);
  else if (state.playing && state.shown) {
    stop();
    audition(state.shown);
  } else warm();
  paint();
}

export function listenThrough(through) {
  stop();
  state.through = through;
  dropRecordings(state.proposal);
  warm();
  paint();
}

// --- Through the DAW -----------------------------------------------------------------------------------

let clock = null; // {beat, at, bpm}: where the DAW, or Descant's own transport, was at a moment; and what plays

async function playInDaw(music, { score, proposal, candidate }, region) {
  const [start, end] = region ?? [0, music.end];
  const mine = (clock = { music, start, end });
  try {
    const told = await ask("POST", "/live/play", score ? { score } : { proposal, candidate });
    if (clock !== mine) return;
    Object.assign(mine, { begins: told.begins });
    hearClock(told.transport);
    if (!told.transport.rolling && told.transport.source !== "own") {
      notice("Press play in your DAW", "What you chose is heard from the next bar on.");
    }
  } catch (error) {
    clock = null;
    Object.assign(state, { playing: false, waiting: false });
    paint();
    notice(error.message, error.hint ?? "", "bad");
    return;
  }
  const tell = () => {
    if (clock !== mine) return;
    const passed = mine.rolling ? ((performance.now() - mine.at) / 60000) * mine.bpm : 0;
    const tick = start + (mine.beat + passed - mine.begins) * music.quarter;
    if (tick >= end) return stopDaw();
    if (tick >= start) {
      if (state.waiting) state.waiting = void paint();
      showPlace(tick);
    }
    requestAnimationFrame(tell);
  };
  tell();
}

/** The DAW's place in the song, as the server tells it. */
export function hearClock(transport) {
  if (!clock || !transport) return;
  const { beat, bpm, rolling } = transport;
  Object.assign(clock, { beat, bpm, rolling: rolling || transport.source === "own", at: performance.now() });
}

function stopDaw() {
  clock = null;
  ask("POST", "/live/stop").catch(() => {});
  Object.assign(state, { playing: false, waiting: false });
  stage.follow(null);
  paint();
}

let showPlace = () => {};

/** What draws the playhead. */
export function placeWith(work) {
  showPlace = work;
}
