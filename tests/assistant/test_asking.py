"""Words of a request against the command line, and requests on their way to the engine's process and back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant import asking, pipeline
from assistant.asking import OPERATIONS, build_request, describe_request, parse_words
from assistant.options import parse_arguments
from assistant.plain import from_plain, to_plain
from models.errors import UserError
from models.midi_file import read_midi
from models.score import Score
from tests.builders import AnyNotes, simple_score

CONTROLS: dict[str, st.SearchStrategy[Any]] = {
    "candidates": st.integers(1, 64),
    "seed": st.integers(0, (1 << 32) - 1),
    "temperature": st.floats(0, 2),
    "top_p": st.floats(0.01, 1),
    "key": st.sampled_from(["D minor", "Bb major", "F# dorian"]),
    "chords": st.sampled_from(["C | F G", "Am"]),
    "range": st.sampled_from(["C3-C5", "A2-E4"]),
    "density": st.sampled_from(["8", "2-8"]),
    "max_polyphony": st.integers(1, 8),
}
SOME = st.fixed_dictionaries({}, optional=CONTROLS)


@given(words=SOME, bars=st.integers(1, 256))
def test_words_and_the_command_line_ask_the_same(words: dict[str, Any], bars: int) -> None:
    line = [f"--{name.replace('_', '-')}={value}" for name, value in words.items()]
    typed = parse_arguments(["continue", "in.mid", "-o", "out.mid", f"--bars={bars}", *line])
    assert parse_words({"operation": "continue", "bars": bars, **words}) == typed


@given(words=SOME)
def test_a_request_that_is_described_can_be_asked_again(words: dict[str, Any]) -> None:
    score = simple_score(4, tracks=2)
    try:
        request = build_request(parse_words({"operation": "fill", "bars": "2-3", "seed": 1, **words}), score)
    except UserError:
        return  # the controls contradict each other
    described = describe_request("fill", request)
    again = {name: value for name, value in described.items() if name not in ("command", "style")}
    assert build_request(parse_words({"operation": "fill", **again}), score) == request


@given(
    words=st.dictionaries(
        st.sampled_from(["operation", "bars", "key", "candidates", "output", "text", "brief", "at", "style", "-o"]),
        st.sampled_from(["", "--force", "-", "=", "\0", "1", "continue", "sketch", "@file", 1.5, True, None])
        | st.lists(st.text(max_size=3) | st.integers(), max_size=3)
        | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    )
)
def test_any_words_are_arguments_or_a_sentence(words: dict[str, Any]) -> None:
    try:
        arguments = parse_words(words)
    except UserError as error:
        assert error.message and error.hint
        return
    # Nothing that was said reaches a file.
    assert (arguments.output, arguments.force, arguments.json) == (Path("out.mid"), False, False)
    assert arguments.command in OPERATIONS and getattr(arguments, "brief", None) is None


def test_every_operation_has_the_words_of_its_command() -> None:
    needed = {"bars": "2", "add": "bass", "with": "piano", "tracks": "1", "text": "louder"}
    for name, operation in OPERATIONS.items():
        words = {word: needed[word] for word in operation.words if word in needed}
        assert parse_words({"operation": name, **words}).command == name


# --- To the engine's process and back -----------------------------------------------------------------


def test_requests_and_candidates_come_back_equal(data_dir: Path) -> None:
    score = read_midi(data_dir / "song-voice-piano.mid").score
    said = {"key": "D minor", "chords": "Dm | Gm A7", "range": "C3-C5", "density": "2-8", "candidates": 2}
    for words in (
        {"operation": "continue", "bars": 2},
        {"operation": "accompany", "add": "bass, drums", **said},
        {"operation": "vary", "bars": "2-3", "strength": 0.4},
    ):
        request = build_request(parse_words({"seed": 5, **words}), score)
        there = from_plain(json.loads(json.dumps(to_plain(request))))
        assert there == request
        for candidate in pipeline.propose(there, AnyNotes()):
            back = from_plain(json.loads(json.dumps(to_plain(replace(candidate, request=None)))))  # type: ignore[arg-type]
            assert replace(back, request=there) == candidate


@pytest.mark.parametrize(
    "name",
    [
        "assistant.session:History",
        "os:system",
        "subprocess:Popen",
        "models.midi_file:save_midi",
        "models.score:replace",
        "models.score:dataclass",
        "assistant.pipeline:load_generator",
        "assistant.pipeline:Path",
        "assistant.pipeline:os",
        "models.score:__builtins__",
        "builtins:eval",
        "Note",
    ],
)
def test_nothing_but_data_is_made(name: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        from_plain({"is": name, "of": ["x"]})
    with pytest.raises(TypeError):
        to_plain(asking)
    assert from_plain(to_plain(Score())) == Score()
