// A double of Bitwig Studio for tests: node bitwig.js SCRIPT_FOLDER, commands as JSON lines on stdin, answers on stdout.
//
// Every method was held against Bitwig's Control Surface API as published with the program (Help > Documentation >
// Control Surface API) and with all remarks, up to version 17, in https://github.com/joslarson/typed-bitwig-api. It
// covers exactly the methods below; any other is an error. From there come:
//   * markInterested only once and within init, and a value is read only where it was called;
//   * get() of a ranged value (a setting, the tempo) is 0..1, getRaw() what the user sees;
//   * a step has a state of NoteOn where a note begins and NoteSustain where it goes on, x and y within the window,
//     velocity 0..1; setStep takes velocities 1..127 and beats, and takes the place of a note that begins there;
//   * createEmptyClip takes whole beats; bytes that are sent are -128..127; what is received has lost its header of
//     four bytes. Whether send adds one is not said: the program takes both.
// What is asked for happens a moment later, not at once: clips, selections, windows of the note grid, names. That is
// what authors of scripts report; how long it takes is assumed.
"use strict";
const fs = require("fs"), net = require("net"), path = require("path"), vm = require("vm"), readline = require("readline");

const FOLDER = process.argv[2];
const LATER = 5; // milliseconds until what was asked for has happened
const violations = [], said = [], signals = {}, numbers = {};
let initialising = false, notes = 0;
let song = { tracks: [], tempo: 120, over: 4, under: 4 }, selected = { track: 0, slot: -1 };
const launched = [];

function violation(text) {
  violations.push(text);
  throw new Error("Bitwig rule: " + text);
}

// An object of the API: a method that is not covered is an error.
function strict(name, methods) {
  return new Proxy(methods, {
    get(target, key) {
      if (typeof key === "symbol" || key === "toJSON") return target[key];
      if (!(key in target)) violation(`${name}.${String(key)} is not covered`);
      return target[key];
    },
  });
}

// range: least and most of a ranged value.
function value(name, read, write, range) {
  let interested = false;
  const get = () => {
    if (!interested) violation(`${name} is read without markInterested`);
    return read();
  };
  return strict(name, {
    markInterested() {
      if (!initialising) violation("markInterested outside init");
      if (interested) violation(`${name} is marked twice`);
      interested = true;
    },
    get: () => (range ? (get() - range[0]) / (range[1] - range[0]) : get()),
    getRaw: () => (range ? get() : violation(`${name} has no raw value`)),
    set(to) {
      if (!write) violation(`${name} cannot be set`);
      later(() => write(to));
    },
  });
}

function later(work) {
  setTimeout(() => guarded(work), LATER);
}

function guarded(work) {
  try {
    work();
  } catch (error) {
    violations.push("error: " + (error.stack || error));
  }
}

const here = () => song.tracks[selected.track];
const slotAt = (index) => (here() ? here().slots[index] : undefined);
const clipHere = () => slotAt(selected.slot) || null;

const stepSize = { beats: 1 }, view = { step: 0, width: 0 };
let observer = null, seen = new Map();

// Tell the script about the steps that changed in its window.
function look() {
  const now = new Map(), clip = clipHere();
  if (clip) {
    for (const note of clip.notes) {
      const x = Math.floor(note.start / stepSize.beats + 1e-6) - view.step;
      if (x >= 0 && x < view.width) now.set(`${x}:${note.pitch}:${note.channel}`, { x, note });
    }
  }
  const tell = (x, y, channel, state, note) => observer(strict("NoteStep", {
    x: () => x, y: () => y, channel: () => channel, state: () => state, isMuted: () => Boolean(note && note.muted),
    duration: () => (note ? note.duration : 0), velocity: () => (note ? note.velocity / 127 : 0),
  }));
  for (const [key, was] of seen) if (!now.has(key)) tell(was.x, was.note.pitch, was.note.channel, "Empty", null);
  for (const [key, { x, note }] of now) {
    const facts = [note.start, note.duration, note.velocity, Boolean(note.muted)].join(":");
    const was = seen.get(key);
    now.get(key).facts = facts;
    if (was && was.facts === facts) continue;
    tell(x, note.pitch, note.channel, "NoteOn", note);
    const last = Math.min(view.width, x + Math.ceil(note.duration / stepSize.beats - 1e-6));
    for (let at = x + 1; at < last; at++) {
      if (!now.has(`${at}:${note.pitch}:${note.channel}`)) tell(at, note.pitch, note.channel, "NoteSustain", note);
    }
  }
  seen = now;
}

