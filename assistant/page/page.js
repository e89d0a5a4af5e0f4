// The page: what each gesture does, what is painted where, and how it begins.
//
//   gesture ─► a deed ─► server ─► event or answer ─► state ─► paint(): head, ask, cards, stage, dialog

import { askView } from "./ask.js";
import { beginBlind, endBlind, hearBlind, preferBlind } from "./blind.js";
import { cardsView } from "./cards.js";
import { audition, decide, hideCandidate, undo } from "./choosing.js";
import { hooks, player, stage } from "./desk.js";
import { headView, namesView, noticesView, welcomeView } from "./frame.js";
import { listenToDrops, listenToKeys } from "./gestures.js";
import { hearClock, listenThrough, mute, placeWith, playOrStop, seek, stop, warm } from "./listening.js";
import { leaveNote, lockChosen, lockWithin, stepNote, unlockAll } from "./locks.js";
import { openDemo, openFile, openSession, refresh, showProposal } from "./pieces.js";
import * as ports from "./ports.js";
import { cancel, chooseRegion, chooseVerb, hearOf, proposeOrSketch, setWord, sketch } from "./proposing.js";
import * as record from "./record.js";
import { paintCard } from "./roll.js";
import { historyView, keysView } from "./screens.js";
import { ask, enter, listen } from "./server.js";
import { closeScreen, dismiss, openScreen, paint, paintWith, say, shown } from "./shell.js";
import { isSound, leaveSinging, openSound, sing } from "./sing.js";
import { changeFact, understand } from "./sketch.js";
import { $, isRunning, placeText, state } from "./state.js";
import * as styles from "./styles.js";
import * as take from "./take.js";
import { render } from "./vendor/lit-html.js";

const AGAIN = 1000; // milliseconds after which a page that did not find the server looks for it again
const SCREENS = {
  history: historyView,
  keys: keysView,
  ports: ports.portsView,
  record: record.recordView,
  styles: styles.stylesView,
  take: take.takeView,
};

// --- Painting ------------------------------------------------------------------------------------------

paintWith(() => {
  const piece = Boolean(state.music);
  document.body.classList.toggle("empty", !piece);
  $("stage").hidden = $("ask").hidden = $("cards").hidden = !piece;
  $("welcome").hidden = piece || (state.entered && !state.looked);
  render(headView(state, deeds), $("head"));
  if (state.waiting) tell(state.through === "here" ? "making sound…" : "waits for DAW…");
  else if (!state.playing) tellPlace(state.place);
  render(piece ? null : welcomeView(state, deeds), $("welcome"));
  // A dialog hides what is not in it.
  render(state.screen ? null : noticesView(state, deeds), $("notices"));
  if (piece) {
    render(namesView(state, deeds), $("stage").querySelector(".names"));
    render(askView(state, deeds), $("ask"));
    render(cardsView(state, deeds), $("cards"));
    paintCards();
  }
  const dialog = $("dialog");
  if (state.screen) {
    render([SCREENS[state.screen](state, deeds), noticesView(state, deeds)], dialog);
    dialog.dataset.screen = state.screen;
    if (!dialog.open) dialog.showModal();
  } else if (dialog.open) dialog.close();
});

function paintCards() {
  const { proposal } = state;
  if (!proposal) return;
  for (const canvas of $("cards").querySelectorAll("canvas.mini")) {
    const candidate = proposal.candidates[canvas.closest(".card").dataset.number - 1];
    const size = `${canvas.clientWidth} ${document.documentElement.dataset.theme}`;
    if (!candidate?.parts || !proposal.request || (canvas.drawn === candidate.parts && canvas.size === size)) continue;
    const { base, request } = proposal;
    const [from, to] = [base.barStart(request.bars[0] - 1), base.barStart(request.bars[1])];
    paintCard(canvas, candidate.parts.filter(Boolean), from, to, stage.view.colours);
    Object.assign(canvas, { drawn: candidate.parts, size });
  }
}

