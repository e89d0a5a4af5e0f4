// Descant in Bitwig Studio 5 and newer: a controller script.
//
// It reads the launcher clip that is selected, and writes candidates into the empty slots below it. Bitwig's API
// changes things a moment after it was asked to, so whatever depends on that is a step that waits for its turn.

loadAPI(18);
load("descant_link.js"); // PORT and SECRET, written by `descant daw install`

host.defineController("Descant", "Descant", "0.1.0", "5b0f8d4e-7a5c-4a0e-9a55-3c5d0f4c9f11", "Descant");
host.defineMidiPorts(0, 0);

var TICKS = 960; // to the quarter note, in messages
var STEPS = 240; // to the quarter note, in Bitwig's note grid: starts are exact to this
var WINDOW = 3840; // steps that are seen at a time
var SLOTS = 128;
var PAUSE = 40; // milliseconds in which Bitwig settles after a change of selection or window
var PATIENCE = 50; // such pauses, before a change counts as not coming
var RETRY = 2000;
var PROTOCOLS = [1];
var SCRIPT_VERSION = "0.1.0";

var transport, application, track, clip, slots, options = {};
var grid = {}; // what the window shows: "x:y:channel" -> note
var page = 0;
var connection = null, welcome = false, asked = false, waiting = [];
var proposal = null; // {track, source, shown, slots: [{slot, label}]}
var work = [], working = false;

function init() {
   transport = host.createTransport();
   transport.tempo().markInterested();
   transport.timeSignature().numerator().markInterested();
   transport.timeSignature().denominator().markInterested();
   application = host.createApplication();
   track = host.createCursorTrack("descant", "Descant", 0, SLOTS, true);
   track.name().markInterested();
   track.position().markInterested();
   track.canHoldNoteData().markInterested();
   slots = track.clipLauncherSlotBank();
   for (var index = 0; index < SLOTS; index++) {
      slots.getItemAt(index).exists().markInterested();
      slots.getItemAt(index).hasContent().markInterested();
      slots.getItemAt(index).name().markInterested();
   }
   clip = track.createLauncherCursorClip("descant-clip", "Descant", WINDOW, 128);
   clip.exists().markInterested();
   clip.isLoopEnabled().markInterested();
   clip.getLoopStart().markInterested();
   clip.getLoopLength().markInterested();
   clip.getPlayStart().markInterested();
   clip.getPlayStop().markInterested();
   clip.clipLauncherSlot().sceneIndex().markInterested();
   clip.setStepSize(1 / STEPS);
   clip.scrollToKey(0);
   clip.scrollToStep(0);
   clip.addNoteStepObserver(noteSeen);
   addKeys();
   connect();
}

function exit() {
   if (connection) connection.disconnect();
}

function flush() {}

function noteSeen(step) {
   var key = step.x() + ":" + step.y() + ":" + step.channel();
   if (String(step.state()) === "NoteOn" && !step.isMuted()) {
      grid[key] = {
         x: step.x() + page * WINDOW, y: step.y(), duration: step.duration(),
         velocity: Math.max(1, Math.min(127, Math.round(step.velocity() * 127)))
      };
   } else {
      delete grid[key];
   }
}

// Keys ------------------------------------------------------------------------------------------------

function addKeys() {
   var panel = host.getDocumentState();
   var keys = ["continue", "fill", "next", "previous", "accept", "cancel"];
   var titles = ["Continue", "Fill clip", "Next candidate", "Previous candidate", "Accept", "Cancel"];
   keys.forEach(function (key, index) {
      panel.getSignalSetting(titles[index], "Descant", titles[index]).addSignalObserver(function () { press(key); });
   });
   options.bars = panel.getNumberSetting("Bars", "Descant", 1, 32, 1, "", 4);
   options.candidates = panel.getNumberSetting("Candidates", "Descant", 1, 8, 1, "", 4);
   options.bars.markInterested();
   options.candidates.markInterested();
}

function press(key) {
   try {
      if (key === "next" || key === "previous") {
         start([auditionStep((proposal ? proposal.shown : 0) + (key === "next" ? 1 : -1))], notHeard);
      } else if (key === "accept") {
         start(acceptSteps(), notHeard);
      } else if (key === "cancel" && !asked) {
         start(cancelSteps(), notHeard);
      } else {
         act(key);
      }
   } catch (problem) {
      notHeard(problem);
   }
}

function notHeard(problem) {
   if (problem) host.showPopupNotification(problem.message + ". " + (problem.hint || ""));
}

