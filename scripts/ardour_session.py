"""A real DAW without a screen: Ardour on a JACK server, told what to do in Lua, a line at a time.

Used by the test of live MIDI in a DAW, and by scripts/soak.py for its figures.
"""

from __future__ import annotations

import math
import os
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import cast

from assistant.live.live import Live
from assistant.live.live_settings import LiveSettings
from assistant.pipeline import Candidate, Options, Request, propose
from midi_rig import Jack, Keyboard, connect, disconnect, hurry, wait_for
from models.constraints import Controls
from models.errors import UserError
from models.generators import Generator
from models.midi_file import read_midi
from models.score import Note, Score, Track

START_SECONDS = 300.0  # a busy computer takes its time; an Ardour that ends is noticed at once
ANSWER_SECONDS = 120.0
SAMPLES_A_SECOND = 48_000

SETUP = """
io.stdout:setvbuf("line")
AudioEngine:set_backend("JACK", "ardour", "")
assert(AudioEngine:start(false) == 0)
s = create_session("{session}", "session", 48000)
ARDOUR.config():set_send_midi_clock(true)
local map = Temporal.TempoMap.write_copy()
map:set_tempo(Temporal.Tempo({bpm}, {bpm}, 4), Temporal.timepos_t(0))
map:set_meter(Temporal.Meter({over}, {under}), Temporal.timepos_t(0))
Temporal.TempoMap.update(map)
local midi = ARDOUR.ChanCount(ARDOUR.DataType("midi"), 1)
function track(name)
  local made = s:new_midi_track(midi, midi, true, ARDOUR.PluginInfo(), nil, nil, 1, name,
    ARDOUR.PresentationInfo.max_order, ARDOUR.TrackMode.Normal, true)
  return made:front()
end
function arm(track, on) track:rec_enable_control():set_value(on, PBD.GroupControlDisposition.NoGroup) end
UI = ARDOUR.TransportRequestSource.TRS_UI
keys, suggestions = track("Keys"), track("Suggestions")
print("= ready")
for line in io.lines() do
  local run, fault = load(line)
  if not run then print("= fault " .. fault) else
    local fine, result = pcall(run)
    print((fine and "= " or "= fault ") .. tostring(result))
  end
end
"""


