// A small synth of the page's own: heard at once, before any other program has made a sound, and while notes still
// stream in. The server's synth takes its place wherever there is something finished to be heard.

const AHEAD = 1.3; // seconds that are handed over at a time
const LOUDNESS = 0.2;

// What an instrument family sounds like. partials: of the wave; decay: seconds until it has died away, 0 for a tone
// that is held; cutoff: of the filter in multiples of the pitch; times in seconds.
const PIANO = { partials: [1, 0.45, 0.28, 0.14, 0.1, 0.06], attack: 0.003, decay: 2.2, release: 0.16, cutoff: 9 };
const BELL = { partials: [1, 0, 0.1, 0.4, 0, 0, 0.08], attack: 0.002, decay: 1.1, release: 0.3, cutoff: 14 };
const ORGAN = { partials: [1, 0.7, 0.5, 0.3, 0, 0.2, 0, 0.15], attack: 0.01, decay: 0, release: 0.06, cutoff: 9 };
const PLUCK = { partials: [1, 0.6, 0.4, 0.3, 0.2, 0.15, 0.1], attack: 0.002, decay: 1.3, release: 0.12, cutoff: 6 };
const BASS = { partials: [1, 0.5, 0.25, 0.12], attack: 0.006, decay: 1.8, release: 0.09, cutoff: 5, gain: 1.5 };
const STRING = {
  partials: [1, 0.5, 0.36, 0.25, 0.2, 0.14, 0.1], attack: 0.07, decay: 0, release: 0.2, cutoff: 5, spread: 7, gain: 0.65,
};
const BRASS = { partials: [1, 0.8, 0.6, 0.45, 0.3, 0.2, 0.1], attack: 0.03, decay: 0, release: 0.09, cutoff: 5, gain: 0.7 };
const WIND = { partials: [1, 0.15, 0.25, 0.05, 0.06], attack: 0.035, decay: 0, release: 0.1, cutoff: 7, gain: 0.9 };
const SYNTH = { partials: [1, 0, 0.33, 0, 0.2, 0, 0.14], attack: 0.01, decay: 0, release: 0.12, cutoff: 6, gain: 0.7 };
const FAMILIES = [PIANO, BELL, ORGAN, PLUCK, BASS, STRING, STRING, BRASS, WIND, WIND, SYNTH, STRING, SYNTH, PLUCK];

const family = (program) => FAMILIES[Math.min(FAMILIES.length - 1, Math.floor((program - 1) / 8))];

export class QuickSynth {
  constructor(context) {
    this.context = context;
    this.waves = new Map();
    this.noise = context.createBuffer(1, context.sampleRate, context.sampleRate);
    const samples = this.noise.getChannelData(0);
    for (let i = 0; i < samples.length; i++) samples[i] = Math.random() * 2 - 1;
  }

  /** What plays a piece from a tick. playing: {music, bus, at, began, end}. */
  source(playing, from, silent) {
    const { music } = playing;
    music.queue ??= queueOf(music);
    const level = this.context.createGain();
    level.gain.value = LOUDNESS;
    const limiter = this.context.createDynamicsCompressor();
    limiter.threshold.value = -14;
    limiter.ratio.value = 8;
    level.connect(limiter).connect(playing.bus);
    const own = { ...playing, bus: level, silent, next: firstFrom(music.queue, from), voices: [] };
    return {
      feed: (now) => this.#feed(own, now),
      stop: (when) => own.voices.forEach((voice) => voice.stop(when)),
    };
  }