const values = {};
const kept = (name, read, write, range) => (values[name] = values[name] || value(name, read, write, range));
const slotObjects = [];

function slotObject(index) {
  slotObjects[index] = slotObjects[index] || strict("ClipLauncherSlot", {
    exists: () => kept(`slot ${index} exists`, () => Boolean(here()) && index < here().slots.length),
    hasContent: () => kept(`slot ${index} hasContent`, () => Boolean(slotAt(index))),
    name: () => kept(`slot ${index} name`, () => (slotAt(index) ? slotAt(index).name : "")),
    createEmptyClip(length) {
      if (!Number.isInteger(length) || length < 1) violation("createEmptyClip wants whole beats");
      const track = here();
      later(() => {
        if (track.slots[index]) violation("createEmptyClip in a slot that is not empty");
        track.slots[index] = newClip("", length, []);
      });
    },
    select() {
      const track = selected.track;
      later(() => { selected = { track, slot: index }; look(); });
    },
    launch: () => launched.push(index),
    deleteObject() {
      const track = here();
      later(() => { track.slots[index] = null; look(); });
    },
  });
  return slotObjects[index];
}

function newClip(name, length, list) {
  return { id: ++notes, name, loopStart: 0, loopLength: length, playStart: 0, playStop: length, looped: true, notes: list };
}

const clipValue = (name, field) => () => kept("clip " + name, () => clipHere() && clipHere()[field], (to) => {
  if (clipHere()) clipHere()[field] = to;
});

const cursorClip = strict("CursorClip", {
  exists: () => kept("clip exists", () => Boolean(clipHere())),
  isLoopEnabled: () => kept("clip looped", () => clipHere().looped),
  getLoopStart: clipValue("loopStart", "loopStart"),
  getLoopLength: clipValue("loopLength", "loopLength"),
  getPlayStart: clipValue("playStart", "playStart"),
  getPlayStop: clipValue("playStop", "playStop"),
  clipLauncherSlot: () => strict("ClipLauncherSlot", { sceneIndex: () => kept("clip slot", () => selected.slot) }),
  setStepSize(beats) { stepSize.beats = beats; },
  scrollToKey() {},
  scrollToStep(step) { later(() => { view.step = step; look(); }); },
  addNoteStepObserver(callback) {
    if (!initialising) violation("observers are added in init");
    observer = callback;
  },
  setName(name) { const clip = clipHere(); later(() => { clip.name = name; }); },
  setStep(channel, x, y, velocity, duration) {
    if (![channel, x, y, velocity].every(Number.isInteger) || x < 0 || x >= view.width || y < 0 || y > 127
      || velocity < 1 || velocity > 127 || !(duration > 0)) violation("setStep: a step that is not there");
    const clip = clipHere(), start = (x + view.step) * stepSize.beats;
    clip.notes = clip.notes.filter((n) => !(Math.abs(n.start - start) < 1e-9 && n.pitch === y && n.channel === channel));
    clip.notes.push({ start, pitch: y, duration, velocity, channel });
    later(look);
  },
});

const slotBank = strict("ClipLauncherSlotBank", { getItemAt: slotObject });
const cursorTrack = strict("CursorTrack", {
  name: () => kept("track name", () => (here() ? here().name : "")),
  position: () => kept("track position", () => selected.track),
  canHoldNoteData: () => kept("track notes", () => Boolean(here())),
  clipLauncherSlotBank: () => slotBank,
  createLauncherCursorClip(id, name, width) {
    if (!initialising) violation("cursors are made in init");
    view.width = width;
    return cursorClip;
  },
});

