"""A double of Ableton Live's Python API for tests.

Every name was held against the Live Object Model as published, https://docs.cycling74.com/apiref/lom (Song,
Song.View, Track, TakeLane, ClipSlot, Clip), and, where Python's own spelling counts (MidiNoteSpecification,
begin_undo_step, _live_ptr, the calls of a surface), against Live's own scripts as they are read in
https://github.com/gluon/AbletonLive12_MIDIRemoteScripts and in https://github.com/ideoforms/AbletonOSC. It covers
exactly the names below; any other is an AttributeError. From there come, among others:
  * get_notes_extended(from_pitch, pitch_span, from_time, time_span): the first two whole numbers, and notes that
    start in the span; get_selected_notes_extended, add_new_notes (which answers with ids), remove_notes_by_id;
  * create_clip: in an empty slot of a MIDI track only; delete_clip: not of an empty slot; duplicate_clip_to would
    take the place of what is in the other slot, which is held to be wrong here;
  * start_time and end_time of a clip on the time line are the song's, its markers and notes its own beats;
  * a clip in a take lane is an arrangement clip whose parent is the lane; root_note, scale_name, scale_intervals
    and scale_mode are the song's (the last is new in Live 12).
It also holds rules that are not in these documents but felt by whoever breaks them:
  * everything is read and written on the main thread, else a RuntimeError;
  * what was deleted or undone is gone: using it is a RuntimeError;
  * notes have pitches 0..127, velocities 1..127 and a length;
  * a script changes the set inside begin_undo_step and end_undo_step only.
"""

from __future__ import annotations

import copy
import itertools
import threading
from types import SimpleNamespace
from typing import Any

_pointers = itertools.count(1)
_notes = itertools.count(1)


class Clipped:
    """The data of a clip; wrappers come and go, this is what undo brings back."""

    def __init__(self, length: float, **facts: Any) -> None:
        self.pointer = next(_pointers)
        self.notes: list[dict[str, Any]] = []
        self.facts: dict[str, Any] = {
            "name": "",
            "loop_start": 0.0,
            "loop_end": length,
            "start_marker": 0.0,
            "end_marker": length,
            "looping": True,
            "signature_numerator": 4,
            "signature_denominator": 4,
            "muted": False,
            **facts,
        }

    def add(self, start: float, pitch: int, duration: float, velocity: float) -> int:
        if not (0 <= pitch <= 127 and 1 <= velocity <= 127 and duration > 0):
            raise ValueError("a note that Live does not take")
        note = {
            "start_time": start,
            "pitch": pitch,
            "duration": duration,
            "velocity": float(velocity),
            "mute": False,
        }
        self.notes.append({"note_id": next(_notes), **note})
        return int(self.notes[-1]["note_id"])


class Tracked:
    def __init__(self, name: str, scenes: int) -> None:
        self.pointer = next(_pointers)
        self.name = name
        self.drums = False
        self.audio = False
        self.frozen = False
        self.lanes: list[list[Clipped]] = []  # take lanes
        self.slots: list[Clipped | None] = [None] * scenes
        self.slot_pointers = [next(_pointers) for _ in range(scenes)]
        self.arrangement: list[Clipped] = []


