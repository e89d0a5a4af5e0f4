// The candidates: putting one on the stage, deciding about it, and taking a decision back.

import { wholeWith } from "./candidates.js";
import { player, stage } from "./desk.js";
import { playCandidate } from "./listening.js";
import { isLatest, latest, openScore, showProposal } from "./pieces.js";
import { markRegion } from "./proposing.js";
import { ask } from "./server.js";
import { notice, paint, say, shown } from "./shell.js";
import { state } from "./state.js";

export const SEAM_BARS = 2; // heard before and after the new notes

const candidateOf = (number) => state.proposal?.candidates[number - 1];

/** Put a candidate on the stage, and play it from a little before its first note. */
export function audition(number) {
  const { proposal } = state;
  const candidate = candidateOf(number);
  if (!candidate?.parts || !proposal.request) return;
  if (state.playing && state.shown === number) return player.stop();
  player.stop(true);
  state.playing = state.waiting = false;
  bringOut(number);
  const card = document.querySelector(`.card[data-number="${number}"]`);
  card?.focus({ preventScroll: matchMedia("(min-width: 60rem)").matches });
  playCandidate(proposal, candidate);
  say(`Candidate ${number}`);
  paint();
}

/** Put a candidate on the stage, with its bars in view. */
export function bringOut(number) {
  const [first, last] = state.proposal.request.bars.map((bar) => bar - 1);
  state.shown = number;
  showCandidate();
  stage.reveal(Math.max(0, first - SEAM_BARS), last);
}

/** The span that is heard of any candidate: music, and the ticks where it begins and ends. */
export function spanHeard(proposal, candidate) {
  const music = wholeWith(candidate, proposal);
  const [first, last] = proposal.request.bars.map((bar) => bar - 1);
  return {
    music,
    from: music.barStart(Math.max(0, first - SEAM_BARS)),
    until: music.barStart(last + 1 + SEAM_BARS),
    region: [music.barStart(first), music.barStart(last + 1)],
  };
}

export function showCandidate() {
  const { proposal, score } = state;
  if (proposal.score !== (score?.id ?? null)) return; // it belongs to an earlier version: heard, but not drawn over this one
  if (!candidateOf(state.shown)?.parts) return;
  const [first, last] = proposal.request.bars.map((bar) => bar - 1);
  const tracks = new Set(proposal.request.tracks.map((track) => track - 1));
  stage.propose(candidateOf(state.shown).parts, { first, last, tracks });
  markRegion();
}

export function hideCandidate() {
  if (!state.shown) return;
  player.stop();
  state.shown = 0;
  stage.propose(null);
  markRegion();
  paint();
}

const SAID = { accept: "Accepted: it is part of the piece now", keep: "Kept for later", reject: "Rejected" };
const UNDONE = { accept: "Accepting", keep: "Keeping", reject: "Rejecting" };

export async function decide(number, verdict) {
  const { proposal } = state;
  const candidate = candidateOf(number);
  if (!candidate?.info || candidate.deciding) return;
  const ticket = latest();
  candidate.deciding = true;
  try {
    const decision = await ask("POST", `/proposals/${proposal.id}/candidates/${number}/decision`, { verdict });
    if (verdict === "accept") await openDecided(decision, ticket);
  } finally {
    candidate.deciding = false;
  }
  candidate.info.verdict = verdict;
  notice(SAID[verdict], "", "good", { text: "Undo", key: "z", deed: shown(undo) });
  say(SAID[verdict]);
  paint();
}

/** Put the piece after a decision on the stage. False when something else was opened meanwhile. */
async function openDecided({ score: number }, ticket) {
  if (!isLatest(ticket)) return false;
  player.stop();
  if (!number || number === state.score?.id) return true;
  const score = await ask("GET", `/scores/${number}`);
  return isLatest(ticket) && openScore(score, { samePiece: true });
}

export async function undo() {
  if (!state.session) return;
  player.stop();
  const ticket = latest();
  const decision = await ask("POST", `/sessions/${state.session}/undo`);
  if (await openDecided(decision, ticket)) await showProposal(decision.proposal);
  state.notices = [];
  notice(`${UNDONE[decision.verdict]} candidate ${decision.candidate} was undone`);
}
