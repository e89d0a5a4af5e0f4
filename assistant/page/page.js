// The page itself: what it knows, what the server tells it, and what each gesture does.
//
//   gesture ─► a function here ─► server ─► event or answer ─► state ─► paint(): head, ask, cards, stage

import { askBody, chipOf, askView, tracksText, VERBS } from "./ask.js";
import { adopt, finish, hearNotes, spanned, wholeWith } from "./candidates.js";
import { cardsView } from "./cards.js";
import { headView, keysView, libraryView, namesView, noticesView, welcomeView } from "./frame.js";
import { listenToDrops, listenToKeys } from "./gestures.js";
import { Music } from "./music.js";
import { regionOf } from "./region.js";
import { paintCard } from "./roll.js";
import { ask, enter, fetchFile, listen, upload } from "./server.js";
import { blank, changeFact, readBrief, understand } from "./sketch.js";
import { Player } from "./sound.js";
import { Stage } from "./stage.js";
import { $, placeText, RUNNING, state } from "./state.js";
import { download, downloadPiece, prepare } from "./take.js";
import { render } from "./vendor/lit-html.js";

const SEAM_BARS = 2; // heard before and after the new notes

const stage = new Stage($("stage"), { region: chooseRegion, seek, say });
const player = new Player({
  place: (tick) => {
    stage.follow(tick);
    const text = placeText(tick);
    if ($("place") && $("place").textContent !== text) $("place").textContent = text;
  },
  end: () => {
    state.playing = false;
    stage.follow(null);
    paint();
  },
});

// --- Painting ------------------------------------------------------------------------------------------

let painting = false;

/** Bring the page up to date with the state, in the next frame. */
function paint() {
  if (painting) return;
  painting = true;
  requestAnimationFrame(() => {
    painting = false;
    const piece = Boolean(state.music);
    document.body.classList.toggle("empty", !piece);
    $("stage").hidden = $("ask").hidden = $("cards").hidden = !piece;
    $("welcome").hidden = piece || (state.entered && !state.looked);
    render(headView(state, { ...deeds, placeText }), $("head"));
    render(piece ? null : welcomeView(state, deeds), $("welcome"));
    render(noticesView(state, deeds), $("notices"));
    if (piece) {
      render(namesView(state, deeds), $("stage").querySelector(".names"));
      render(askView(state, deeds), $("ask"));
      render(cardsView(state, deeds), $("cards"));
      paintCards();
    }
  });
}

function paintCards() {
  const { proposal } = state;
  if (!proposal) return;
  for (const canvas of $("cards").querySelectorAll("canvas.mini")) {
    const candidate = proposal.candidates[canvas.closest(".card").dataset.number - 1];
    const size = `${canvas.clientWidth} ${document.documentElement.dataset.theme}`;
    if (!candidate?.parts || (canvas.drawn === candidate.parts && canvas.size === size)) continue;
    const [from, to] = spanOf(proposal);
    paintCard(canvas, candidate.parts.filter(Boolean), from, to, stage.view.colours);
    Object.assign(canvas, { drawn: candidate.parts, size });
  }
}

function spanOf({ request }) {
  const music = state.proposal.base;
  return [music.barStart(request.bars[0] - 1), music.barStart(request.bars[1])];
}

function say(text) {
  $("say").textContent = text;
}

/** A sentence in the corner; errors stay until they are closed. */
function notice(message, hint = "", kind = "good", action = null) {
  const item = { message, hint, kind, action };
  state.notices = [...state.notices.filter((other) => other.message !== message).slice(-2), item];
  if (kind === "good") setTimeout(() => deeds.dismiss(item), 7000);
  paint();
}

const refuse = (error) => notice(error.message, error.hint ?? "", "bad");

/** The same function, with its errors shown. */
const shown = (work) => (...values) => Promise.resolve(work(...values)).catch(refuse);

// --- The piece -----------------------------------------------------------------------------------------

/** Put a piece, or the empty sheet of a sketch, on the stage. */
function setStage(music, samePiece) {
  Object.assign(state, { music, shown: 0, loading: "" });
  document.title = `${state.title} – Descant`;
  $("stage").hidden = false;
  document.body.classList.remove("empty");
  stage.show(music, samePiece);
  markRegion();
  describeStage();
  paint();
}

let opening = 0; // counts what was opened; what comes late for an earlier count is not shown