class Ardour:
    """An Ardour session with two MIDI tracks, Keys and Suggestions. `do` runs a line of Lua in it."""

    def __init__(self, process: subprocess.Popen[str], session: Path) -> None:
        self._process, self.session = process, session
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self._answer(START_SECONDS)
        wait_for(lambda: self.do("return AudioEngine:running()") == "true")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("= "):
                self._lines.put(line[2:].strip())
        self._lines.put("fault: it has ended")

    def _answer(self, seconds: float) -> str:
        answer = self._lines.get(timeout=seconds)
        if answer.startswith("fault"):
            raise RuntimeError(f"Ardour: {answer}")
        return answer

    def do(self, lua: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(lua + "\n")
        self._process.stdin.flush()
        return self._answer(ANSWER_SECONDS)

    def arm(self, track: str, on: bool = True) -> None:
        self.do(f"arm({track}, {int(on)})")

    def roll(self, record: bool = False) -> None:
        if record:
            self.do("s:maybe_enable_record(false)")
        self.do("s:request_roll(UI)")
        wait_for(lambda: self.do("return s:transport_rolling()") == "true")

    def stop(self) -> None:
        self.do("s:request_stop(false, false, UI)")
        wait_for(lambda: self.do("return s:transport_rolling()") == "false")
        self.do("s:disable_record(false)")

    def locate(self, seconds: float) -> None:
        sample = round(seconds * SAMPLES_A_SECOND)
        self.do(f"s:request_locate({sample}, false, ARDOUR.LocateTransportDisposition.MustStop, UI)")
        wait_for(lambda: abs(int(self.do("return s:transport_sample()")) - sample) < 10)

    @property
    def seconds(self) -> float:
        return int(self.do("return s:transport_sample()")) / SAMPLES_A_SECOND

    def recorded(self, track: str) -> dict[str, Score]:
        """What a track has recorded so far, by file; files that hold no note yet are left out."""
        self.do('s:save_state("", false, false, false, false, false)')
        found = {}
        for path in self.session.glob(f"interchange/*/midifiles/*{track}*.mid"):
            with suppress(UserError):
                score = read_midi(path).score
                if score.last_note_start >= 0:
                    found[path.name] = score
        return found

    def wire(self) -> None:
        """Clock and keys to Descant, its answers to the track Suggestions."""
        for source, target in self.cables():
            wait_for(lambda source=source, target=target: connect(source, target))  # type: ignore[misc]

    def unwire(self) -> None:
        for source, target in self.cables():
            disconnect(source, target)

    def cables(self) -> list[tuple[str, str]]:
        return [
            ("ardour:MIDI Clock out", "Descant In:Descant In"),
            ("ardour:Keys/midi_out 1", "Descant In:Descant In"),
            ("Descant Out:Descant Out", "ardour:Suggestions/midi_in 1"),
        ]


@contextmanager
def ardour_session(folder: Path, bpm: float, meter: tuple[int, int]) -> Iterator[Ardour]:
    """Ardour on the JACK server of the environment, with a new session in `folder`; ended with the context."""
    program = shutil.which("ardour7-lua")
    if program is None:
        raise RuntimeError("Ardour is not installed; on Debian and Ubuntu: sudo apt install ardour")
    session = folder / "session"
    script = folder / "session.lua"
    values = {"session": str(session), "bpm": str(bpm), "over": str(meter[0]), "under": str(meter[1])}
    lua = SETUP
    for name, value in values.items():
        lua = lua.replace("{" + name + "}", value)
    script.write_text(lua)
    environment = {**os.environ, "XDG_CONFIG_HOME": str(folder / "config"), "XDG_CACHE_HOME": str(folder / "cache")}
    with open(folder / "ardour.log", "ab") as log:
        process = subprocess.Popen(
            [program, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            text=True,
        )
    hurry(process.pid)
    try:
        yield Ardour(process, session)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        time.sleep(0.1)


# --- A conversation -----------------------------------------------------------------------------------

TAKES = 8
AGREED_MS = 4.0  # between two takes of the calibration
TOLERANCE = 0.015  # seconds from the grid, once the offset is calibrated
PHRASE = (60, 64, 67, 72, 71, 67, 62, 65)
CALL_BARS, ANSWER_BARS = 2, 2


@dataclass(frozen=True)
class Recording:
    """What Ardour recorded: pitches in the order of their starts, each start's distance from where it should be in
    seconds, how many notes have no end, and how often JACK lost time meanwhile."""

    pitches: list[int]
    errors: list[float]
    hanging: int
    xruns: int = 0

    @property
    def is_good(self) -> bool:
        """Whether every note was recorded, and begins where it should."""
        return max(map(abs, self.errors)) <= TOLERANCE


@dataclass(frozen=True)
class Conversation:
    """asked: (beat of the song, pitch) of the answer's notes. offset_ms: what the calibration found."""

    asked: list[tuple[float, int]]
    offset_ms: float
    first: Recording
    again: Recording  # after locating back to the answer and starting anew


def converse(folder: Path, bpm: float, meter: tuple[int, int], generator: Generator, jack: Jack) -> Conversation:
    """Record a phrase in Ardour, calibrate the offset, let Descant answer what Ardour plays, record the answer, and
    once more after a locate. A take in which JACK lost time is taken again, as in any studio, up to TAKES times.
    """

    def make(request: Request, cancelled: Callable[[], bool]) -> list[Candidate]:
        return propose(request, generator, cancelled=cancelled)

    settings = LiveSettings(api="jack", bpm=bpm, meter=meter, song_position="clocks")
    bar = settings.bar_beats * 60 / bpm
    with ardour_session(folder, bpm, meter) as daw, Live(settings, make, folder) as live:
        daw.wire()
        _record_phrase(daw, CALL_BARS * bar)
        daw.arm("suggestions")

        offset = _calibrate(daw, live)
        live.configure(offset_ms=offset)

        density = Controls(density=(4, 12))
        begin = settings.bar_beats * CALL_BARS

        def answer() -> float:
            live.continue_played(ANSWER_BARS, Options(controls=density, candidates=1, seed=5))
            wait_for(lambda: live.state()["mode"] == "off")
            found = live.last_answer()
            assert found is not None
            return found.start_beat + ANSWER_BARS * settings.bar_beats

        def first_take() -> Recording:
            live.stop()
            return heard(_record(daw, live, 0.0, begin - 0.5, answer), 0.0)

        def heard(recording: Score, start: float) -> Recording:
            found = live.last_answer()
            assert found is not None
            return _compare(recording, _asked(found.score, found.start_beat), start, bpm)

        first = _good_take(first_take, jack)
        found = live.last_answer()
        assert found is not None
        back = found.start_beat - settings.bar_beats
        end = found.start_beat + ANSWER_BARS * settings.bar_beats
        again = _good_take(lambda: heard(_record(daw, live, back, end, None), back), jack)
        return Conversation(_asked(found.score, found.start_beat), offset, first, again)


def _calibrate(daw: Ardour, live: Live) -> float:
    """The offset in ms that puts recorded notes on the grid: measured until two takes agree."""
    settings = live.settings
    scale = _scale(settings, CALL_BARS)
    asked = _asked(scale, settings.bar_beats)
    offsets: list[float] = []
    for _ in range(2 * TAKES):
        live.play(scale, at=settings.bar_beats)
        recording = _record(daw, live, 0.0, (1 + CALL_BARS) * settings.bar_beats, None)
        live.stop()
        errors = _compare(recording, asked, 0.0, settings.bpm).errors
        if math.isfinite(median(errors)):
            offsets.append(1000 * median(errors))
        if len(offsets) > 1 and abs(offsets[-1] - offsets[-2]) <= AGREED_MS:
            return (offsets[-1] + offsets[-2]) / 2
    raise RuntimeError(f"No two takes agreed: {offsets}")


def _good_take(take: Callable[[], Recording], jack: Jack) -> Recording:
    for _ in range(TAKES):
        before = jack.xruns
        recording = take()
        recording = replace(recording, xruns=jack.xruns - before)
        if not recording.xruns or recording.is_good:
            break
    return recording


def _record_phrase(daw: Ardour, seconds: float) -> None:
    """Play a phrase on a keyboard into the track Keys, as a musician would."""
    keyboard = Keyboard("hands")
    keyboard.connect("ardour:Keys/midi_in 1")
    daw.arm("keys")
    daw.roll(record=True)
    began = time.perf_counter()
    for number, pitch in enumerate(PHRASE):
        keyboard.send(0x90, pitch, 80)
        time.sleep(seconds / len(PHRASE) / 2)
        keyboard.send(0x80, pitch, 64)
        time.sleep(max(0.0, began + seconds * (number + 1) / len(PHRASE) - time.perf_counter()))
    daw.stop()
    daw.arm("keys", False)
    keyboard.close()


def _scale(settings: LiveSettings, bars: int) -> Score:
    """Eighth notes for so many bars."""
    count = round(bars * settings.bar_beats * 2)
    notes = tuple(Note(240 * number, 60 + number % 12, 120, 80) for number in range(count))
    return Score(tracks=(Track(notes=notes),), length=240 * count)


def _asked(score: Score, begin: float) -> list[tuple[float, int]]:
    ticks = score.ticks_per_quarter
    notes = [(begin + note.start / ticks, note.pitch) for track in score.tracks for note in track.notes]
    return sorted(notes)


def _record(daw: Ardour, live: Live, begin: float, until: float, work: Callable[[], float] | None) -> Score:
    """What was recorded from beat `begin` to `until`, and to where `work` says, which is done then; a score without
    notes where nothing was."""
    before = daw.recorded("Suggestions")
    daw.locate(begin * 60 / live.settings.bpm)
    daw.roll(record=True)

    def reached(beat: float) -> bool:
        transport = live.state()["transport"]
        return bool(transport["rolling"] and transport["beat"] >= beat)

    wait_for(lambda: reached(until), 60)
    if work is not None:
        until = work()
        wait_for(lambda: reached(until + 0.25), 60)
    time.sleep(0.2)
    daw.stop()

    def written() -> Score | None:
        new = [score for name, score in daw.recorded("Suggestions").items() if name not in before]
        return new[0] if new else None

    with suppress(AssertionError):
        return cast(Score, wait_for(written, 10))
    return Score()


def _compare(recording: Score, asked: Sequence[tuple[float, int]], begin: float, bpm: float) -> Recording:
    """Each recorded note beside the one asked for; the error of one that is missing is infinite."""
    ticks = recording.ticks_per_quarter
    notes = sorted((note.start / ticks + begin, note) for track in recording.tracks for note in track.notes)
    left = list(notes)
    errors, pitches = [], []
    for beat, pitch in asked:
        same = [item for item in left if item[1].pitch == pitch]
        if same:
            nearest = min(same, key=lambda item: abs(item[0] - beat))
            left.remove(nearest)
            pitches.append(pitch)
            errors.append((nearest[0] - beat) * 60 / bpm)
        else:
            errors.append(math.inf)
    pitches += [note.pitch for _, note in left]
    hanging = sum(note.duration >= 16 * ticks for _, note in notes)
    return Recording(pitches, errors, hanging)
