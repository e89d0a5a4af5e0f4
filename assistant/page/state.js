// What the page knows. Everything that is drawn is drawn from this; it is changed in page.js.

import { VERBS } from "./ask.js";

export const RUNNING = ["asked", "queued", "running"];
export const $ = (id) => document.getElementById(id);

export const state = {
  entered: true,
  online: true,
  looked: false, // whether the server has told what there is
  engine: { state: "starting" },
  demos: [],
  verbs: Object.keys(VERBS),
  verb: "continue",
  words: {
    continue: { bars: "8" },
    fill: { bars: "", tracks: "" },
    accompany: { add: "" },
    vary: { bars: "", tracks: "", strength: "" },
    edit: { text: "" },
    sketch: {},
  },
  sketch: { text: "", brief: null, edited: false, briefRefusal: null },
  limits: { key: "", chords: "", range: "", density: "", max_polyphony: "", temperature: "", candidates: "" },
  session: null, // its number; a sketch has one before there is a score
  title: "",
  brief: null, // what a sketch that is shown was made from
  score: null, // what the server tells of the piece
  music: null, // its notes
  proposal: null, // {id, state, words, request, candidates}; see candidates.js
  shown: 0, // the candidate on the stage, 0 for the piece as it is
  playing: false,
  place: 0, // tick where the piece is played from
  silent: new Set(),
  onlyNew: true, // what is dragged out
  refusal: null,
  notices: [],
  loading: "",
};

/** Where a tick is: "bar 5 · 0:12". */
export function placeText(tick) {
  if (!state.music) return "";
  const seconds = Math.max(0, Math.floor(state.music.seconds(tick)));
  return `bar ${state.music.barAt(tick) + 1} · ${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}
