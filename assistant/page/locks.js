// Locked notes: they stay as they are, whatever is written around them.
//
// Chosen by drawing around them on the roll, or, with the keyboard, one by one or all of the chosen cells.

import { parseBars } from "./words.js";
import { stage } from "./desk.js";
import { pitchName } from "./music.js";
import { chooseRegion, markRegion } from "./proposing.js";
import { regionOf } from "./region.js";
import { paint, say } from "./shell.js";
import { state } from "./state.js";

const key = (part, index) => part.start[index] * 128 + part.pitch[index];

/** What the stage draws as locked: track -> Set of keys. */
export const isLocked = (locks, track, part, index) => locks.get(track)?.has(key(part, index)) ?? false;

export function lockCount(locks = state.locks) {
  let count = 0;
  for (const keys of locks.values()) count += keys.size;
  return count;
}

export function forgetLocks() {
  state.locks = new Map();
  cursor = null;
  stage.lock(state.locks, null);
}

export function unlockAll() {
  forgetLocks();
  say("Nothing is locked");
  paint();
}

/** The locked notes that a request is about, as the server takes them: "track:tick:pitch", tracks from 1. */
export function lockedWithin({ locks, verb, music }) {
  const { region } = regionOf({ ...state, shown: 0 });
  if (!state.canLock || !region || (verb !== "fill" && verb !== "vary")) return [];
  const [from, to] = [music.barStart(region.first), music.barStart(region.last + 1)];
  const found = [];
  for (const [track, keys] of locks) {
    if (!region.tracks.has(track)) continue;
    for (const note of keys) {
      const start = Math.floor(note / 128);
      if (start >= from && start < to) found.push(`${track + 1}:${start}:${note % 128}`);
    }
  }
  return found;
}

/** Lock notes, or unlock them where all of them are locked. notes: [track, index]. */
function toggle(notes) {
  const { music, locks } = state;
  if (!notes.length) return;
  const off = notes.every(([track, index]) => isLocked(locks, track, music.parts[track], index));
  for (const [track, index] of notes) {
    const keys = locks.get(track) ?? new Set();
    if (off) keys.delete(key(music.parts[track], index));
    else keys.add(key(music.parts[track], index));
    if (keys.size) locks.set(track, keys);
    else locks.delete(track);
  }
  stage.lock(locks, cursor);
  say(`${notes.length === 1 ? nameOf(notes[0]) : `${notes.length} notes`} ${off ? "unlocked" : "locked"}`);
  markRegion();
  paint();
}

function nameOf([track, index]) {
  const part = state.music.parts[track];
  const tick = part.start[index];
  const bar = state.music.barAt(tick);
  const beat = Math.floor((tick - state.music.barStart(bar)) / state.music.beat(bar)) + 1;
  return `${pitchName(part.pitch[index])} of ${part.name}, bar ${bar + 1} beat ${beat}`;
}

/** A line was drawn around a part of the roll: ticks and pitches. Only of the chosen tracks, where there are some. */
export function lockWithin({ from, to, low, high }) {
  const { music, score } = state;
  if (!score || !state.canLock) return;
  const chosen = chosenTracks();
  const notes = [];
  music.parts.forEach((part, track) => {
    if (!chosen.has(track)) return;
    part.between(from, to, (index) => {
      const middle = part.start[index] + part.duration[index] / 2;
      const inside = middle >= from && middle < to && part.pitch[index] >= low && part.pitch[index] <= high;
      if (inside) notes.push([track, index]);
    });
  });
  if (!notes.length) return;
  cover(notes);
  toggle(notes);
}

/** The tracks of the chosen cells; all of them where the request is not about cells. */
function chosenTracks() {
  const { region } = regionOf({ ...state, shown: 0 });
  return (state.verb === "fill" || state.verb === "vary") && region ? region.tracks : new Set(state.music.parts.keys());
}

/** Locks are of use where something is written anew around them: choose their bars, unless they are chosen. */
function cover(notes) {
  const { music, verb, words } = state;
  const bars = notes.map(([track, index]) => music.barAt(music.parts[track].start[index]));
  const [first, last] = [Math.min(...bars), Math.max(...bars)];
  if (verb === "fill" || verb === "vary") {
    const span = parseBars(words[verb].bars);
    if (span && span[0] <= first && span[1] >= last) return;
    if (verb === "vary" && !words.vary.bars) return;
  }
  const tracks = new Set(notes.map(([track]) => track));
  chooseRegion({ first, last, tracks });
}

// --- By the keyboard -----------------------------------------------------------------------------------

let cursor = null; // [track, index] of the note that the keys are at

/** Step to the next or the one before of the notes in the chosen cells. */
export function stepNote(by) {
  if (!state.score || !state.canLock) return;
  const notes = chosenNotes();
  if (!notes.length) return say("There are no notes in the chosen bars");
  const at = cursor ? notes.findIndex(([track, index]) => track === cursor[0] && index === cursor[1]) : -1;
  cursor = notes[at < 0 ? (by > 0 ? 0 : notes.length - 1) : (at + by + notes.length) % notes.length];
  stage.lock(state.locks, cursor);
  const part = state.music.parts[cursor[0]];
  const bar = state.music.barAt(part.start[cursor[1]]);
  stage.reveal(bar, bar);
  say(`${nameOf(cursor)}${isLocked(state.locks, cursor[0], part, cursor[1]) ? ", locked" : ""}`);
}

/** Lock or unlock the note the keys are at, or all of the chosen cells. */
export function lockChosen() {
  if (!state.score || !state.canLock) return;
  if (cursor) return toggle([cursor]);
  const notes = chosenNotes();
  if (!notes.length) return say("There are no notes in the chosen bars");
  toggle(notes);
}

function chosenNotes() {
  const { music } = state;
  const { region } = regionOf({ ...state, shown: 0 });
  if (!region || (state.verb !== "fill" && state.verb !== "vary")) return [];
  const [from, to] = [music.barStart(region.first), music.barStart(region.last + 1)];
  const notes = [];
  for (const track of region.tracks) {
    const part = music.parts[track];
    part.between(from, to, (index) => {
      if (part.start[index] >= from) notes.push([track, index]);
    });
  }
  const start = ([track, index]) => music.parts[track].start[index];
  return notes.sort((a, b) => start(a) - start(b) || a[0] - b[0]);
}

/** The cells were chosen anew: the keys are at no note. */
export function leaveNote() {
  if (!cursor) return;
  cursor = null;
  stage.lock(state.locks, null);
}

export const lockedText = (locks) => {
  const count = lockCount(locks);
  return `${count} ${count === 1 ? "note" : "notes"}`;
};
