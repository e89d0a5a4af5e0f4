// Which bars and tracks a request, or the candidate that is shown, is about.

import { parseBars, parseTracks } from "./words.js";

const MOST_BARS = 256;

/** {region: {first, last, tracks} or null, ghosts: names of tracks that are not there yet}; all from 0. */
export function regionOf(state) {
  const { music, score, verb, words, proposal, shown } = state;
  if (shown && proposal?.request) {
    const [first, last] = proposal.request.bars.map((bar) => bar - 1);
    const tracks = new Set(proposal.request.tracks.map((track) => track - 1));
    return { region: { first, last, tracks }, ghosts: newTracks(state) };
  }
  if (!score) return { region: null, ghosts: [] };
  const end = music.lastBar();
  if (verb === "continue") {
    const bars = Math.max(1, Math.min(MOST_BARS, Number(words.continue.bars) || 8));
    return { region: { first: end + 1, last: end + bars, tracks: new Set(music.parts.keys()) }, ghosts: [] };
  }
  if (verb === "accompany") {
    const ghosts = (words.accompany.add || "bass, drums").split(",").map((name) => name.trim());
    return { region: { first: 0, last: Math.max(0, end), tracks: new Set() }, ghosts: ghosts.filter(Boolean) };
  }
  if (verb !== "fill" && verb !== "vary") return { region: null, ghosts: [] };
  const all = verb === "vary" && !words.vary.bars ? [0, Math.max(0, end)] : null;
  const span = parseBars(words[verb].bars) ?? all;
  const tracks = parseTracks(words[verb].tracks, music);
  return { region: span && tracks ? { first: span[0], last: span[1], tracks } : null, ghosts: [] };
}

function newTracks({ proposal, music, shown }) {
  const count = Math.max(0, Math.max(...proposal.request.tracks) - music.parts.length);
  const whole = proposal.candidates[shown - 1]?.whole;
  const said = (proposal.words.add ?? "").split(",").map((name) => name.trim());
  return Array.from({ length: count }, (_, at) => whole?.parts[music.parts.length + at]?.name ?? said[at] ?? "new");
}
