// What the page knows. Everything that is drawn is drawn from this.

import { VERBS } from "./words.js";

export const RUNNING = ["asked", "queued", "running"];
export const $ = (id) => document.getElementById(id);

export const state = {
  entered: true,
  online: true,
  looked: false, // whether the server has told what there is
  engine: { state: "starting" },
  demos: [],
  sessions: [], // what the history shows
  proposals: [],
  verbs: Object.keys(VERBS),
  canLock: false, // whether this server keeps single notes
  verb: "continue",
  words: {
    continue: { bars: "8" },
    fill: { bars: "", tracks: "" },
    accompany: { add: "" },
    vary: { bars: "", tracks: "", strength: "", keep: "" },
    edit: { text: "" },
    sketch: {},
  },
  sketch: { text: "", brief: null, edited: false, briefRefusal: null, all: false, changing: null },
  asking: false, // a sketch is being asked for
  vocabulary: {}, // what the words of a brief can be, by field
  limits: {
    key: "", chords: "", range: "", density: "", max_polyphony: "", style: "", weight: "1", temperature: "", candidates: "",
  },
  allLimits: false, // whether the chips of every limit are shown
  session: null, // its number; a sketch has one before there is a score
  title: "",
  brief: null, // what a sketch that is shown was made from
  score: null, // what the server tells of the piece
  music: null, // its notes
  locks: new Map(), // track -> Set of note keys; see locks.js
  proposal: null, // {id, state, words, request, candidates}; see candidates.js
  shown: 0, // the candidate on the stage, 0 for the piece as it is
  blind: null, // two candidates compared by ear alone; see blind.js
  playing: false,
  waiting: false, // for the first sound
  through: "here", // or "daw": where it is heard
  place: 0, // tick where the piece is played from
  silent: new Set(),
  onlyNew: true, // what is dragged out
  live: null, // ports, clock and settings of live playing, once they are known
  heard: null, // the last note that came in through a port
  styles: [], // their cards
  trainings: [],
  newStyle: { name: "", folder: "", files: 0, sending: false, minutes: "10" },
  folder: null, // that copies go to
  renders: new Map(), // number -> sound file that is being written
  recorder: null, // a keyboard or microphone that is being recorded
  screen: null, // the dialog that is open
  subject: 0, // what it is about: a candidate's number, or 0 for the piece
  refusal: null,
  notices: [],
  loading: null, // {text, stopper} of what is on its way
};

/** Where a tick is: "bar 5 · 0:12". */
export function placeText(tick) {
  if (!state.music) return "";
  const seconds = Math.max(0, Math.floor(state.music.seconds(tick)));
  return `bar ${state.music.barAt(tick) + 1} · ${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

export const isRunning = () => Boolean(state.proposal && RUNNING.includes(state.proposal.state));