// The event comes late: by then another screen may have been asked for, which must stay.
$("dialog").addEventListener("close", ({ target }) => {
  if (target.open) return;
  if (state.screen === target.dataset.screen) closeScreen();
  if (target.dataset.screen === "record") shown(leaveSinging)(); // nothing is heard that is not shown
});

function showPlace(tick) {
  stage.follow(tick);
  tellPlace(tick);
}

const tellPlace = (tick) => tell(placeText(tick));

function tell(text) {
  if ($("place") && $("place").textContent !== text) $("place").textContent = text;
}

placeWith(showPlace);

Object.assign(hooks, {
  region: (region) => {
    leaveNote();
    chooseRegion(region);
  },
  lock: lockWithin,
  seek,
  say,
  place: showPlace,
  began: () => {
    state.waiting = false;
    paint();
  },
  end: () => {
    Object.assign(state, { playing: false, waiting: false });
    stage.follow(null);
    warm();
    paint();
  },
});

// --- Gestures ------------------------------------------------------------------------------------------

/** Files that were dropped or chosen: music for a style where its screen is open, else a piece or a sung line. */
async function takeIn(files) {
  if (state.screen === "styles") return styleFiles(files);
  if (isSound(files[0])) return openSound(files[0]);
  if (state.screen) closeScreen();
  await openFile(files[0]);
}

async function styleFiles(files) {
  const parcel = files.find((file) => /\.zip$/i.test(file.name));
  return parcel ? styles.bringStyle(parcel) : styles.addStyleFiles(files);
}

async function openHistory() {
  openScreen("history");
  const { session } = state;
  const asked = session ? ask("GET", `/proposals?session=${session}`) : [];
  [state.sessions, state.proposals] = await Promise.all([ask("GET", "/sessions"), asked]);
  paint();
}

const deeds = {
  open: () => $("file").click(),
  file: shown((file) => takeIn([file])),
  demo: shown(openDemo),
  session: shown(async (id) => {
    closeScreen();
    await openSession(id);
  }),
  proposal: shown(async (id) => {
    closeScreen();
    await showProposal(id);
  }),
  history: shown(openHistory),
  keys: () => openScreen("keys"),
  close: closeScreen,
  dismiss,

  play: playOrStop,
  through: listenThrough,
  zoom: (factor) => stage.zoom(factor),
  theme: () => {
    const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    localStorage.setItem("theme", theme);
    stage.theme();
    paint();
  },
  track: (track) => {
    if (state.music.lastBar() >= 0) stage.select({ bar: 0, track }, { bar: state.music.lastBar(), track });
  },
  mute,
  unlockAll,

  verb: chooseVerb,
  word: setWord,
  propose: shown(proposeOrSketch),
  sketch: shown(sketch),
  words: (text) => {
    understand(state.sketch, text, paint);
    paint();
  },
  fact: shown(async (name, value) => {
    await changeFact(state.sketch, name, value);
    paint();
  }),
  allFacts: () => {
    state.sketch.all = !state.sketch.all;
    paint();
  },
  allLimits: () => {
    state.allLimits = !state.allLimits;
    paint();
  },
  cancel: shown(cancel),

  audition,
  original: hideCandidate,
  accept: shown(async (number) => {
    endBlind();
    await decide(number, "accept");
  }),
  keep: shown((number) => decide(number, "keep")),
  reject: shown((number) => decide(number, "reject")),
  undo: shown(undo),
  beginBlind,
  endBlind,
  hearBlind,
  preferBlind,

  takeWhole: take.takeWhole,
  prepare: shown(take.prepare),
  downloadMidi: shown(take.downloadMidi),
  dragged: take.dragged,
  takeAway: shown(take.openTake),
  reveal: shown(take.revealMidi),
  copy: shown(take.copyMidi),
  chooseFolder: shown(take.chooseFolder),
  render: shown(take.beginRender),
  stopRender: shown(take.stopRender),

  ports: shown(ports.openPorts),
  startPorts: shown(ports.startPorts),
  testNote: shown(ports.testNote),
  panic: shown(ports.panic),
  setLive: shown(ports.setLive),
  transport: shown(ports.transport),
  connectPort: shown(ports.connectPort),
  testDaw: shown(ports.testDaw),

  record: shown(record.openRecord),
  recordKeyboard: shown(record.recordKeyboard),
  sing: shown(sing),
  endRecording: shown(record.endRecording),
  capture: shown(record.capture),

  styles: shown(styles.openStyles),
  newStyle: styles.setNewStyle,
  styleFiles: shown(styleFiles),
  makeStyle: shown(styles.makeStyle),
  train: shown(styles.train),
  stopTraining: shown(styles.stopTraining),
  useStyle: styles.useStyle,
  saveStyle: shown(styles.saveStyle),
  removeStyle: shown(styles.removeStyle),
};