class Rules:
    """What every object of the API knows: the set, and the thread that may use it."""

    def __init__(self) -> None:
        self.main = 0
        self.tracks: list[Tracked] = []
        self.scenes = 4
        self.past: list[tuple[list[Tracked], int]] = []
        self.open_step: tuple[list[Tracked], int] | None = None
        self.violations: list[str] = []
        self.fired: list[int] = []
        self.selected: int | None = None  # pointer of the clip in the detail view
        self.highlighted: tuple[int, int] | None = None
        self.selected_notes: list[dict[str, Any]] = []
        self.facts: dict[str, Any] = {"tempo": 120.0, "swing_amount": 0.0, "scale_mode": False}
        self.facts.update(signature_numerator=4, signature_denominator=4)

    def check(self) -> None:
        if threading.get_ident() != self.main:
            self.violations.append("a call off the main thread")
            raise RuntimeError("Live's objects belong to its main thread")

    def change(self) -> None:
        if self.open_step is None:
            self.violations.append("a change outside an undo step")
            raise RuntimeError("a change outside an undo step")

    def snapshot(self) -> tuple[list[Tracked], int]:
        return copy.deepcopy(self.tracks), self.scenes

    def track(self, pointer: int) -> Tracked:
        for track in self.tracks:
            if track.pointer == pointer:
                return track
        raise RuntimeError("a track that is gone")

    def clip(self, pointer: int) -> tuple[Tracked, int | None, Clipped]:
        for track in self.tracks:
            for index, clip in enumerate(track.slots):
                if clip is not None and clip.pointer == pointer:
                    return track, index, clip
            for clip in (*track.arrangement, *(clip for lane in track.lanes for clip in lane)):
                if clip.pointer == pointer:
                    return track, None, clip
        raise RuntimeError("a clip that is gone")


class Thing:
    """A wrapper: every use of it is checked."""

    def __init__(self, rules: Rules, pointer: int) -> None:
        object.__setattr__(self, "_rules", rules)
        object.__setattr__(self, "_ptr", pointer)

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") or name == "_live_ptr":
            object.__getattribute__(self, "_rules").check()
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._rules.check()
        object.__setattr__(self, name, value)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._ptr == other._ptr  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash(self._ptr)

    @property
    def _live_ptr(self) -> int:
        return int(self._ptr)


def _fact(name: str, writable: bool = False) -> property:
    def read(clip: Clip) -> Any:
        return clip._data().facts[name]

    def write(clip: Clip, value: Any) -> None:
        clip._rules.change()
        clip._data().facts[name] = value

    return property(read, write if writable else None)


class Clip(Thing):
    name = _fact("name", True)
    loop_start = _fact("loop_start")
    loop_end = _fact("loop_end")
    start_marker = _fact("start_marker")
    looping = _fact("looping")
    muted = _fact("muted")
    signature_numerator = _fact("signature_numerator", True)
    signature_denominator = _fact("signature_denominator", True)

    def _data(self) -> Clipped:
        return self._rules.clip(self._ptr)[2]

    @property
    def is_midi_clip(self) -> bool:
        return not self._rules.clip(self._ptr)[0].audio

    @property
    def is_arrangement_clip(self) -> bool:
        return self._rules.clip(self._ptr)[1] is None

    @property
    def start_time(self) -> float:
        return float(self._data().facts["start_time"])

    @property
    def end_time(self) -> float:
        return float(self._data().facts["end_time"])

    @property
    def canonical_parent(self) -> Any:
        track, index, data = self._rules.clip(self._ptr)
        for number, lane in enumerate(track.lanes):
            if data in lane:
                return TakeLane(self._rules, track.pointer, number)
        return Track(self._rules, track.pointer) if index is None else Slot(self._rules, track.slot_pointers[index])

    def get_notes_extended(self, from_pitch: int, pitch_span: int, from_time: float, time_span: float) -> Any:
        if type(from_pitch) is not int or type(pitch_span) is not int:
            raise TypeError("Python argument types did not match C++ signature")
        if time_span < 0 or pitch_span < 0:
            raise ValueError("a span below nothing")
        return tuple(
            SimpleNamespace(**note)
            for note in self._data().notes
            if from_pitch <= note["pitch"] < from_pitch + pitch_span
            and from_time <= note["start_time"] < from_time + time_span
        )

    def get_selected_notes_extended(self) -> Any:
        return tuple(SimpleNamespace(**note) for note in self._rules.selected_notes)

    def add_new_notes(self, notes: Any) -> list[int]:
        self._rules.change()
        return [self._data().add(note.start_time, note.pitch, note.duration, note.velocity) for note in notes]

    def remove_notes_by_id(self, ids: tuple[int, ...]) -> None:
        self._rules.change()
        data = self._data()
        if not set(ids) <= {note["note_id"] for note in data.notes}:
            raise ValueError("no such note")
        data.notes = [note for note in data.notes if note["note_id"] not in ids]


