// Asking for candidates: what the request is about, what is sent, and what the server tells while it writes.

import { askBody, chipOf, MORE } from "./ask.js";
import { endBlind } from "./blind.js";
import { adopt, finish, hearNotes, spanned } from "./candidates.js";
import { bringOut, hideCandidate, SEAM_BARS, showCandidate } from "./choosing.js";
import { player, stage } from "./desk.js";
import { dropRecordings, warm } from "./listening.js";
import { lockedWithin } from "./locks.js";
import { isLatest, opening, setStage } from "./pieces.js";
import { regionOf } from "./region.js";
import { ask } from "./server.js";
import { paint, refuse, say, shown } from "./shell.js";
import { blank, readBrief } from "./sketch.js";
import { isRunning, state } from "./state.js";
import { tracksText } from "./words.js";

/** Show on the stage which bars and tracks the request is about. */
export function markRegion() {
  if (!state.music) return;
  const { region, ghosts } = regionOf(state);
  stage.mark(region, ghosts);
}

/** Cells were chosen on the grid: bars of the piece to fill, or, beyond its end, how far to go on. */
export function chooseRegion({ first, last, tracks }) {
  const { music, words } = state;
  if (!state.score) return;
  hideCandidate();
  if (first > music.lastBar()) {
    state.verb = "continue";
    words.continue.bars = String(Math.min(256, last - music.lastBar()));
  } else {
    if (state.verb !== "vary") state.verb = "fill";
    const end = Math.max(first, Math.min(last, music.lastBar()));
    const bars = first === end ? `${first + 1}` : `${first + 1}-${end + 1}`;
    Object.assign(words[state.verb], { bars, tracks: tracksText(tracks, music) });
  }
  state.refusal = null;
  markRegion();
  paint();
}

export function chooseVerb(verb) {
  Object.assign(state, { verb, refusal: null });
  hideCandidate();
  markRegion();
  if (stage.view.region) stage.reveal(stage.view.region.first, stage.view.region.last);
  paint();
}

/** A chip was changed. */
export function setWord(name, text) {
  const [verb, word] = name.split(".");
  if (word) state.words[verb][word] = text;
  else state.limits[name] = text;
  if (MORE.includes(name)) state.allLimits = true; // what is being changed does not go away
  if (state.refusal?.chip === name) state.refusal = null;
  markRegion();
  paint();
}

export const proposeOrSketch = () => (state.verb === "sketch" ? sketch() : propose());

async function propose() {
  if (!state.score || isRunning() || state.engine.state !== "ready") return;
  player.stop();
  hideCandidate();
  endBlind();
  state.refusal = null;
  const body = askBody(state, lockedWithin(state));
  const [before, base] = [state.proposal, state.music];
  dropRecordings(before);
  const asked = adopt({ id: 0, state: "asked", words: body, candidates: [] }, base, body.candidates);
  state.proposal = asked;
  const { region } = stage.view;
  if (region) stage.reveal(Math.max(0, region.first - SEAM_BARS), region.last);
  paint();
  try {
    await withEvents(async () => {
      const info = await ask("POST", "/proposals", body);
      if (state.proposal === asked) state.proposal = adopt(info, base, info.words.candidates);
    });
  } catch (error) {
    if (state.proposal !== asked) return refuse(error);
    state.proposal = before;
    state.refusal = { message: error.message, hint: error.hint, chip: chipOf(error.message, state.verb) };
    if (!state.online) refuse(error);
  }
  markRegion();
  paint();
}

/** Ask for a new piece from words; what is on the stage gives way to its empty sheet, and stays in the history. */
export async function sketch() {
  if (!state.sketch.text.trim() || state.asking || isRunning() || state.engine.state !== "ready") return;
  state.asking = true;
  paint();
  try {
    await sketchWords(state.sketch);
  } finally {
    state.asking = false;
    paint();
  }
}

async function sketchWords(box) {
  const { text } = box;
  await box.changing;
  if (!box.edited) await readBrief(box, { text });
  const { brief, briefRefusal, edited } = box;
  if (!brief || briefRefusal || box.text !== text) return;
  const ticket = opening();
  await withEvents(async () => {
    const { id: session } = await ask("POST", "/sessions", { name: text.slice(0, 80) });
    const body = { operation: "sketch", session, ...(edited ? { brief } : { text }) };
    const { candidates, style, weight } = state.limits;
    if (candidates) body.candidates = candidates;
    if (style) body.style = `${style}:${weight}`;
    const info = await ask("POST", "/proposals", body);
    if (isLatest(ticket)) showSketch(adopt(info, blank(brief), info.words.candidates), brief);
  });
}

/** Put a proposal that goes on from nothing on the stage, in place of what was there. */
export function showSketch(proposal, brief) {
  endBlind();
  player.stop();
  dropRecordings(state.proposal);
  const { session, words, base } = proposal;
  Object.assign(state, { verb: "sketch", score: null, session, brief, silent: new Set(), refusal: null, proposal });
  state.title = brief.text || words.text || "Sketch";
  setStage(base, false);
  if (proposal.state === "done") bringOut(1);
}

export async function cancel() {
  const { proposal } = state;
  if (proposal?.id && isRunning()) await ask("DELETE", `/proposals/${proposal.id}`);
}

// --- What the server tells -----------------------------------------------------------------------------

let fetching = 0; // proposals that were asked for, or looked up, and are not here yet
const early = []; // what is told meanwhile

/** Have a proposal fetched and shown by `work`; what was told of it before it was here is heard again afterwards. */
export async function withEvents(work) {
  fetching += 1;
  try {
    await work();
    for (const event of early) if (event.proposal === state.proposal?.id && isRunning()) hearProposal(event);
  } finally {
    fetching -= 1;
    if (!fetching) early.length = 0;
  }
}

/** An event about some proposal. */
export function hearOf(event) {
  if (fetching) early.push(event);
  if (event.proposal === state.proposal?.id) hearProposal(event);
}

function hearProposal(event) {
  const { proposal } = state;
  if (!isRunning()) return;
  if (event.type === "started") proposal.state = "running";
  if (event.type === "request") proposal.request = spanned(event.request, proposal.base);
  if (event.type === "notes") {
    hearNotes(proposal, event);
    if (state.shown === event.candidate) showCandidate();
  }
  if (["done", "failed", "cancelled"].includes(event.type)) shown(end)(proposal, event.result);
  paint();
}

async function end(proposal, info) {
  if (info.state === "done") {
    await finish(proposal, info);
    if (state.proposal !== proposal) return;
    if (proposal.score === null && !state.score) {
      const { shown } = state;
      setStage(proposal.base, false);
      bringOut(shown || 1); // there is nothing else to see
    }
    if (state.shown > info.candidates.length) hideCandidate();
    else if (state.shown) showCandidate();
    say(`${info.candidates.length} candidates are ready; 1 to ${Math.min(9, info.candidates.length)} plays them`);
    warm();
  } else {
    proposal.state = info.state;
    if (state.proposal === proposal) {
      hideCandidate();
      if (info.error) state.refusal = { ...info.error, chip: chipOf(info.error.message, state.verb) };
      if (info.state === "failed") state.proposal = null;
    }
    proposal.candidates = [];
  }
  paint();
}