function act(key) {
   if (!connection) {
      if (key !== "cancel") host.showPopupNotification("Descant is not running. Start it with: descant serve");
      return;
   }
   var words = {};
   if (key !== "cancel") {
      asked = true;
      words.candidates = Math.round(options.candidates.getRaw());
      if (key === "continue") words.bars = Math.round(options.bars.getRaw());
   }
   var message = { action: key, options: words };
   if (welcome) send(message); else waiting.push(message);
}

// Messages --------------------------------------------------------------------------------------------

function connect() {
   if (!connection) {
      host.connectToRemoteHost("127.0.0.1", PORT, function (made) {
         connection = made;
         connection.setDisconnectCallback(lost);
         connection.setReceiveCallback(function (data) { take(JSON.parse(text(data))); });
         send({
            secret: SECRET,
            hello: {
               daw: "bitwig", daw_version: String(host.getHostVersion()), script_version: SCRIPT_VERSION,
               protocols: PROTOCOLS,
               capabilities: { launcher: true, loops: true, audition: true, place: "launcher slots", resolution: STEPS }
            }
         });
      });
   }
   host.scheduleTask(connect, RETRY);
}

function lost() {
   connection = null;
   welcome = false;
   waiting = [];
   if (asked) {
      asked = false;
      host.showPopupNotification("Descant has stopped; nothing was written. Ask again.");
   }
}

function text(data) {
   var parts = [];
   for (var index = 0; index < data.length; index++) parts.push(String.fromCharCode(data[index] & 0xff));
   return parts.join("");
}

// ASCII with a header of four bytes, the highest first; bytes are signed, as Java has them.
function send(message) {
   if (!connection) return;
   var json = JSON.stringify(message).replace(/[^\x00-\x7e]/g, function (char) {
      return "\\u" + ("000" + char.charCodeAt(0).toString(16)).slice(-4);
   });
   var bytes = [];
   [24, 16, 8, 0].forEach(function (shift) { bytes.push(((json.length >> shift) & 0xff) << 24 >> 24); });
   for (var index = 0; index < json.length; index++) bytes.push(json.charCodeAt(index));
   connection.send(bytes);
}

function take(message) {
   if (message.welcome) {
      welcome = true;
      waiting.forEach(send);
      waiting = [];
   } else if (message.refused) {
      host.showPopupNotification(message.refused.message + ". " + message.refused.hint);
   } else if (message["do"] === "say") {
      asked = message.done === false; // the program's word: it may have been pressed elsewhere
      host.showPopupNotification(message.text);
      send({ id: message.id, ok: {} });
   } else if (message["do"]) {
      answer(message);
   }
}

function answer(message) {
   var done = function (problem, result) {
      if (problem) {
         var error = { code: problem.code || "failed", message: String(problem.message), hint: problem.hint || "" };
         send({ id: message.id, error: error });
      } else {
         send({ id: message.id, ok: result || {} });
      }
   };
   try {
      var verb = { read: readSteps, write: writeSteps, accept: acceptSteps, cancel: cancelSteps }[message["do"]];
      if (verb) start(verb(message), done);
      else if (message["do"] === "audition") start([auditionStep(message.number)], done);
      else if (message["do"] === "undo") start([function () { application.undo(); }, pause], done);
      else throw fail("unsupported", "Bitwig's script cannot do that", "Install the script again.");
   } catch (problem) {
      done(problem);
   }
}

function fail(code, message, hint) {
   return { code: code, message: message, hint: hint };
}

function changed() {
   return fail("changed", "The music was changed after it was read, so nothing was written",
      "Ask again; the candidates that were made are kept.");
}

// Steps -----------------------------------------------------------------------------------------------

// A task is a list of functions. One may return more of them, to be done next, or throw. `pause` gives Bitwig time;
// until(test) asks again and again. The value of the task is what the last function that returned an object gave.
function pause() {}

function until(test, problem) {
   var step = function (state) {
      if (test()) return;
      state.tries = (state.tries || 0) + 1;
      if (state.tries > PATIENCE) throw problem || changed();
      return step;
   };
   return function () { return withState(step); };
}

function withState(step) {
   var state = {};
   var again = function () {
      var more = step(state);
      return more ? [pause, again] : undefined;
   };
   return [again];
}

function start(steps, done) {
   work.push({ steps: steps.slice(), done: done, result: null });
   if (!working) run();
}

function run() {
   working = true;
   while (work.length) {
      var task = work[0], problem = null;
      if (!task.steps.length) {
         work.shift();
         task.done(null, task.result);
         continue;
      }
      var step = task.steps.shift();
      if (step === pause) {
         host.scheduleTask(run, PAUSE);
         return;
      }
      try {
         var given = step();
         if (Array.isArray(given)) task.steps = given.concat(task.steps);
         else if (given) task.result = given;
      } catch (thrown) {
         problem = thrown;
      }
      if (problem) {
         work.shift();
         task.done(problem);
      }
   }
   working = false;
}