class Slot(Thing):
    def _place(self) -> tuple[Tracked, int]:
        for track in self._rules.tracks:
            if self._ptr in track.slot_pointers:
                return track, track.slot_pointers.index(self._ptr)
        raise RuntimeError("a slot that is gone")

    @property
    def canonical_parent(self) -> Track:
        return Track(self._rules, self._place()[0].pointer)

    @property
    def has_clip(self) -> bool:
        track, index = self._place()
        return track.slots[index] is not None

    @property
    def clip(self) -> Clip | None:
        track, index = self._place()
        data = track.slots[index]
        return None if data is None else Clip(self._rules, data.pointer)

    def create_clip(self, length: float) -> Clip:
        self._rules.change()
        track, index = self._place()
        if track.slots[index] is not None or length <= 0 or track.audio or track.frozen:
            raise RuntimeError("the slot is not empty or not of a MIDI track, or the clip has no length")
        made = track.slots[index] = Clipped(length)
        return Clip(self._rules, made.pointer)

    def duplicate_clip_to(self, other: Slot) -> None:
        self._rules.change()
        track, index = self._place()
        target, place = other._place()
        made = copy.deepcopy(track.slots[index])
        if made is None or target.audio is not track.audio:
            raise RuntimeError("nothing to copy, or a track of another kind")
        if target.slots[place] is not None:
            self._rules.violations.append("a clip was overwritten")
        made.pointer = next(_pointers)
        target.slots[place] = made

    def delete_clip(self) -> None:
        self._rules.change()
        track, index = self._place()
        if track.slots[index] is None:
            raise RuntimeError("the slot is empty")
        track.slots[index] = None

    def fire(self) -> None:
        self._rules.fired.append(self._ptr)


class Track(Thing):
    @property
    def name(self) -> str:
        return self._rules.track(self._ptr).name

    @name.setter
    def name(self, value: str) -> None:
        self._rules.change()
        self._rules.track(self._ptr).name = value

    @property
    def has_midi_input(self) -> bool:
        return not self._rules.track(self._ptr).audio

    @property
    def is_frozen(self) -> bool:
        return self._rules.track(self._ptr).frozen

    @property
    def take_lanes(self) -> Any:
        lanes = range(len(self._rules.track(self._ptr).lanes))
        return tuple(TakeLane(self._rules, self._ptr, number) for number in lanes)

    @property
    def devices(self) -> Any:
        return (SimpleNamespace(can_have_drum_pads=self._rules.track(self._ptr).drums),)

    @property
    def clip_slots(self) -> Any:
        return tuple(Slot(self._rules, pointer) for pointer in self._rules.track(self._ptr).slot_pointers)

    @property
    def arrangement_clips(self) -> Any:
        return tuple(Clip(self._rules, clip.pointer) for clip in self._rules.track(self._ptr).arrangement)

    def stop_all_clips(self) -> None:
        self._rules.fired.append(0)

    def duplicate_clip_to_arrangement(self, clip: Clip, destination: float) -> Clip:
        self._rules.change()
        made = copy.deepcopy(clip._data())
        made.pointer = next(_pointers)
        length = made.facts["loop_end"] - made.facts["loop_start"]
        made.facts.update(start_time=destination, end_time=destination + length)
        track = self._rules.track(self._ptr)
        # What lies under a clip is overwritten, as when one is dragged there.
        inside = [old for old in track.arrangement if old.facts["start_time"] < destination + length]
        for old in [old for old in inside if old.facts["end_time"] > destination]:
            track.arrangement.remove(old)
        track.arrangement.append(made)
        return Clip(self._rules, made.pointer)


