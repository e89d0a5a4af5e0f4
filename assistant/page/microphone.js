// Runs in the audio thread: hands on what the microphone hears, some hundredths of a second at a time.

const PIECE = 4096; // samples

class Microphone extends AudioWorkletProcessor {
  constructor() {
    super();
    this.samples = new Int16Array(PIECE);
    this.count = 0;
    this.port.onmessage = () => {
      this.port.postMessage(this.samples.slice(0, this.count)); // what is left, and then nothing more
      this.port.postMessage(null);
      this.ended = true;
    };
  }

  process([[heard]]) {
    if (this.ended) return false;
    for (const sample of heard ?? []) {
      this.samples[this.count++] = Math.max(-1, Math.min(1, sample)) * 32767;
      if (this.count < PIECE) continue;
      this.port.postMessage(this.samples.slice());
      this.count = 0;
    }
    return true;
  }
}

registerProcessor("microphone", Microphone);
