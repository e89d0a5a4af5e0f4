// A piece as the page holds it: notes in typed arrays, bars, and the way from ticks to seconds and back.
//
// Made from what GET /scores/N/notes answers; never changed afterwards. Bars and tracks count from 0 here,
// and from 1 wherever a person or the server reads them.

const BLOCK = 256; // notes that share one remembered end, so that a look at any span skips the rest

/** The notes of one track, by start: `start`, `pitch`, `duration`, `velocity` are arrays of the same length. */
export class Part {
  constructor({ name = "", program = 1, is_drum: drum = false, channel = 1 }, notes) {
    Object.assign(this, { name, program, drum, channel });
    const sorted = notes.slice().sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    this.length = sorted.length;
    this.start = Int32Array.from(sorted, (note) => note[0]);
    this.pitch = Uint8Array.from(sorted, (note) => note[1]);
    this.duration = Int32Array.from(sorted, (note) => note[2]);
    this.velocity = Uint8Array.from(sorted, (note) => note[3]);
    this.ends = new Int32Array(Math.ceil(this.length / BLOCK));
    for (let i = 0; i < this.length; i++) {
      const end = this.start[i] + this.duration[i];
      const block = Math.floor(i / BLOCK);
      if (end > this.ends[block]) this.ends[block] = end;
    }
  }

  /** Calls `visit(index)` for each note that sounds within [from, to), in order. */
  between(from, to, visit) {
    for (let block = 0; block < this.ends.length; block++) {
      if (this.start[block * BLOCK] >= to) return;
      if (this.ends[block] <= from) continue;
      const last = Math.min(this.length, (block + 1) * BLOCK);
      for (let i = block * BLOCK; i < last && this.start[i] < to; i++) {
        if (this.start[i] + this.duration[i] > from) visit(i);
      }
    }
  }

  /** Notes as [start, pitch, duration, velocity]. */
  rows() {
    return Array.from({ length: this.length }, (_, i) => [
      this.start[i],
      this.pitch[i],
      this.duration[i],
      this.velocity[i],
    ]);
  }
}

export class Music {
  /** answer: {ticks_per_quarter, bars, tempos, tracks}, as the server sends it. */
  constructor(answer) {
    this.quarter = answer.ticks_per_quarter;
    this.bars = answer.bars.length ? answer.bars : [[0, 4 * this.quarter, 4, 4]];
    this.parts = answer.tracks.map((track) => new Part(track, track.notes));
    this.count = this.parts.reduce((sum, part) => sum + part.length, 0);
    const [start, length] = this.bars[this.bars.length - 1];
    this.end = start + length;
    this.tempos = [];
    let seconds = 0;
    for (const [tick, microseconds] of answer.tempos.length ? answer.tempos : [[0, 500000]]) {
      const before = this.tempos[this.tempos.length - 1];
      if (before) seconds += (tick - before.tick) * before.each;
      this.tempos.push({ tick, seconds, each: microseconds / 1e6 / this.quarter });
    }
  }

  /** The same piece with other notes: `parts` is a list of Part. */
  with(parts) {
    const other = Object.create(Music.prototype);
    return Object.assign(other, this, {
      parts,
      count: parts.reduce((sum, part) => sum + part.length, 0),
      queue: undefined,
    });
  }

  /** Where a bar starts; bars after the last one are as long as that one. */
  barStart(index) {
    if (index < this.bars.length) return this.bars[Math.max(0, index)][0];
    return this.end + (index - this.bars.length) * this.bars[this.bars.length - 1][1];
  }

  /** The bar a tick lies in, which may be one after the last. */
  barAt(tick) {
    if (tick >= this.end) {
      return this.bars.length + Math.floor((tick - this.end) / this.bars[this.bars.length - 1][1]);
    }
    let low = 0;
    let high = this.bars.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.bars[middle][0] <= tick) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** Ticks of one beat of a bar, as its meter counts. */
  beat(index) {
    const bar = this.bars[Math.min(index, this.bars.length - 1)];
    return (this.quarter * 4) / bar[3];
  }

  seconds(tick) {
    const tempo = this.latest((item) => item.tick <= tick);
    return tempo.seconds + (tick - tempo.tick) * tempo.each;
  }

  tick(seconds) {
    const tempo = this.latest((item) => item.seconds <= seconds);
    return tempo.tick + (seconds - tempo.seconds) / tempo.each;
  }

  latest(reached) {
    let found = this.tempos[0];
    for (const tempo of this.tempos) {
      if (!reached(tempo)) break;
      found = tempo;
    }
    return found;
  }

  /** The bar in which the last note starts, or -1. */
  lastBar() {
    let last = -1;
    for (const part of this.parts) if (part.length) last = Math.max(last, part.start[part.length - 1]);
    return last < 0 ? -1 : this.barAt(last);
  }

  /** Lowest and highest pitch, over some parts where `chosen` is given. */
  pitches(more = []) {
    let low = 127;
    let high = 0;
    for (const part of [...this.parts, ...more]) {
      for (let i = 0; i < part.length; i++) {
        if (part.pitch[i] < low) low = part.pitch[i];
        if (part.pitch[i] > high) high = part.pitch[i];
      }
    }
    return low > high ? [48, 72] : [low, high];
  }
}

const NAMES = ["C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B"];

/** 60 is C4. */
export const pitchName = (pitch) => `${NAMES[pitch % 12]}${Math.floor(pitch / 12) - 1}`;

/** "bar 5", or "bars 5–8", from first and last bar counted from 0. */
export const barsText = (first, last) => (first === last ? `bar ${first + 1}` : `bars ${first + 1}–${last + 1}`);
