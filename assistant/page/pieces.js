// The piece on the stage: opening one, and what there was when the page was left.

import { adopt, finish } from "./candidates.js";
import { player, stage } from "./desk.js";
import { forgetLocks } from "./locks.js";
import { Music } from "./music.js";
import { endBlind } from "./blind.js";
import { hideCandidate } from "./choosing.js";
import { dropRecordings } from "./listening.js";
import { markRegion, showSketch, withEvents } from "./proposing.js";
import { ask, fetchFile, upload } from "./server.js";
import { notice, paint } from "./shell.js";
import { blank } from "./sketch.js";
import { $, isRunning, RUNNING, state } from "./state.js";
import { VERBS } from "./words.js";

let count = 0; // of what was opened
let coming = 0; // files and pieces that were chosen and are on their way

/** A ticket for something that is about to be opened. What comes for one that is not the latest is not shown. */
export const opening = () => ++count;
export const latest = () => count;
export const isLatest = (ticket) => ticket === count;

/** Put a piece, or the empty sheet of a sketch, on the stage. */
export function setStage(music, samePiece) {
  Object.assign(state, { music, shown: 0, loading: null });
  document.title = `${state.title} – Descant`;
  $("stage").hidden = false;
  document.body.classList.remove("empty");
  forgetLocks();
  stage.show(music, samePiece);
  markRegion();
  describeStage();
  paint();
}

/** Show a score. False when another one was opened meanwhile. ticket: of when it was asked for. */
export async function openScore(score, { samePiece = false, ticket = opening() } = {}) {
  if (!isLatest(ticket)) return false;
  const music = new Music(await ask("GET", `/scores/${score.id}/notes`));
  if (!isLatest(ticket)) return false;
  if (!samePiece) {
    player.stop();
    endBlind();
    Object.assign(state, { proposal: null, place: 0, silent: new Set(), verb: "continue", refusal: null });
    state.words.fill = { bars: "", tracks: "" };
  }
  if (state.verb === "sketch") state.verb = "continue";
  Object.assign(state, { score, session: score.session, title: score.name, brief: null });
  setStage(music, samePiece);
  return true;
}

function describeStage() {
  const { music } = state;
  const text = `${music.parts.length} tracks, ${music.bars.length} bars, ${music.count} notes`;
  stage.grid.setAttribute("aria-label", `Grid of bars and tracks: ${text}`);
  stage.roll.setAttribute("aria-label", `Piano roll: ${text}`);
}

export async function openFile(file, name = file?.name) {
  if (!file) return;
  await bringing(`Reading ${name}…`, async (ticket) => {
    const score = await upload(file, name.replace(/\.midi?$/i, ""));
    if (!(await openScore(score, { ticket }))) return;
    if (score.facts.warnings.length) notice("The file had faults that were mended", score.facts.warnings[0]);
  });
}

/** Something that somebody chose is on its way: it is said, and nothing that nobody asked for gets before it.
 * stopper: an AbortController that calls it off. */
export async function bringing(text, work, stopper = null) {
  const ticket = opening();
  state.loading = { text, stopper };
  coming += 1;
  paint();
  try {
    await work(ticket);
  } finally {
    coming -= 1;
    if (isLatest(ticket)) state.loading = null;
    paint();
  }
}

export const openDemo = async ({ name, title }) => openFile(await fetchFile(`/demos/${name}`), title);

export const openSession = (id) => bringing("Opening…", (ticket) => fetchSession(id, ticket));

async function fetchSession(id, ticket) {
  const session = await ask("GET", `/sessions/${id}`);
  const score = session.score && (await ask("GET", `/scores/${session.score}`));
  if (!isLatest(ticket) || (score && !(await openScore(score, { ticket })))) return;
  const [last] = await ask("GET", `/proposals?session=${id}&most=1`);
  if (last?.candidates.length || RUNNING.includes(last?.state)) await showProposal(last.id, ticket);
}

/** Show what was asked once, with the piece as it was then where that is still the one on the stage. What was asked
 * for meanwhile stays. */
export async function showProposal(id, ticket = count) {
  const before = state.proposal;
  const late = () => !isLatest(ticket) || state.proposal !== before;
  await withEvents(async () => {
    const info = await ask("GET", `/proposals/${id}`);
    const brief = info.request?.brief;
    if (late() || (info.score === null && !brief)) return;
    const proposal = adopt(info, await baseOf(info));
    if (info.state === "done") await finish(proposal, info);
    if (late()) return;
    endBlind();
    hideCandidate();
    if (info.score === null) return showSketch(proposal, brief);
    dropRecordings(state.proposal);
    state.proposal = proposal;
    paint();
  });
}

/** The piece, or the empty sheet, that a proposal goes on from. */
async function baseOf({ score, request }) {
  if (score === null) return blank(request.brief);
  if (score === state.score?.id) return state.music;
  return new Music(await ask("GET", `/scores/${score}/notes`));
}

/** After the connection stands: what there is, and what happened meanwhile. */
export async function refresh() {
  state.online = true;
  state.notices = state.notices.filter((item) => !item.lost);
  const ticket = count;
  const { operations } = await ask("GET", "/operations");
  state.verbs = Object.keys(VERBS).filter((name) => name in operations);
  state.canLock = operations.fill?.includes("lock") ?? false;
  state.demos = await ask("GET", "/demos").catch(() => []);
  if (!state.music) {
    const [session] = await ask("GET", "/sessions");
    if (session && !coming && isLatest(ticket)) await fetchSession(session.id, opening());
  } else if (!coming) await refreshPiece(ticket);
  state.looked = true;
  paint();
}

async function refreshPiece(ticket) {
  const session = await ask("GET", `/sessions/${state.session}`);
  if (!coming && isLatest(ticket) && session.score && session.score !== state.score?.id) {
    const score = await ask("GET", `/scores/${session.score}`);
    if (!coming && isLatest(ticket)) await openScore(score, { samePiece: true });
  }
  if (isRunning() && state.proposal.id) await showProposal(state.proposal.id);
}