class TakeLane(Thing):
    def __init__(self, rules: Rules, pointer: int, number: int) -> None:
        super().__init__(rules, pointer)
        object.__setattr__(self, "_number", number)

    @property
    def canonical_parent(self) -> Track:
        return Track(self._rules, self._ptr)

    @property
    def arrangement_clips(self) -> Any:
        lane = self._rules.track(self._ptr).lanes[self._number]
        return tuple(Clip(self._rules, clip.pointer) for clip in lane)


class View(Thing):
    @property
    def detail_clip(self) -> Clip | None:
        return None if self._rules.selected is None else Clip(self._rules, self._rules.selected)

    @property
    def highlighted_clip_slot(self) -> Slot | None:
        return None

    @highlighted_clip_slot.setter
    def highlighted_clip_slot(self, slot: Slot) -> None:
        self._rules.highlighted = (0, slot._live_ptr)

    @property
    def selected_scene(self) -> Scene:
        return Scene(self._rules, 0)


class Scene(Thing):
    """By its number; the first is selected."""


class Song(Thing):
    def __getattr__(self, name: str) -> Any:
        facts = object.__getattribute__(self, "_rules").facts
        if name not in facts:
            raise AttributeError(name)
        return facts[name]

    @property
    def view(self) -> View:
        return View(self._rules, -1)

    @property
    def tracks(self) -> Any:
        return tuple(Track(self._rules, track.pointer) for track in self._rules.tracks)

    @property
    def scenes(self) -> Any:
        return tuple(Scene(self._rules, number) for number in range(self._rules.scenes))

    @property
    def can_undo(self) -> bool:
        return bool(self._rules.past)

    def create_midi_track(self, index: int) -> Track:
        self._rules.change()
        made = Tracked("MIDI", self._rules.scenes)
        self._rules.tracks.insert(len(self._rules.tracks) if index == -1 else index, made)
        return Track(self._rules, made.pointer)

    def delete_track(self, index: int) -> None:
        self._rules.change()
        del self._rules.tracks[index]

    def create_scene(self, index: int) -> None:
        self._rules.change()
        if index != -1:
            raise ValueError("only at the end is covered")
        self._rules.scenes += 1
        for track in self._rules.tracks:
            track.slots.append(None)
            track.slot_pointers.append(next(_pointers))

    def begin_undo_step(self) -> None:
        if self._rules.open_step is not None:
            self._rules.violations.append("an undo step inside an undo step")
        self._rules.open_step = self._rules.snapshot()

    def end_undo_step(self) -> None:
        if self._rules.open_step is None:
            raise RuntimeError("no undo step is open")
        self._rules.past.append(self._rules.open_step)
        self._rules.open_step = None

    def undo(self) -> None:
        if self._rules.open_step is not None:
            self._rules.violations.append("undo inside an undo step")
        self._rules.tracks, self._rules.scenes = self._rules.past.pop()


class Instance:
    """What Live hands to a script as c_instance."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.shown: list[str] = []

    def show_message(self, text: str) -> None:
        self._rules.check()
        self.shown.append(text)

    def handle(self) -> int:
        return 1


def module(rules: Rules) -> Any:
    """The module Live as a script imports it, for one set."""
    application = SimpleNamespace(
        get_major_version=lambda: 12, get_minor_version=lambda: 1, get_document=lambda: Song(rules, -2)
    )

    class MidiNoteSpecification:
        def __init__(
            self, pitch: int, start_time: float, duration: float, velocity: float = 100.0, mute: bool = False
        ) -> None:
            self.pitch, self.start_time, self.duration = pitch, start_time, duration
            self.velocity, self.mute = velocity, mute

    return SimpleNamespace(
        Application=SimpleNamespace(get_application=lambda: application),
        Clip=SimpleNamespace(MidiNoteSpecification=MidiNoteSpecification),
        MidiMap=SimpleNamespace(forward_midi_cc=lambda *_: True),
    )