const KEYS = {
  " ": playOrStop,
  Enter: () => (state.blind ? enterBlind() : state.shown && deeds.accept(state.shown)),
  k: () => state.shown && deeds.keep(state.shown),
  x: () => state.shown && deeds.reject(state.shown),
  p: deeds.propose,
  z: deeds.undo,
  b: () => (state.blind ? endBlind() : beginBlind()),
  d: () => state.music && (state.shown || state.score) && deeds.takeAway(state.shown),
  n: () => stepNote(1),
  N: () => stepNote(-1),
  l: lockChosen,
  o: deeds.open,
  r: deeds.record,
  s: deeds.styles,
  c: deeds.ports,
  h: deeds.history,
  0: deeds.original,
  "?": deeds.keys,
  Escape: () => {
    if (state.loading?.stopper) state.loading.stopper.abort();
    else if (state.playing) stop();
    else if (isRunning()) deeds.cancel();
    else if (state.blind) endBlind();
    else hideCandidate();
  },
};
for (let number = 1; number <= 9; number++) {
  KEYS[number] = () => (state.blind ? number <= 2 && hearBlind(number - 1) : audition(number));
}

const enterBlind = () => (state.blind.winner ? deeds.accept(state.blind.winner) : preferBlind());

listenToKeys(KEYS, deeds.undo);
listenToDrops(shown(takeIn));

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  stage.theme();
  paint();
});
addEventListener("resize", paint);

// --- What the server tells -----------------------------------------------------------------------------

function hear(event) {
  if (event.type === "hello" || event.type === "engine") {
    state.engine = event.engine ?? event;
    paint();
  } else if (event.type === "live") {
    if (event.event === "transport") hearClock(event);
    ports.hearLive(event);
  } else if (event.type === "training" || event.type === "style") styles.hearStyle(event);
  else if (event.type === "render") take.hearRender(event);
  else if (event.proposal !== undefined) hearOf(event);
}

// --- Beginning -----------------------------------------------------------------------------------------

/** What there is beside the piece. */
async function lookAround() {
  await Promise.all([
    styles.lookAtStyles(),
    ports.lookAtPorts(),
    ask("GET", "/words").then((words) => (state.vocabulary = words)),
  ]);
  paint();
}

async function begin() {
  paint();
  state.entered = await enter();
  state.online = true;
  if (!state.entered) return paint();
  listen({
    hear,
    found: shown(async () => {
      await refresh();
      await lookAround();
    }),
    lost,
    refused: () => {
      sessionStorage.removeItem("token");
      state.entered = false;
      paint();
    },
  });
}

function lost() {
  state.online = false;
  paint();
}

const beginAgain = () => {
  lost();
  setTimeout(() => begin().catch(beginAgain), AGAIN);
};

begin().catch(beginAgain);

// For the tests and the measurement alone.
window.descant = { state, stage, player, record };