// Reading ---------------------------------------------------------------------------------------------

function tick(beats) { return Math.round(beats * TICKS); }

// The slot that the cursor shows; -1 where it shows none.
function shownSlot() {
   return clip.exists().get() ? clip.clipLauncherSlot().sceneIndex().get() : -1;
}

// Steps that put every note of the clip between two beats into `found`.
function seeNotes(found, to) {
   var pages = Math.max(1, Math.ceil(to * STEPS / WINDOW - 1e-9)), steps = [];
   for (var number = 0; number < pages; number++) steps.push(turnTo(number), pause, collect(found));
   return steps.concat([turnTo(0), pause]);
}

function turnTo(number) {
   return function () {
      if (number === page) return;
      grid = {};
      page = number;
      clip.scrollToStep(number * WINDOW);
   };
}

function collect(found) {
   return function () {
      Object.keys(grid).forEach(function (key) { found.push(grid[key]); });
   };
}

function source() {
   if (shownSlot() < 0 || !track.canHoldNoteData().get()) {
      throw fail("empty", "No note clip is selected", "Click a launcher clip with notes, then ask again.");
   }
   var looped = clip.isLoopEnabled().get();
   var from = looped ? clip.getLoopStart().get() : clip.getPlayStart().get();
   var to = looped ? from + clip.getLoopLength().get() : clip.getPlayStop().get();
   var over = transport.timeSignature().numerator().get(), under = transport.timeSignature().denominator().get();
   var bar = over * 4 / under, first = Math.min(from, clip.getPlayStart().get());
   return {
      track: track.position().get(), slot: shownSlot(), from: from, to: to, over: over, under: under, bar: bar,
      origin: Math.floor(first / bar + 1e-9) * bar, first: first, notes: []
   };
}

function stampOf(what) {
   var numbers = [what.track, what.slot, tick(what.from), tick(what.to), what.over, what.under];
   sorted(what.notes).forEach(function (note) { numbers.push(note.x, note.y, tick(note.duration), note.velocity); });
   var low = 0x811c9dc5, high = 0x01234567; // two FNV-1a hashes of 32 bits
   numbers.join(";").split("").forEach(function (char) {
      low = Math.imul(low ^ char.charCodeAt(0), 0x01000193) >>> 0;
      high = Math.imul(high ^ char.charCodeAt(0), 0x01000193) >>> 0;
   });
   return ("0000000" + high.toString(16)).slice(-8) + ("0000000" + low.toString(16)).slice(-8);
}

function sorted(notes) {
   return notes.slice().sort(function (a, b) { return a.x - b.x || a.y - b.y; });
}

function readSteps(message) {
   if (message.action === "accompany" || message.action === "sketch") {
      throw fail("unsupported", "Bitwig lets no script write on tracks that it adds",
         "Continue or fill a clip here, or drag new tracks in from the page.");
   }
   var what = source();
   return seeNotes(what.notes, what.to).concat([function () {
      var notes = sorted(what.notes).filter(function (note) {
         return note.x / STEPS > what.first - 1e-6 && note.x / STEPS < what.to - 1e-6;
      });
      var bars = Math.ceil((what.to - what.origin) / what.bar - 1e-9);
      return {
         tpq: TICKS, origin: what.origin, length: tick(bars * what.bar),
         tempos: [[0, Math.round(60000000 / transport.tempo().getRaw())]], meters: [[0, what.over, what.under]],
         tracks: [{
            name: String(track.name().get()), program: 0, drum: false, channel: 0,
            notes: notes.map(function (note) {
               var length = Math.max(1, tick(note.duration));
               return [tick(note.x / STEPS - what.origin), note.y, length, note.velocity];
            })
         }],
         selection: { start: tick(what.from - what.origin), end: tick(what.to - what.origin), tracks: [0] },
         stamp: stampOf(what), reference: { track: what.track, slot: what.slot, origin: what.origin }
      };
   }]);
}

// Writing ---------------------------------------------------------------------------------------------

