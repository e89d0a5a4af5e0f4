// A proposal as the page holds it, from the first note that streams in to the finished candidates.
//
// {id, score, state, words, request, base, candidates: [{number, done, total, rows, parts, info, whole, file}]}
//   base: the Music it goes on from; rows: its new notes a track, as they came; parts: the same as Part;
//   info: what the server tells when it is done; whole: the piece with it; file: what can be dragged out

import { Music, Part } from "./music.js";
import { ask } from "./server.js";

/** Take over what the server tells of a proposal. */
export function adopt(info, base, count) {
  const expected = Number(count ?? info.words.candidates) || 4;
  const candidates = Array.from({ length: info.candidates.length || expected }, (_, index) => ({
    number: index + 1,
    done: 0,
    total: 0,
    rows: [],
    parts: null,
    info: null,
    whole: null,
    file: null,
  }));
  if (["cancelled", "failed"].includes(info.state)) candidates.length = 0;
  return { ...info, request: spanned(info.request, base), base, candidates };
}

/** A request with its bars and tracks; a sketch and an edit are about all there are. */
export function spanned(request, base) {
  if (!request || request.bars) return request;
  return { ...request, bars: [1, base.bars.length], tracks: base.parts.map((_, track) => track + 1) };
}

/** Add the notes of one finished bar. */
export function hearNotes(proposal, { candidate: number, done, total, notes }) {
  const candidate = proposal.candidates[number - 1];
  if (!candidate || candidate.info) return;
  if (done === 1) candidate.rows = []; // it may be begun again
  Object.assign(candidate, { done, total, whole: null });
  if (!notes.length && !candidate.rows.length) return; // of a sketch only the progress is told
  for (const [track, ...row] of notes) (candidate.rows[track - 1] ??= []).push(row);
  candidate.parts = candidateParts(candidate, proposal.base);
}

/** A candidate's new notes: a Part, or nothing, for each track of the piece and for new ones after them. */
export function candidateParts({ rows }, base) {
  return Array.from(rows, (notes, track) => notes && new Part(base.parts[track] ?? {}, notes));
}

/** Fetch what the finished candidates are. */
export async function finish(proposal, info) {
  const fetched = info.candidates.map(({ number }) => {
    const path = `/proposals/${info.id}/candidates/${number}/notes`;
    return Promise.all([ask("GET", path), ask("GET", `${path}?only_new=true`)]);
  });
  const notes = await Promise.all(fetched);
  if (info.score === null && notes.length) {
    const sheet = new Music(notes[0][0]);
    proposal.base = sheet.with(sheet.parts.map((part) => new Part(part, [])));
  }
  const request = spanned(info.request, proposal.base);
  const start = proposal.base.barStart(request.bars[0] - 1);
  proposal.candidates = info.candidates.map((facts, at) => {
    const [whole, fresh] = notes[at];
    const parts = [];
    request.tracks.forEach((track, index) => {
      const rows = fresh.tracks[index]?.notes ?? [];
      parts[track - 1] = new Part(fresh.tracks[index] ?? {}, rows.map(([at, ...rest]) => [at + start, ...rest]));
    });
    return {
      ...proposal.candidates[facts.number - 1],
      number: facts.number,
      info: facts,
      whole: new Music(whole),
      parts: Array.from(parts),
      rows: [],
    };
  });
  Object.assign(proposal, { state: info.state, request, finished: info.finished });
}

/** The piece with a candidate in it; while it is still being written, with what there is of it. */
export function wholeWith(candidate, { base, request }) {
  if (candidate.whole) return candidate.whole;
  const [from, to] = [base.barStart(request.bars[0] - 1), base.barStart(request.bars[1])];
  const tracks = new Set(request.tracks.map((track) => track - 1));
  const count = Math.max(base.parts.length, candidate.parts.length);
  const parts = Array.from({ length: count }, (_, track) => {
    const old = base.parts[track];
    const fresh = candidate.parts[track]?.rows() ?? [];
    if (!old) return new Part({ name: "new" }, fresh);
    if (!tracks.has(track)) return old;
    return new Part(old, [...old.rows().filter(([start]) => start < from || start >= to), ...fresh]);
  });
  return base.with(parts);
}
