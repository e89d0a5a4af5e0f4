// The piece on the stage: opening one, and what there was when the page was left.

import { adopt, finish } from "./candidates.js";
import { player, stage } from "./desk.js";
import { forgetLocks } from "./locks.js";
import { Music } from "./music.js";
import { endBlind } from "./blind.js";
import { hideCandidate } from "./choosing.js";
import { ended, markRegion, showSketch } from "./proposing.js";
import { ask, fetchFile, upload } from "./server.js";
import { closeScreen, notice, paint } from "./shell.js";
import { blank } from "./sketch.js";
import { $, isRunning, RUNNING, state } from "./state.js";
import { VERBS } from "./words.js";
import { download } from "./take.js";

let count = 0; // of what was opened; what comes late for an earlier one is not shown

/** A ticket for something that is about to be opened; `isLatest` says whether nothing else was meanwhile. */
export const opening = () => ++count;
export const latest = () => count;

/** Put a piece, or the empty sheet of a sketch, on the stage. */
export function setStage(music, samePiece) {
  Object.assign(state, { music, shown: 0, loading: "" });
  document.title = `${state.title} – Descant`;
  $("stage").hidden = false;
  document.body.classList.remove("empty");
  forgetLocks();
  stage.show(music, samePiece);
  markRegion();
  describeStage();
  paint();
}

/** Show a score. False when another one was opened meanwhile. */
export async function openScore(score, samePiece = false) {
  const mine = opening();
  const music = new Music(await ask("GET", `/scores/${score.id}/notes`));
  if (mine !== count) return false;
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
  state.loading = `Reading ${name}…`;
  paint();
  try {
    opening();
    const score = await upload(file, name.replace(/\.midi?$/i, ""));
    await openScore(score);
    if (score.facts.warnings.length) notice("The file had faults that were mended", score.facts.warnings[0]);
  } finally {
    state.loading = "";
    paint();
  }
}

export const openDemo = async ({ name, title }) => openFile(await fetchFile(`/demos/${name}`), title);

export async function openSession(id) {
  closeScreen();
  const mine = opening();
  const session = await ask("GET", `/sessions/${id}`);
  const score = session.score && (await ask("GET", `/scores/${session.score}`));
  if (mine !== count || (score && !(await openScore(score)))) return;
  const now = count;
  const [last] = await ask("GET", `/proposals?session=${id}&most=1`);
  if (now !== count) return;
  if (last?.candidates.length || RUNNING.includes(last?.state)) await showProposal(last.id);
}

/** Show what was asked once, with the piece as it was then where that is still the one on the stage. */
export async function showProposal(id) {
  const info = await ask("GET", `/proposals/${id}`);
  const mine = count;
  endBlind();
  if (info.score === null) {
    const brief = info.request?.brief;
    if (!brief) return;
    if (state.session !== info.session || state.score) showSketch(info, blank(brief), brief);
    if (info.state === "done") await ended(state.proposal, info);
    return;
  }
  const base = info.score === state.score?.id ? state.music : new Music(await ask("GET", `/scores/${info.score}/notes`));
  const proposal = adopt(info, base);
  if (info.state === "done") await finish(proposal, info);
  if (mine !== count) return;
  hideCandidate();
  state.proposal = proposal;
  paint();
}

export async function openProposal(id) {
  closeScreen();
  await showProposal(id);
}

/** Hand a file that is held here to the browser. */
export function downloadBlob(blob, name) {
  const url = URL.createObjectURL(blob);
  download(url, name);
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** After the connection stands: what there is, and what happened meanwhile. */
export async function refresh() {
  state.online = true;
  state.notices = state.notices.filter((item) => item.kind !== "bad");
  const mine = count;
  const { operations } = await ask("GET", "/operations");
  state.verbs = Object.keys(VERBS).filter((name) => name in operations);
  state.canLock = operations.fill?.includes("lock") ?? false;
  state.demos = await ask("GET", "/demos").catch(() => []);
  if (!state.music) {
    const [session] = await ask("GET", "/sessions");
    if (session && mine === count) await openSession(session.id);
  } else {
    const session = await ask("GET", `/sessions/${state.session}`);
    if (session.score && session.score !== state.score?.id) {
      await openScore(await ask("GET", `/scores/${session.score}`), true);
    }
    if (isRunning()) await showProposal(state.proposal.id);
  }
  state.looked = true;
  paint();
}