function writeSteps(message) {
   var reference = message.reference, what = null, made = [];
   if (shownSlot() !== reference.slot || track.position().get() !== reference.track) throw changed();
   what = source();
   return seeNotes(what.notes, what.to).concat([function () {
      if (stampOf(what) !== message.stamp) throw changed();
      if (!message.candidates.length) return [];
      var slot = what.slot, steps = [];
      message.candidates.forEach(function (candidate) {
         slot = freeSlot(slot + 1);
         made.push({ slot: slot, label: candidate.label });
         steps = steps.concat(candidateSteps(what, reference, candidate, message.action, slot));
      });
      proposal = { track: what.track, source: what.slot, shown: 1, slots: made };
      return guardedSteps(steps, made).concat([function () { slots.getItemAt(what.slot).select(); }, pause,
         until(function () { return shownSlot() === what.slot; }),
         function () { return { placed: made.length }; }]);
   }]);
}

// The same steps; where one of them fails, the slots that were filled are emptied again.
function guardedSteps(steps, made) {
   return steps.map(function (step) {
      if (step === pause) return pause;
      return function () {
         try {
            var more = step();
            return Array.isArray(more) ? guardedSteps(more, made) : more;
         } catch (problem) {
            dropSlots(made);
            proposal = null;
            throw problem;
         }
      };
   });
}

function freeSlot(slot) {
   while (slot < SLOTS && slots.getItemAt(slot).exists().get()) {
      if (!slots.getItemAt(slot).hasContent().get()) return slot;
      slot++;
   }
   throw fail("failed", "There are too few empty slots below the clip", "Add scenes, then ask again.");
}

function candidateSteps(what, reference, candidate, action, slot) {
   var part = candidate.parts[0], begin = reference.origin + part.start / TICKS;
   var length = (part.end - part.start) / TICKS, notes = [];
   if (action === "fill") {
      var gone = {};
      part.removed.forEach(function (note) { gone[note[0] + ":" + note[1]] = true; });
      begin = what.from;
      length = what.to - what.from;
      what.notes.forEach(function (note) {
         var at = note.x / STEPS;
         if (at > what.from - 1e-6 && at < what.to - 1e-6 && !gone[tick(at - reference.origin) + ":" + note.y]) {
            notes.push([at - begin, note.y, note.duration, note.velocity]);
         }
      });
   }
   part.notes.forEach(function (note) {
      notes.push([reference.origin + note[0] / TICKS - begin, note[1], note[2] / TICKS, note[3]]);
   });
   var pages = {};
   notes.forEach(function (note) {
      var x = Math.max(0, Math.round(note[0] * STEPS)), number = Math.floor(x / WINDOW);
      (pages[number] = pages[number] || []).push([x - number * WINDOW, note[1], note[3], note[2]]);
   });
   var steps = [
      function () { slots.getItemAt(slot).createEmptyClip(Math.ceil(length)); }, pause,
      until(function () { return slots.getItemAt(slot).hasContent().get(); }),
      function () { slots.getItemAt(slot).select(); }, pause,
      until(function () { return shownSlot() === slot && track.position().get() === what.track; }),
      function () {
         clip.setName(candidate.label);
         clip.getLoopLength().set(length);
         clip.getPlayStop().set(length);
      }
   ];
   Object.keys(pages).forEach(function (number) {
      steps.push(turnTo(Number(number)), pause, function () {
         pages[number].forEach(function (note) { clip.setStep(0, note[0], note[1], note[2], note[3]); });
      });
   });
   return steps.concat([turnTo(0), pause]);
}

// The proposal ----------------------------------------------------------------------------------------

// The slots of candidates that are still where they were put, with the name they were given.
function current() {
   var found = [];
   if (proposal && track.position().get() === proposal.track) {
      found = proposal.slots.filter(isOurs);
   }
   if (!found.length) throw fail("empty", "There is no proposal on this track", "Ask for one first.");
   return found;
}

function isOurs(entry) {
   var slot = slots.getItemAt(entry.slot);
   return slot.hasContent().get() && String(slot.name().get()) === entry.label;
}

function dropSlots(entries) {
   entries.filter(isOurs).forEach(function (entry) { slots.getItemAt(entry.slot).deleteObject(); });
}

function auditionStep(number) {
   current();
   return function () {
      proposal.shown = Math.max(0, Math.min(proposal.slots.length, number));
      var slot = proposal.shown ? proposal.slots[proposal.shown - 1].slot : proposal.source;
      slots.getItemAt(slot).launch();
      host.showPopupNotification(proposal.shown ? proposal.slots[proposal.shown - 1].label : "Your own clip");
   };
}

function acceptSteps() {
   var found = current();
   if (!proposal.shown) return cancelSteps();
   return [function () {
      var kept = proposal.slots[proposal.shown - 1];
      dropSlots(found.filter(function (entry) { return entry !== kept; }));
      proposal = null;
   }, pause];
}

function cancelSteps() {
   var found = current();
   return [function () {
      dropSlots(found);
      proposal = null;
   }, pause];
}
