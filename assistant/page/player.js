// The player: starts, stops, and tells where the music is. What sounds is made by a source:
//
//   QuickSynth   the page's own, at once, also while notes still stream in
//   Tape         what the server's synth makes
//
// Sources hand their sound to Web Audio a little ahead of time, so a timer that comes late does no harm. Each start
// has a bus of its own that is faded out when it stops, so that nothing clicks and nothing goes on sounding.

import { QuickSynth } from "./quick.js";
import { RATE, Tape } from "./tape.js";

const EVERY = 120; // milliseconds between two looks at what comes next
const FADE = 0.03; // seconds
const READY = 1.5; // seconds of a recording that have to be there before it begins
const RINGS_ON = 0.6; // seconds that are played on after the end

export class Player {
  /** on.place(tick) while it plays, on.began() at the first sound, on.end() when it stops, of itself or not. */
  constructor(on) {
    this.on = on;
    this.playing = null;
  }

  /**
   * Play a piece from a tick. silent: tracks that are not to be heard. until: a tick, or the end of the piece.
   * recording: of the same span, to be heard in place of the page's own synth.
   */
  async play(music, from, { silent = new Set(), until = Infinity, recording = null } = {}) {
    this.stop(true);
    this.context ??= this.#context();
    const mine = (this.playing = { music, recording });
    try {
      await this.context.resume();
      await recording?.ready(READY);
    } catch (error) {
      if (this.playing !== mine) return;
      this.playing = null;
      throw error;
    }
    if (this.playing !== mine) return;
    const { context } = this;
    mine.bus = context.createGain();
    mine.bus.connect(this.master);
    mine.began = music.seconds(from);
    mine.at = context.currentTime + 0.08;
    mine.end = music.seconds(until === Infinity ? lastTick(music) : until);
    mine.source = recording ? new Tape(context, mine) : this.quick.source(mine, from, silent);
    const feed = () => {
      if (this.playing !== mine) return;
      mine.source.feed(context.currentTime);
      mine.timer = setTimeout(feed, EVERY);
    };
    feed();
    this.on.began();
    const tell = () => {
      if (this.playing !== mine) return;
      const now = this.seconds();
      if (now >= mine.end + RINGS_ON) return this.stop();
      this.on.place(music.tick(Math.max(mine.began, now)));
      requestAnimationFrame(tell);
    };
    tell();
  }

  /** Where the music is, in seconds from the piece's beginning. */
  seconds() {
    const delay = this.context.outputLatency || 0;
    return this.playing.began + this.context.currentTime - this.playing.at - delay;
  }

  stop(quietly = false) {
    const was = this.playing;
    if (!was) return;
    this.playing = null;
    clearTimeout(was.timer);
    if (was.recording && !was.recording.keep) was.recording.abort();
    if (was.bus) {
      const now = this.context.currentTime;
      was.bus.gain.cancelScheduledValues(now);
      was.bus.gain.setTargetAtTime(0, now, FADE / 4);
      was.source.stop(now + FADE * 2);
      setTimeout(() => was.bus.disconnect(), 300);
    }
    if (!quietly) this.on.end();
  }

  #context() {
    const context = new AudioContext({ latencyHint: "interactive", sampleRate: RATE });
    this.master = context.createGain();
    this.master.connect(context.destination);
    this.quick = new QuickSynth(context);
    return context;
  }
}

function lastTick(music) {
  let last = music.end;
  for (const part of music.parts) if (part.length) last = Math.max(last, part.start[part.length - 1]);
  return last;
}
