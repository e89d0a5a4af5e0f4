"""Reading the clip that Live shows, and writing candidates into empty clip slots of its track.

A clip in a slot has no time line: its Score begins on the bar line at or before its start, in the clip's own beats.
A clip in the arrangement is told in the song's beats. Live's API tells the tempo and meter in force, no map.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

from .connection import AGAIN, Failure

if TYPE_CHECKING:  # evaluated, these would need a newer Python than Live 11 has
    from collections.abc import Generator

    Answer = Generator[Any, None, Any]
    Row = tuple[float, int, float, int]  # start in beats, pitch, duration, velocity

TICKS = 960


def tick(beats: float) -> int:
    return math.floor(beats * TICKS + 0.5)


class Source:
    """The clip that is selected: its track, its slot (None in the arrangement), and the beats that sound."""

    def __init__(self, track: Any, clip: Any, slot: int | None) -> None:
        self.track, self.clip, self.slot = track, clip, slot
        self.bar = 4.0 * clip.signature_numerator / clip.signature_denominator
        if slot is None:
            self.start, self.end = float(clip.start_time), float(clip.end_time)
            first = self.start
        else:
            self.start, self.end = float(clip.loop_start), float(clip.loop_end)
            first = min(self.start, float(clip.start_marker))  # a pickup sounds once, before the loop
        self.origin = math.floor(first / self.bar + 1e-9) * self.bar
        self.first = first


class Blank:
    """Where a sketch goes: into the scene that is selected, on tracks of its own behind all others."""

    track = None

    def __init__(self, song: Any, slot: int) -> None:
        self.clip, self.slot = song, slot  # a song has a time signature as a clip has
        self.start = self.end = self.origin = 0.0


def written(clip: Any, start: float, end: float) -> list[Row]:
    """The notes in a span of the clip's own beats."""
    notes = clip.get_notes_extended(0, 128, start, end - start)
    rows = [(n.start_time, n.pitch, n.duration, max(1, min(127, round(n.velocity)))) for n in notes if not n.mute]
    return sorted(row for row in rows if start - 1e-9 <= row[0] < end - 1e-9)


def sounding(clip: Any, start: float, end: float) -> list[Row]:
    """What an arrangement clip plays between two beats of the song, loops written out, cut at its end."""
    end = min(end, clip.end_time)
    if not clip.looping:
        spans = [(clip.start_time, clip.start_marker, clip.start_marker + clip.end_time - clip.start_time)]
    else:
        spans, at, inside = [], clip.start_time, clip.start_marker
        while at < end and clip.loop_end > inside:
            spans.append((at, inside, clip.loop_end))
            at, inside = at + clip.loop_end - inside, clip.loop_start
    rows = []
    for at, first, last in spans:
        for begin, pitch, length, velocity in written(clip, first, last):
            place = at + begin - first
            if start - 1e-9 <= place < end - 1e-9:
                rows.append((place, pitch, min(length, end - place), velocity))
    return sorted(rows)