/** Show a score. False when another one was opened meanwhile. */
async function openScore(score, samePiece = false) {
  const mine = ++opening;
  const music = new Music(await ask("GET", `/scores/${score.id}/notes`));
  if (mine !== opening) return false;
  if (!samePiece) {
    player.stop();
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

async function openFile(file, name) {
  if (!file) return;
  state.loading = `Reading ${name}…`;
  paint();
  try {
    opening += 1;
    const score = await upload(file, name.replace(/\.midi?$/i, ""));
    await openScore(score);
    if (score.facts.warnings.length) notice("The file had faults that were mended", score.facts.warnings[0]);
  } finally {
    state.loading = "";
    paint();
  }
}

async function openSession(id) {
  const mine = ++opening;
  const session = await ask("GET", `/sessions/${id}`);
  const score = session.score && (await ask("GET", `/scores/${session.score}`));
  if (mine !== opening || (score && !(await openScore(score)))) return;
  const shown = opening;
  const [latest] = await ask("GET", `/proposals?session=${id}&most=1`);
  if (shown !== opening) return;
  if (latest?.candidates.length || RUNNING.includes(latest?.state)) await showProposal(latest.id);
}

// --- The request ---------------------------------------------------------------------------------------

/** Show on the stage which bars and tracks the request is about. */
function markRegion() {
  if (!state.music) return;
  const { region, ghosts } = regionOf(state);
  stage.mark(region, ghosts);
}

/** Cells were chosen on the grid: bars of the piece to fill, or, beyond its end, how far to go on. */
function chooseRegion({ first, last, tracks }) {
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

async function propose() {
  if (!state.score || (state.proposal && RUNNING.includes(state.proposal.state))) return;
  if (state.engine.state !== "ready") return;
  player.stop();
  hideCandidate();
  state.refusal = null;
  const body = askBody(state);
  const before = state.proposal;
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
async function sketch() {
  const { text, edited } = state.sketch;
  if (!text.trim() || state.engine.state !== "ready") return;
  if (!edited) await readBrief(state.sketch, { text });
  paint();
  const { brief, briefRefusal } = state.sketch;
  if (!brief || briefRefusal) return;
  const { id: session } = await ask("POST", "/sessions", { name: text.slice(0, 80) });
  const body = { operation: "sketch", session, ...(edited ? { brief } : { text }) };
  if (state.limits.candidates) body.candidates = state.limits.candidates;
  const info = await ask("POST", "/proposals", body);
  opening += 1;
  player.stop();
  showSketch(info, blank(brief), brief);
}

function showSketch(info, base, brief) {
  Object.assign(state, { verb: "sketch", score: null, session: info.session, brief, silent: new Set(), refusal: null });
  state.title = brief.text || info.words.text || "Sketch";
  state.proposal = adopt(info, base, info.words.candidates);
  setStage(base, false);
}

async function cancel() {
  const { proposal } = state;
  if (proposal?.id && RUNNING.includes(proposal.state)) await ask("DELETE", `/proposals/${proposal.id}`);
}

async function showProposal(id) {
  const info = await ask("GET", `/proposals/${id}`);
  const mine = opening;
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
  if (mine !== opening) return;
  hideCandidate();
  state.proposal = proposal;
  paint();
}

// --- Candidates ----------------------------------------------------------------------------------------

const current = () => state.proposal?.candidates[state.shown - 1];

/** Put a candidate on the stage, and play it from a little before its first note. */
function audition(number, andPlay = true) {
  const { proposal } = state;
  const candidate = proposal?.candidates[number - 1];
  if (!candidate?.parts) return;
  if (state.playing && state.shown === number && andPlay) return player.stop();
  player.stop(true);
  state.playing = false;
  state.shown = number;
  showCandidate();
  const [first, last] = proposal.request.bars.map((bar) => bar - 1);
  stage.reveal(Math.max(0, first - SEAM_BARS), last);
  document.querySelector(`.card[data-number="${number}"]`)?.focus({ preventScroll: matchMedia("(min-width: 60rem)").matches });
  if (andPlay) {
    const music = wholeWith(candidate, proposal);
    play(music, music.barStart(Math.max(0, first - SEAM_BARS)), music.barStart(last + 1 + SEAM_BARS));
  }
  say(`Candidate ${number}`);
  paint();
}

function showCandidate() {
  const { proposal, score } = state;
  if (proposal.score !== (score?.id ?? null)) return; // it belongs to an earlier version: heard, but not drawn over this one
  const [first, last] = proposal.request.bars.map((bar) => bar - 1);
  const tracks = new Set(proposal.request.tracks.map((track) => track - 1));
  stage.propose(current().parts, { first, last, tracks });
  markRegion();
}

function hideCandidate() {
  if (!state.shown) return;
  player.stop();
  state.shown = 0;
  stage.propose(null);
  markRegion();
  paint();
}

async function decide(number, verdict) {
  const { proposal } = state;
  const candidate = proposal?.candidates[number - 1];
  if (!candidate?.info) return;
  const decision = await ask("POST", `/proposals/${proposal.id}/candidates/${number}/decision`, { verdict });
  if (verdict === "accept") {
    player.stop();
    await openScore(await ask("GET", `/scores/${decision.score}`), true);
  }
  candidate.info.verdict = verdict;
  const said = { accept: "Accepted: it is part of the piece now", keep: "Kept for later", reject: "Rejected" };
  notice(said[verdict], "", "good", { text: "Undo", deed: undo });
  say(said[verdict]);
  paint();
}

async function undo() {
  if (!state.session) return;
  player.stop();
  const decision = await ask("POST", `/sessions/${state.session}/undo`);
  if (decision.score && decision.score !== state.score?.id) {
    await openScore(await ask("GET", `/scores/${decision.score}`), true);
  }
  await showProposal(decision.proposal);
  const names = { accept: "Accepting", keep: "Keeping", reject: "Rejecting" };
  state.notices = [];
  notice(`${names[decision.verdict]} candidate ${decision.candidate} was undone`);
}

// --- Sound ---------------------------------------------------------------------------------------------

function play(music, from, until) {
  state.playing = true;
  player.play(music, from, state.silent, until).catch((error) => {
    state.playing = false;
    notice("This browser does not play sound", String(error.message), "bad");
  });
  paint();
}

function playOrStop() {
  if (state.playing) return player.stop();
  if (!state.music) return;
  if (state.shown || !state.score) return audition(state.shown || 1);
  play(state.music, state.place >= state.music.end ? 0 : state.place);
}

function seek(tick) {
  const playing = state.playing;
  if (state.shown) hideCandidate();
  state.place = Math.min(tick, state.music.end);
  if (playing) play(state.music, state.place);
  else stage.follow(state.place);
  paint();
}

// --- What the server tells -----------------------------------------------------------------------------

const early = []; // events about a proposal whose number is not known yet

function hear(event) {
  if (event.type === "hello" || event.type === "engine") {
    state.engine = event.engine ?? event;
    paint();
  } else if (event.proposal !== undefined) {
    if (event.proposal === state.proposal?.id) hearProposal(event);
    else if (state.proposal?.state === "asked") early.push(event);
  }
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

async function ended(proposal, info) {
  if (info.state === "done") {
    await finish(proposal, info);
    if (state.proposal !== proposal) return;
    if (proposal.score === null && !state.score) setStage(proposal.base, false);
    if (state.shown) showCandidate();
    say(`${info.candidates.length} candidates are ready; 1 to ${Math.min(9, info.candidates.length)} plays them`);
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

/** After the connection stands: what there is, and what happened meanwhile. */
async function refresh() {
  state.online = true;
  state.notices = state.notices.filter((item) => item.kind !== "bad");
  const mine = opening;
  const { operations } = await ask("GET", "/operations");
  state.verbs = Object.keys(VERBS).filter((name) => name in operations);
  state.demos = await ask("GET", "/demos").catch(() => []);
  if (!state.music) {
    const [session] = await ask("GET", "/sessions");
    if (session && mine === opening) await openSession(session.id);
  } else {
    const session = await ask("GET", `/sessions/${state.session}`);
    if (session.score && session.score !== state.score?.id) {
      await openScore(await ask("GET", `/scores/${session.score}`), true);
    }
    if (state.proposal && RUNNING.includes(state.proposal.state)) await showProposal(state.proposal.id);
  }
  state.looked = true;
  paint();
}

// --- Gestures ------------------------------------------------------------------------------------------

const deeds = {
  open: () => $("file").click(),
  file: shown((file) => openFile(file, file.name)),
  demo: shown(async ({ name, title }) => openFile(await fetchFile(`/demos/${name}`), title)),
  session: shown(async (id) => {
    $("dialog").close();
    await openSession(id);
  }),
  proposal: shown(async (id) => {
    $("dialog").close();
    await showProposal(id);
  }),
  library: shown(async () => {
    const sessions = await ask("GET", "/sessions");
    const { session } = state;
    const proposals = session ? await ask("GET", `/proposals?session=${session}`) : [];
    render(libraryView({ ...state, sessions, proposals }, deeds), $("dialog"));
    $("dialog").showModal();
  }),
  keys: () => {
    render(keysView(deeds), $("dialog"));
    $("dialog").showModal();
  },
  close: () => $("dialog").close(),
  downloadPiece: shown(() => downloadPiece(state)),
  play: playOrStop,
  zoom: (factor) => stage.zoom(factor),
  theme: () => {
    const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    localStorage.setItem("theme", theme);
    stage.theme();
    paint();
  },
  track: (track) => {
    if (state.music.lastBar() >= 0) {
      stage.select({ bar: 0, track }, { bar: state.music.lastBar(), track });
    }
  },
  mute: (track) => {
    if (!state.silent.delete(track)) state.silent.add(track);
    paint();
  },
  verb: (verb) => {
    Object.assign(state, { verb, refusal: null });
    hideCandidate();
    markRegion();
    if (stage.view.region) stage.reveal(stage.view.region.first, stage.view.region.last);
    paint();
  },
  word: (name, text) => {
    const [verb, word] = name.split(".");
    if (word) state.words[verb][word] = text;
    else state.limits[name] = text;
    if (state.refusal?.chip === name) state.refusal = null;
    markRegion();
    paint();
  },
  propose: shown(() => (state.verb === "sketch" ? sketch() : propose())),
  sketch: shown(sketch),
  words: (text) => {
    understand(state.sketch, text, paint);
    paint();
  },
  fact: shown(async (name, value) => {
    await changeFact(state.sketch, name, value);
    paint();
  }),
  cancel: shown(cancel),
  audition,
  original: () => hideCandidate(),
  accept: shown((number) => decide(number, "accept")),
  keep: shown((number) => decide(number, "keep")),
  reject: shown((number) => decide(number, "reject")),
  undo: shown(undo),
  take: (onlyNew) => {
    state.onlyNew = onlyNew;
    for (const candidate of state.proposal?.candidates ?? []) candidate.file = null;
    paint();
  },
  prepare: shown(async (number) => {
    await prepare(state, number);
    paint();
  }),
  download: shown(async (number) => {
    const file = await download(state, number);
    if (file) notice(`${file.name} is on its way`, `A copy stays at ${file.path}`);
  }),
  dragged: (number) => {
    const { file } = state.proposal.candidates[number - 1];
    if (file) notice(`${file.name} was taken`, `It stays at ${file.path}`);
  },
  dismiss: (item) => {
    state.notices = state.notices.filter((other) => other !== item);
    paint();
  },
};

const KEYS = {
  " ": playOrStop,
  Enter: () => state.shown && deeds.accept(state.shown),
  k: () => state.shown && deeds.keep(state.shown),
  x: () => state.shown && deeds.reject(state.shown),
  p: deeds.propose,
  z: deeds.undo,
  o: deeds.open,
  h: deeds.library,
  0: deeds.original,
  "?": deeds.keys,
  Escape: () => {
    if (state.playing) player.stop();
    else if (state.proposal && RUNNING.includes(state.proposal.state)) deeds.cancel();
    else hideCandidate();
  },
};
for (let number = 1; number <= 9; number++) KEYS[number] = () => audition(number);

listenToKeys(KEYS, deeds.undo);
listenToDrops(deeds.file);

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  stage.theme();
  paint();
});
addEventListener("resize", paint);

// --- Beginning -----------------------------------------------------------------------------------------

async function begin() {
  paint();
  state.entered = await enter();
  if (!state.entered) return paint();
  listen({
    hear,
    found: shown(async () => {
      try {
        await refresh();
      } catch (error) {
        if (error.status !== 401) throw error;
        sessionStorage.removeItem("token");
        state.entered = false;
        paint();
      }
    }),
    lost: () => {
      state.online = false;
      paint();
    },
  });
}

begin().catch(() => {
  state.online = false;
  paint();
});

// For the tests and the measurement alone.
window.descant = { state, stage, player };
