// Notes from sound: the microphone, or a sound file. The server hears the notes out of it, as `descant hum` does.

import { bringing, openScore } from "./pieces.js";
import { Refused, sendSound } from "./server.js";
import { closeScreen, notice, paint, shown } from "./shell.js";
import { state } from "./state.js";

const READ_THERE = /\.(wav|flac|ogg|oga|opus|mp3|aiff?)$/i; // what the server reads; the browser may know more
const MOST_BYTES = 64 << 20;
const MOST_SECONDS = 600;
const RATE = 48000;

/** Sound from the microphone while it comes: 16-bit pieces of one channel, the seconds so far, the level 0 to 1. */
class Sung {
  constructor(stream, context, node) {
    Object.assign(this, { stream, context, node, pieces: [], seconds: 0, level: 0 });
    this.whole = new Promise((resolve) => {
      node.port.onmessage = ({ data }) => (data ? this.hear(data) : resolve());
    });
  }

  hear(samples) {
    this.pieces.push(samples);
    this.seconds += samples.length / this.context.sampleRate;
    this.level = Math.min(1, samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0) / 32767);
    if (this.seconds > MOST_SECONDS) shown(endSinging)();
    paint();
  }

  /** Let go of the microphone; what it heard as a sound file. */
  async end() {
    this.node.port.postMessage("end");
    await this.whole;
    for (const track of this.stream.getTracks()) track.stop();
    await this.context.close();
    return waveOf(this.pieces, this.context.sampleRate);
  }
}

/** Record the microphone until it is stopped. */
export async function sing() {
  let stream;
  try {
    const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    stream = await navigator.mediaDevices.getUserMedia({ audio: plain });
  } catch {
    throw new Refused("The browser may not use the microphone", "Allow it in the address bar, and try again.");
  }
  const context = new AudioContext();
  await context.audioWorklet.addModule("/page/microphone.js");
  const node = new AudioWorkletNode(context, "microphone", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
  state.recorder = { kind: "microphone", recorder: new Sung(stream, context, node) };
  context.createMediaStreamSource(stream).connect(node);
  await context.resume();
  paint();
}

/** Stop the microphone, and put the notes on the stage. */
export async function endSinging() {
  const { recorder } = state.recorder;
  state.recorder = null;
  paint();
  await openSound(await recorder.end(), "Sung.wav");
}

/** Stop the microphone and forget what it heard. */
export async function leaveSinging() {
  const { kind, recorder } = state.recorder ?? {};
  if (kind !== "microphone") return;
  state.recorder = null;
  await recorder.end();
}

export const isSound = ({ name, type }) =>
  !/\.midi?$/i.test(name) && (READ_THERE.test(name) || (/^(audio|video)\//.test(type) && !/midi?$/i.test(type)));

/** Put the notes of a sound file on the stage. */
export async function openSound(file, name = file.name) {
  closeScreen();
  const stopper = new AbortController();
  const work = async (ticket) => {
    const sound = READ_THERE.test(name) ? file : await decoded(file);
    if (sound.size > MOST_BYTES) throw new Refused("This recording is too long", "Ten minutes are enough; cut it.");
    const score = await sendSound(sound, name, stopper.signal);
    if (!(await openScore(score, { ticket }))) return;
    const [remark] = score.facts.warnings;
    notice(`${score.facts.tracks[0].notes} notes were heard`, remark ? `${remark}.` : "Press p to hear where they could go.");
  };
  await bringing("Listening for notes…", work, stopper);
}

/** Any sound the browser can read, as a plain sound file. */
async function decoded(file) {
  const context = new OfflineAudioContext(1, 1, RATE);
  const sound = await context.decodeAudioData(await file.arrayBuffer()).catch(() => {
    throw new Refused("This is no sound that the browser can read", "It can be WAV, FLAC, OGG, MP3 or AIFF.");
  });
  const sides = Array.from({ length: sound.numberOfChannels }, (_, side) => sound.getChannelData(side));
  const samples = Int16Array.from(sides[0], (_, at) => {
    const mean = sides.reduce((sum, side) => sum + side[at], 0) / sides.length;
    return Math.max(-1, Math.min(1, mean)) * 32767;
  });
  return waveOf([samples], RATE);
}

/** One channel of 16-bit samples as a WAV file. */
function waveOf(pieces, rate) {
  const bytes = pieces.reduce((sum, piece) => sum + piece.byteLength, 0);
  const head = new DataView(new ArrayBuffer(44));
  const text = (at, word) => [...word].forEach((char, i) => head.setUint8(at + i, char.charCodeAt(0)));
  text(0, "RIFF");
  head.setUint32(4, 36 + bytes, true);
  text(8, "WAVEfmt ");
  head.setUint32(16, 16, true);
  head.setUint16(20, 1, true);
  head.setUint16(22, 1, true);
  head.setUint32(24, rate, true);
  head.setUint32(28, 2 * rate, true);
  head.setUint16(32, 2, true);
  head.setUint16(34, 16, true);
  text(36, "data");
  head.setUint32(40, bytes, true);
  return new Blob([head, ...pieces], { type: "audio/wav" });
}