let socket = null;
const host = strict("host", {
  defineController() {}, defineMidiPorts() {},
  getHostVersion: () => "5.2",
  createTransport: () => strict("Transport", {
    tempo: () => kept("tempo", () => song.tempo, undefined, [20, 666]),
    timeSignature: () => strict("TimeSignatureValue", {
      numerator: () => kept("numerator", () => song.over), denominator: () => kept("denominator", () => song.under),
    }),
  }),
  createApplication: () => strict("Application", { undo() {} }),
  createCursorTrack: () => cursorTrack,
  getDocumentState: () => strict("DocumentState", {
    getSignalSetting: (label) => strict("Signal", { addSignalObserver(callback) { signals[label] = callback; } }),
    getNumberSetting(label, category, least, most, step, unit, usual) {
      numbers[label] = usual;
      return kept("setting " + label, () => numbers[label], undefined, [least, most]);
    },
  }),
  showPopupNotification: (text) => said.push(String(text)),
  scheduleTask: (work, ms) => { setTimeout(() => guarded(work), Math.min(ms, 200)).unref(); },
  connectToRemoteHost(address, port, callback) {
    if (address !== "127.0.0.1") violation("a connection that leaves this computer");
    const made = net.connect(port, address);
    let buffer = Buffer.alloc(0), onData = null, onEnd = null;
    made.on("connect", () => {
      socket = made;
      guarded(() => callback(strict("RemoteConnection", {
        setReceiveCallback(work) { onData = work; },
        setDisconnectCallback(work) { onEnd = work; },
        disconnect() { made.destroy(); },
        send(bytes) {
          if (!bytes.every((b) => Number.isInteger(b) && b >= -128 && b <= 127)) violation("bytes are -128..127");
          made.write(Buffer.from(bytes.map((b) => b & 0xff)));
        },
      })));
    });
    made.on("data", (data) => {
      buffer = Buffer.concat([buffer, data]);
      while (buffer.length >= 4 && buffer.length >= 4 + buffer.readUInt32BE(0)) {
        const length = buffer.readUInt32BE(0), message = new Int8Array(buffer.subarray(4, 4 + length));
        buffer = buffer.subarray(4 + length);
        guarded(() => onData(message));
      }
    });
    made.on("error", () => {});
    made.on("close", () => guarded(() => onEnd && onEnd()));
  },
});

const sandbox = vm.createContext({
  host, loadAPI() {}, println() {},
  load(name) { vm.runInContext(fs.readFileSync(path.join(FOLDER, name), "utf8"), sandbox, { filename: name }); },
});

const commands = {
  load(message) {
    song = { tempo: message.tempo, over: message.over, under: message.under, tracks: message.lanes.map((lane) => ({
      name: lane.name, slots: [...Array(12)].map((_, index) => (index || !lane.clip ? null : Object.assign(
        newClip("own", 0, []), lane.clip))),
    })) };
    selected = { track: Math.max(0, message.selected), slot: message.selected < 0 ? -1 : 0 };
  },
  start() {
    sandbox.load("descant.control.js");
    initialising = true;
    guarded(() => sandbox.init());
    initialising = false;
    look();
  },
  edit(message) {
    song.tracks[message.lane].slots[0].notes[0].pitch += 1;
    look();
  },
  put(message) { song.tracks[0].slots[message.slot] = newClip(message.name, 4, []); },
  mute(message) {
    song.tracks[0].slots[0].notes[message.note].muted = true;
    look();
  },
  press(message) {
    Object.assign(numbers, message.numbers);
    guarded(signals[message.label]);
  },
  quit() { guarded(() => sandbox.exit()); },
  state: () => ({ tracks: song.tracks, said, violations, launched }),
};

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const message = JSON.parse(line);
  const result = commands[message.cmd](message) || {};
  process.stdout.write(JSON.stringify(result) + "\n");
}).on("close", () => process.exit(0));