  #feed(playing, now) {
    const { music, at, began, silent } = playing;
    const horizon = began + now - at + AHEAD;
    playing.voices = playing.voices.filter((voice) => voice.until > now);
    for (; playing.next < music.queue.length; playing.next++) {
      const [start, track, index] = music.queue[playing.next];
      const seconds = music.seconds(start);
      if (seconds > horizon || seconds >= playing.end) break;
      if (silent.has(track)) continue;
      const part = music.parts[track];
      const long = music.seconds(start + part.duration[index]) - seconds;
      const note = { when: at + seconds - began, long, pitch: part.pitch[index], loud: part.velocity[index] / 127 };
      if (note.when < now - 0.05) continue;
      if (part.drum) this.#drum(playing, note);
      else this.#tone(playing, note, family(part.program));
    }
  }

  #tone(playing, { when, long, pitch, loud }, sound) {
    const { context } = this;
    const pitchHz = 440 * 2 ** ((pitch - 69) / 12);
    const [filter, level] = [context.createBiquadFilter(), context.createGain()];
    filter.type = "lowpass";
    filter.frequency.value = Math.min(16000, Math.max(500, pitchHz * sound.cutoff * (0.4 + 0.8 * loud)));
    const peak = (sound.gain ?? 1) * (0.15 + 0.85 * loud * loud);
    const held = sound.decay ? Math.min(long, sound.decay * 2) : long;
    const off = when + Math.max(held, sound.attack + 0.02);
    level.gain.setValueAtTime(0, when);
    level.gain.linearRampToValueAtTime(peak, when + sound.attack);
    if (sound.decay) level.gain.setTargetAtTime(0, when + sound.attack, sound.decay / 3);
    level.gain.setTargetAtTime(0, off, sound.release / 3);
    filter.connect(level).connect(playing.bus);
    for (const cents of sound.spread ? [-sound.spread, sound.spread] : [0]) {
      const voice = context.createOscillator();
      voice.setPeriodicWave(this.#wave(sound));
      voice.frequency.value = pitchHz;
      voice.detune.value = cents;
      voice.connect(filter);
      this.#sound(playing, voice, when, off + sound.release * 2.5);
    }
  }

  #wave(sound) {
    if (!this.waves.has(sound)) {
      const imaginary = Float32Array.from([0, ...sound.partials]);
      this.waves.set(sound, this.context.createPeriodicWave(new Float32Array(imaginary.length), imaginary));
    }
    return this.waves.get(sound);
  }

  #drum(playing, { when, pitch, loud }) {
    const kick = pitch < 37;
    const tom = [41, 43, 45, 47, 48, 50].includes(pitch);
    const snare = [37, 38, 39, 40].includes(pitch);
    const ringing = [46, 49, 51, 52, 53, 55, 57, 59].includes(pitch);
    if (kick || tom || snare) {
      const high = kick ? 130 : snare ? 210 : 90 + (pitch - 40) * 14;
      this.#thump(playing, when, high, kick ? 45 : high * 0.6, kick ? 0.28 : 0.2, loud * (snare ? 0.5 : 1.3));
    }
    if (!kick && !tom) {
      const tone = snare ? 1800 : 7000;
      this.#hiss(playing, when, tone, snare ? 0.16 : ringing ? 0.6 : 0.06, loud * (snare ? 0.8 : 0.35));
    }
  }

  #thump(playing, when, high, low, long, loud) {
    const [voice, level] = [this.context.createOscillator(), this.context.createGain()];
    voice.frequency.setValueAtTime(high, when);
    voice.frequency.exponentialRampToValueAtTime(low, when + long * 0.6);
    this.#struck(level, when, loud, long);
    voice.connect(level).connect(playing.bus);
    this.#sound(playing, voice, when, when + long * 1.5);
  }

  #hiss(playing, when, tone, long, loud) {
    const { context } = this;
    const [voice, filter, level] = [context.createBufferSource(), context.createBiquadFilter(), context.createGain()];
    voice.buffer = this.noise;
    filter.type = "highpass";
    filter.frequency.value = tone;
    this.#struck(level, when, loud, long);
    voice.connect(filter).connect(level).connect(playing.bus);
    this.#sound(playing, voice, when, when + Math.min(0.9, long * 1.5));
  }

  #struck(level, when, loud, long) {
    level.gain.setValueAtTime(0, when);
    level.gain.linearRampToValueAtTime(loud, when + 0.002);
    level.gain.setTargetAtTime(0, when + 0.002, long / 3);
  }

  #sound(playing, voice, when, until) {
    voice.start(Math.max(when, this.context.currentTime));
    voice.stop(until);
    voice.until = until;
    playing.voices.push(voice);
  }
}

/** [start, track, note] of everything that sounds, in order. */
function queueOf(music) {
  const queue = [];
  music.parts.forEach((part, track) => {
    for (let i = 0; i < part.length; i++) queue.push([part.start[i], track, i]);
  });
  return queue.sort((a, b) => a[0] - b[0]);
}

function firstFrom(queue, tick) {
  let [low, high] = [0, queue.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (queue[middle][0] < tick) low = middle + 1;
    else high = middle;
  }
  return low;
}
