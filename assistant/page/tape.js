// What the server's synth makes: fetched as it is made, and handed to Web Audio piece by piece, without a seam.

import { stream } from "./server.js";

export const RATE = 48000; // frames a second, two samples each
const AHEAD = 1.0; // seconds that are handed over at a time
const PIECE = RATE / 2; // frames
const LOW = 0.3; // seconds before the end of what there is at which it fades out to wait
const FADE = 0.02;
const RESERVE = 20; // seconds that are fetched ahead of what is heard; the server waits with the rest

/** Sound of a part of a piece. body: as POST /sound takes it. keep: all of it stays, to be heard again. */
export class Recording {
  constructor(body, keep = false) {
    Object.assign(this, { keep, frames: 0, done: false, error: null, wanted: 0 });
    this.chunks = []; // {from, samples: Int16Array of both sides in turn}
    this.waiting = [];
    this.stopper = new AbortController();
    this.finished = this.#fetch(body)
      .catch((error) => (this.error = error))
      .finally(() => {
        this.done = true;
        this.#wake();
      });
  }

  /** Resolves once so many seconds are there, or all there is. Rejects when it cannot be made. */
  async ready(seconds) {
    while (!this.done && this.frames < seconds * RATE) await new Promise((wake) => this.waiting.push(wake));
    if (this.error) throw this.error;
  }

  /** Both sides of `count` frames from frame `from` on, fewer at the end; null while they are not there. */
  take(from, count) {
    this.wanted = from;
    this.#wake();
    const to = Math.min(from + count, this.frames);
    if (to <= from || (to < from + count && !this.done)) return null;
    const sides = [new Float32Array(to - from), new Float32Array(to - from)];
    for (const chunk of this.chunks) {
      const long = chunk.samples.length / 2;
      const [begin, end] = [Math.max(from, chunk.from), Math.min(to, chunk.from + long)];
      for (let frame = begin; frame < end; frame++) {
        const at = (frame - chunk.from) * 2;
        sides[0][frame - from] = chunk.samples[at] / 32768;
        sides[1][frame - from] = chunk.samples[at + 1] / 32768;
      }
    }
    if (!this.keep) this.chunks = this.chunks.filter((chunk) => chunk.from + chunk.samples.length / 2 > from);
    return sides;
  }

  abort() {
    this.stopper.abort();
    this.#wake();
  }

  get aborted() {
    return this.stopper.signal.aborted;
  }

  async #fetch(body) {
    const answer = await stream("/sound", body, this.stopper.signal);
    const reader = answer.body.getReader();
    let rest = new Uint8Array(0);
    for (;;) {
      while (!this.keep && !this.aborted && this.frames > this.wanted + RESERVE * RATE) {
        await new Promise((wake) => this.waiting.push(wake));
      }
      const { done, value } = await reader.read();
      if (done) return;
      const bytes = new Uint8Array(rest.length + value.length);
      bytes.set(rest);
      bytes.set(value, rest.length);
      const whole = bytes.length - (bytes.length % 4);
      rest = bytes.slice(whole);
      const samples = new Int16Array(bytes.buffer, 0, whole / 2);
      this.chunks.push({ from: this.frames, samples });
      this.frames += whole / 4;
      this.#wake();
    }
  }

  #wake() {
    const waiting = this.waiting;
    this.waiting = [];
    for (const wake of waiting) wake();
  }
}

/** A recording on its way to the loudspeakers. playing: {recording, bus, at}; `at` moves when it has to wait. */
export class Tape {
  constructor(context, playing) {
    Object.assign(this, { context, playing, next: 0, voices: [], starving: false });
  }

  feed(now) {
    const { recording, bus } = this.playing;
    for (;;) {
      let when = this.playing.at + this.next / RATE;
      if (when > now + AHEAD) return;
      const sides = recording.take(this.next, PIECE);
      if (!sides) {
        if (!recording.done && !this.starving && this.next && when < now + LOW) {
          bus.gain.setValueAtTime(1, Math.max(now, when - FADE));
          bus.gain.linearRampToValueAtTime(0, Math.max(now, when));
          this.starving = true;
        }
        return;
      }
      if (when < now + 0.02) {
        this.playing.at += now + 0.1 - when;
        when = now + 0.1;
      }
      if (this.starving) {
        bus.gain.cancelScheduledValues(now);
        bus.gain.setValueAtTime(0, when);
        bus.gain.linearRampToValueAtTime(1, when + FADE);
        this.starving = false;
      }
      const buffer = this.context.createBuffer(2, sides[0].length, RATE);
      sides.forEach((samples, side) => buffer.copyToChannel(samples, side));
      const voice = this.context.createBufferSource();
      voice.buffer = buffer;
      voice.connect(bus);
      voice.start(when);
      this.voices = this.voices.filter((other) => other.until > now);
      this.voices.push(Object.assign(voice, { until: when + buffer.duration }));
      this.next += sides[0].length;
    }
  }

  stop(when) {
    for (const voice of this.voices) voice.stop(when);
  }
}
