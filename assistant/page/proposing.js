// Asking for candidates: what the request is about, what is sent, and what the server tells while it writes.

import { askBody, chipOf } from "./ask.js";
import { endBlind } from "./blind.js";
import { adopt, finish, hearNotes, spanned } from "./candidates.js";
import { hideCandidate, showCandidate } from "./choosing.js";
import { player, stage } from "./desk.js";
import { dropRecordings, warm } from "./listening.js";
import { lockedWithin } from "./locks.js";
import { opening, setStage } from "./pieces.js";
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
  const before = state.proposal;
  dropRecordings(before);
  state.proposal = adopt({ id: 0, state: "asked", words: body, candidates: [] }, state.music, body.candidates);
  paint();
  try {
    const info = await ask("POST", "/proposals", body);
    state.proposal = adopt(info, state.music, info.words.candidates);
    for (const event of early.filter((event) => event.proposal === info.id)) hearProposal(event);
  } catch (error) {
    state.proposal = before;
    state.refusal = { message: error.message, hint: error.hint, chip: chipOf(error.message, state.verb) };
    if (!state.online) refuse(error);
  }
  early.length = 0;
  markRegion();
  paint();
}

/** Ask for a new piece from words; what is on the stage gives way to its empty sheet, and stays in the history. */
export async function sketch() {
  const { text, edited } = state.sketch;
  if (!text.trim() || isRunning() || state.engine.state !== "ready") return;
  if (!edited) await readBrief(state.sketch, { text });
  paint();
  const { brief, briefRefusal } = state.sketch;
  if (!brief || briefRefusal) return;
  const { id: session } = await ask("POST", "/sessions", { name: text.slice(0, 80) });
  const body = { operation: "sketch", session, ...(edited ? { brief } : { text }) };
  const { candidates, style, weight } = state.limits;
  if (candidates) body.candidates = candidates;
  if (style) body.style = `${style}:${weight}`;
  const info = await ask("POST", "/proposals", body);
  opening();
  player.stop();
  showSketch(info, blank(brief), brief);
}

export function showSketch(info, base, brief) {
  endBlind();
  dropRecordings(state.proposal);
  Object.assign(state, { verb: "sketch", score: null, session: info.session, brief, silent: new Set(), refusal: null });
  state.title = brief.text || info.words.text || "Sketch";
  state.proposal = adopt(info, base, info.words.candidates);
  setStage(base, false);
}

export async function cancel() {
  const { proposal } = state;
  if (proposal?.id && isRunning()) await ask("DELETE", `/proposals/${proposal.id}`);
}

// --- What the server tells -----------------------------------------------------------------------------

const early = []; // events about a proposal whose number is not known yet

/** An event about some proposal. */
export function hearOf(event) {
  if (event.proposal === state.proposal?.id) hearProposal(event);
  else if (state.proposal?.state === "asked") early.push(event);
}

function hearProposal(event) {
  const { proposal } = state;
  if (event.type === "started") proposal.state = "running";
  if (event.type === "request") proposal.request = spanned(event.request, proposal.base);
  if (event.type === "notes") {
    hearNotes(proposal, event);
    if (state.shown === event.candidate) showCandidate();
  }
  if (["done", "failed", "cancelled"].includes(event.type)) shown(ended)(proposal, event.result);
  paint();
}

export async function ended(proposal, info) {
  if (info.state === "done") {
    await finish(proposal, info);
    if (state.proposal !== proposal) return;
    if (proposal.score === null && !state.score) setStage(proposal.base, false);
    if (state.shown) showCandidate();
    say(`${info.candidates.length} candidates are ready; 1 to ${Math.min(9, info.candidates.length)} plays them`);
    warm();
  } else {
    proposal.state = info.state;
    proposal.candidates = [];
    if (info.error) state.refusal = { ...info.error, chip: chipOf(info.error.message, state.verb) };
    if (state.proposal === proposal) {
      hideCandidate();
      if (info.state === "failed") state.proposal = null;
    }
  }
  paint();
}