class LiveSet:
    """The verbs of integrations.base.Daw as generators, over Live's Song."""

    def __init__(self, song: Any, live: Any) -> None:
        self._song, self._live = song, live
        self._proposal = None  # type: dict[str, Any] | None

    @property
    def shown(self) -> int:
        return int(self._proposal["shown"]) if self._proposal else 0

    # --- Reading ------------------------------------------------------------------------------------------

    def _source(self) -> Source:
        clip = self._song.view.detail_clip
        slot = self._song.view.highlighted_clip_slot
        if clip is None and slot is not None and slot.has_clip:
            clip = slot.clip
        if clip is None or not clip.is_midi_clip:
            raise Failure("empty", "No MIDI clip is selected", "Click a MIDI clip, then ask again.")
        if clip.is_arrangement_clip:
            track = clip.canonical_parent
            while not hasattr(track, "clip_slots"):  # a clip in a take lane belongs to the lane
                track = track.canonical_parent
            return Source(track, clip, None)
        slot = clip.canonical_parent
        track = slot.canonical_parent
        places = [index for index, other in enumerate(track.clip_slots) if other == slot]
        return Source(track, clip, places[0])

    def _find(self, reference: dict[str, Any]) -> Any:
        """The clip that was read, a Source, or the Blank of a sketch; Failure where it is gone."""
        if reference["clip"] is None:
            return Blank(self._song, reference["slot"])
        for track in self._song.tracks:
            if reference["slot"] is None:
                for clip in self._on_time_line(track):
                    if clip._live_ptr == reference["clip"]:
                        return Source(track, clip, None)
            elif track._live_ptr == reference["track"]:
                for index, slot in enumerate(track.clip_slots):
                    if slot.has_clip and slot.clip._live_ptr == reference["clip"]:
                        return Source(track, slot.clip, index)
        raise _changed()

    @staticmethod
    def _on_time_line(track: Any) -> list[Any]:
        clips = list(getattr(track, "arrangement_clips", ()))
        for lane in getattr(track, "take_lanes", ()):  # Live 12
            clips += list(lane.arrangement_clips)
        return clips

    def _stamp(self, source: Any) -> str:
        clip = source.clip
        if source.track is None:
            return repr((clip.tempo, clip.signature_numerator, clip.signature_denominator))
        facts = [source.slot, source.start, source.end, source.first, clip.signature_numerator]
        facts += [clip.signature_denominator, clip.looping, clip.loop_start, clip.loop_end]
        notes = sounding(clip, source.start, source.end) if source.slot is None else written(clip, -1e6, 1e6)
        return hashlib.sha256(repr((facts, notes)).encode("ascii")).hexdigest()

    def _span(self, source: Source, action: str) -> tuple[float, float]:
        """Start and end of what is selected: the bars of the selected notes for a fill, else the whole clip."""
        selected = []  # type: list[Any]
        if action == "fill" and hasattr(source.clip, "get_selected_notes_extended"):
            selected = list(source.clip.get_selected_notes_extended())
        if not selected:
            return source.start, source.end
        shift = 0.0 if source.slot is not None else source.start - source.clip.start_marker
        begin = min(note.start_time for note in selected) + shift
        end = max(note.start_time for note in selected) + shift
        begin = math.floor(begin / source.bar + 1e-9) * source.bar
        end = (math.floor(end / source.bar + 1e-9) + 1) * source.bar
        return max(source.start, begin), min(source.end, end)

    def _read_blank(self) -> dict[str, Any]:
        song = self._song
        blank = Blank(song, list(song.scenes).index(song.view.selected_scene))
        bar = 4.0 * song.signature_numerator / song.signature_denominator
        return {
            "tpq": TICKS,
            "origin": 0.0,
            "length": tick(bar),
            "tempos": [[0, round(60000000 / song.tempo)]],
            "meters": [[0, song.signature_numerator, song.signature_denominator]],
            "tracks": [],
            "scale": self._scale(),
            "selection": {"start": 0, "end": 1, "tracks": []},
            "stamp": self._stamp(blank),
            "reference": {"track": None, "clip": None, "slot": blank.slot, "origin": 0.0},
        }

    def read(self, message: dict[str, Any]) -> Answer:
        if message["action"] == "sketch":
            return self._read_blank()
        source = self._source()
        start, end = self._span(source, message["action"])
        state = self._stamp(source)
        origin, stop = source.origin, source.end
        if source.slot is None and message["before"]:
            origin = max(0.0, origin - message["before"] * source.bar)
            stop += message["after"] * source.bar
        tracks, place = [], 0  # type: list[dict[str, Any]], int
        for track in list(self._song.tracks):
            yield
            if not track.has_midi_input:
                continue
            if track == source.track:
                place = len(tracks)
                rows = self._rows(source, origin, stop)
            else:
                rows = self._beside(track, source, origin, stop)
                if not rows:
                    continue
            notes = [[tick(at - origin), pitch, max(1, tick(length)), loud] for at, pitch, length, loud in rows]
            tracks.append({"name": track.name, "notes": notes, "drum": _is_drum(track), "program": 0, "channel": 0})
        if state != self._stamp(source):
            raise Failure("changed", "The clip was changed while it was read", "Ask again.")
        last = math.ceil((stop - origin) / source.bar - 1e-9) * source.bar
        return {
            "tpq": TICKS,
            "origin": origin,
            "length": tick(last),
            "tempos": [[0, round(60000000 / self._song.tempo)]],
            "meters": [[0, source.clip.signature_numerator, source.clip.signature_denominator]],
            "tracks": tracks,
            "scale": self._scale(),
            "swing": float(getattr(self._song, "swing_amount", 0.0)),
            "selection": {"start": tick(start - origin), "end": tick(end - origin), "tracks": [place]},
            "stamp": state,
            "reference": {
                "track": source.track._live_ptr,
                "clip": source.clip._live_ptr,
                "slot": source.slot,
                "origin": origin,
            },
        }

    def _rows(self, source: Source, start: float, end: float) -> list[Row]:
        if source.slot is not None:
            return written(source.clip, source.first, source.end)
        rows = self._beside(source.track, source, start, end)
        if all(clip._live_ptr != source.clip._live_ptr for clip in source.track.arrangement_clips):
            rows = sorted(rows + sounding(source.clip, start, end))  # it lies in a take lane
        return rows

    def _beside(self, track: Any, source: Source, start: float, end: float) -> list[Row]:
        """What another track plays along: its clips in the arrangement, or its clip in the same scene."""
        if source.slot is None:
            clips = [clip for clip in track.arrangement_clips if clip.is_midi_clip and not clip.muted]
            return sorted(row for clip in clips for row in sounding(clip, start, end))
        slots = track.clip_slots
        slot = slots[source.slot] if source.slot < len(slots) else None
        if slot is None or not slot.has_clip or not slot.clip.is_midi_clip:
            return []
        clip = slot.clip
        length = clip.loop_end - clip.loop_start
        rows, at = [], source.start
        while at < source.end and length > 0:
            for begin, pitch, duration, velocity in written(clip, clip.loop_start, clip.loop_end):
                place = at + begin - clip.loop_start
                if place < source.end:
                    rows.append((place, pitch, min(duration, source.end - place), velocity))
            at += length
        return sorted(rows)

    def _scale(self) -> dict[str, Any] | None:
        song = self._song
        if not getattr(song, "scale_mode", False):
            return None
        return {"root": song.root_note, "name": song.scale_name, "intervals": list(song.scale_intervals)}

    # --- Writing ------------------------------------------------------------------------------------------

    def write(self, message: dict[str, Any]) -> Answer:
        source = self._find(message["reference"])
        if self._stamp(source) != message["stamp"]:
            raise _changed()
        candidates = message["candidates"]
        if not candidates or not candidates[0]["parts"]:
            return {"placed": 0}
        self._song.begin_undo_step()
        made = {"shown": 1, "clips": [], "tracks": [], "source": message["reference"]}  # type: dict[str, Any]
        try:
            for place in range(len(candidates[0]["parts"])):
                self._write_part(source, candidates, place, message, made)
        except Exception:
            self._drop(made)
            raise
        finally:
            self._song.end_undo_step()
        self._proposal = made
        self._show(made["clips"][0][0])
        yield AGAIN
        for clips in made["clips"]:
            for entry in clips:
                clip = self._clip_of(entry)
                if clip is None or len(written(clip, -1e6, 1e6)) != entry["count"]:
                    raise Failure("failed", "Live did not keep all notes", "Undo, then ask again.")
        return {"placed": len(candidates)}

    def _write_part(
        self, source: Any, candidates: list[Any], place: int, message: dict[str, Any], made: dict[str, Any]
    ) -> None:
        origin = message["reference"]["origin"]
        first = candidates[0]["parts"][place]
        if first["track"] is None:
            index = -1  # behind all others
            if source.track is not None:
                index = list(self._song.tracks).index(source.track) + 1 + len(made["tracks"])
            self._song.create_midi_track(index)
            track = self._song.tracks[index]
            track.name = first["name"]
            made["tracks"].append(track._live_ptr)
            row = source.slot or 0
        else:
            track = source.track
            row = (source.slot if source.slot is not None else -1) + 1
            if track.is_frozen:
                raise Failure("failed", "The track is frozen, so it takes no clips", "Unfreeze it, then ask again.")
        for number, candidate in enumerate(candidates):
            part = candidate["parts"][place]
            row = self._free_slot(track, row)
            slot = track.clip_slots[row]
            fill = message["action"] == "fill"
            if fill and source.slot is not None:
                track.clip_slots[source.slot].duplicate_clip_to(slot)
                clip, shift, at = slot.clip, origin, None
                gone = {(int(start), int(pitch)) for start, pitch in part["removed"]}
                ids = [
                    note.note_id
                    for note in clip.get_notes_extended(0, 128, -1e6, 2e6)
                    if (tick(note.start_time - origin), note.pitch) in gone
                ]
                if ids:
                    clip.remove_notes_by_id(tuple(ids))
            else:
                begin, end = origin + part["start"] / TICKS, origin + part["end"] / TICKS
                if fill:
                    begin, end = source.start, source.end
                slot.create_clip(end - begin)
                clip, shift, at = slot.clip, origin - begin, begin
                clip.signature_numerator = source.clip.signature_numerator
                clip.signature_denominator = source.clip.signature_denominator
                if fill:
                    self._copy_kept(clip, source, part["removed"], origin)
            clip.name = candidate["label"]
            self._add(clip, part["notes"], shift)
            entry = {
                "track": track._live_ptr,
                "row": row,
                "clip": clip._live_ptr,
                "at": at if source.slot is None else None,
                "count": len(written(clip, -1e6, 1e6)),
            }
            if number == len(made["clips"]):
                made["clips"].append([])
            made["clips"][number].append(entry)
            row += 1

    def _copy_kept(self, clip: Any, source: Source, removed: list[Any], origin: float) -> None:
        gone = {(int(start), int(pitch)) for start, pitch in removed}
        rows = sounding(source.clip, source.start, source.end)
        kept = [row for row in rows if (tick(row[0] - origin), row[1]) not in gone]
        self._add(
            clip, [[at * TICKS, pitch, length * TICKS, loud] for at, pitch, length, loud in kept], -source.start
        )

    def _add(self, clip: Any, notes: list[Any], shift: float) -> None:
        make = self._live.Clip.MidiNoteSpecification
        clip.add_new_notes(
            tuple(
                make(pitch=pitch, start_time=start / TICKS + shift, duration=length / TICKS, velocity=velocity)
                for start, pitch, length, velocity in notes
            )
        )

    def _free_slot(self, track: Any, row: int) -> int:
        """The first empty slot at or below a row; scenes are added where there is none."""
        slots = track.clip_slots
        while row < len(slots) and slots[row].has_clip:
            row += 1
        while row >= len(track.clip_slots):
            self._song.create_scene(-1)
        return row

    # --- The proposal -------------------------------------------------------------------------------------

    def _slot_of(self, entry: dict[str, Any]) -> Any:
        """The slot of a candidate; None where the user has moved or undone it."""
        for track in self._song.tracks:
            if track._live_ptr == entry["track"]:
                for slot in track.clip_slots:
                    if slot.has_clip and slot.clip._live_ptr == entry["clip"]:
                        return slot
        return None

    def _clip_of(self, entry: dict[str, Any]) -> Any:
        slot = self._slot_of(entry)
        return None if slot is None else slot.clip

    def _show(self, entry: dict[str, Any]) -> Any:
        slot = self._slot_of(entry)
        if slot is not None:
            self._song.view.highlighted_clip_slot = slot
        return slot

    def _current(self) -> dict[str, Any]:
        if self._proposal and any(self._slot_of(entry) for clips in self._proposal["clips"] for entry in clips):
            return self._proposal
        self._proposal = None
        raise Failure("empty", "There is no proposal", "Ask for one first.")

    def audition(self, message: dict[str, Any]) -> Answer:
        proposal = self._current()
        number = max(0, min(len(proposal["clips"]), int(message["number"])))
        proposal["shown"] = number
        if number:
            for entry in proposal["clips"][number - 1]:
                slot = self._show(entry)
                if slot is not None:
                    slot.fire()
        else:
            source = self._find(proposal["source"])
            if source.track is None:
                for track in self._song.tracks:
                    if track._live_ptr in proposal["tracks"]:
                        track.stop_all_clips()
            elif source.slot is None:
                source.track.stop_all_clips()
            else:
                source.track.clip_slots[source.slot].fire()
        yield

    def accept(self, message: dict[str, Any]) -> Answer:
        proposal = self._current()
        if not proposal["shown"]:
            yield from self.cancel(message)
            return
        self._song.begin_undo_step()
        try:
            for number, clips in enumerate(proposal["clips"], 1):
                for entry in clips:
                    slot = self._slot_of(entry)
                    if slot is None:
                        continue
                    if number == proposal["shown"] and entry["at"] is not None:
                        slot.canonical_parent.duplicate_clip_to_arrangement(slot.clip, entry["at"])
                    if number != proposal["shown"] or entry["at"] is not None:
                        slot.delete_clip()
        finally:
            self._song.end_undo_step()
        self._proposal = None
        yield

    def cancel(self, message: dict[str, Any]) -> Answer:
        proposal = self._current()
        self._song.begin_undo_step()
        try:
            self._drop(proposal)
        finally:
            self._song.end_undo_step()
        self._proposal = None
        yield

    def _drop(self, proposal: dict[str, Any]) -> None:
        for clips in proposal["clips"]:
            for entry in clips:
                slot = self._slot_of(entry)
                if slot is not None:
                    slot.delete_clip()
        for made in reversed(proposal["tracks"]):
            for index, track in enumerate(self._song.tracks):
                if track._live_ptr == made and not any(slot.has_clip for slot in track.clip_slots):
                    self._song.delete_track(index)
                    break

    def undo(self, message: dict[str, Any]) -> Answer:
        if not self._song.can_undo:
            raise Failure("empty", "There is nothing to undo")
        self._song.undo()
        yield


def _changed() -> Failure:
    return Failure(
        "changed",
        "The music was changed after it was read, so nothing was written",
        "Ask again; the candidates that were made are kept.",
    )


def _is_drum(track: Any) -> bool:
    return any(getattr(device, "can_have_drum_pads", False) for device in track.devices)
