"""What is heard: the server's synth, without a click and equally loud, and two candidates by ear alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
from playwright.sync_api import expect

from models.midi_file import write_midi
from models.score import Note, Score, Track
from models.synth.mix import LoudnessMeter
from tests.page.conftest import Opener
from tests.page.test_page import chip, propose, state
from tests.served import Served, wait_for

RATE = 48000
LOUDNESS = -18.0

# Keeps every sample that leaves the player.
TAP = """() => {
  const { context, master } = descant.player;
  window.samples = [];
  const tap = context.createScriptProcessor(1024, 1, 1);
  tap.onaudioprocess = ({ inputBuffer }) => window.samples.push(...inputBuffer.getChannelData(0));
  master.connect(tap).connect(context.destination);
}"""
PEAK = "() => Math.max(...window.samples.slice(-4096).map(Math.abs))"


def sound(server: Served, **asked: object) -> np.ndarray:
    """What the server answers to POST /sound, (samples, 2) from -1 to 1."""
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    status, _, body = server.raw("POST", "/sound", headers, json.dumps(asked).encode())
    assert status == 200, body
    return np.frombuffer(body, dtype="<i2").reshape(-1, 2) / 32768


def loudness(samples: np.ndarray) -> float:
    meter = LoudnessMeter()
    meter.add(np.ascontiguousarray(samples.T, dtype=np.float32))
    return meter.loudness()


def test_what_is_loud_and_what_is_soft_are_equally_loud(server: Served) -> None:
    scores = []
    with server.client() as client:
        for velocity, pitch in ((45, 60), (120, 72)):
            notes = tuple(Note(start, pitch + start % 7, 300, velocity) for start in range(0, 7680, 480))
            scores.append(client.upload(write_midi(Score(tracks=(Track("Piano", notes=notes),))), name="loud"))
    heard = [sound(server, score=score.id, begin=0) for score in scores]
    for samples in heard:
        assert abs(loudness(samples) - LOUDNESS) < 1
        assert np.abs(samples[0]).max() < 0.02 and np.abs(samples[-48:]).max() < 0.01
    whole, end = heard[0], sound(server, score=scores[0].id, begin=3840, end=7680)
    assert len(end) == pytest.approx(len(whole) - 4 * RATE, abs=RATE)
    silent = sound(server, score=scores[0].id, begin=0, silent=[1])
    assert not silent.any()


def test_play_is_heard_without_a_click_follows_and_falls_silent(open_page: Opener, server: Served) -> None:
    page = open_page()
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    wait_for(lambda: page.evaluate("() => Boolean(descant.player.playing?.source)"))
    assert page.evaluate("() => descant.player.playing.recording.frames") > 0
    page.evaluate(TAP)
    wait_for(lambda: page.evaluate("() => window.samples.length > 48000") and page.evaluate(PEAK) > 0.01)
    wait_for(lambda: page.evaluate("() => descant.stage.playhead > 0"))
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    wait_for(lambda: page.evaluate(PEAK) < 1e-6)
    heard = np.array(page.evaluate("() => window.samples"))
    steps = np.abs(np.diff(heard))
    last = np.flatnonzero(np.abs(heard) > 1e-6)[-1]
    assert steps[last - RATE // 20 :].max() <= steps[: last - RATE // 20].max()


def test_candidates_sound_as_soon_as_they_are_asked_for(open_page: Opener) -> None:
    page = open_page()
    propose(page, 2, **{"continue__bars": "2"})
    ready = (
        "() => descant.state.proposal.candidates.map(({recording}) => Boolean(recording?.done && recording.frames))"
    )
    wait_for(lambda: page.evaluate(ready) == [True, True])
    page.keyboard.press("2")
    expect(page.get_by_role("button", name="Stop candidate 2")).to_be_visible()
    wait_for(lambda: page.evaluate("() => descant.player.playing?.source?.next > 0"))
    page.keyboard.press("1")
    expect(page.get_by_role("button", name="Stop candidate 1")).to_be_visible()
    page.get_by_role("button", name="Silence Pianoforte").click()
    wait_for(lambda: page.evaluate("() => Boolean(descant.player.playing?.source)"))
    assert page.evaluate("() => [...descant.state.silent]") == [1]
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Hear candidate 1")).to_be_visible()


def test_two_are_compared_by_ear_alone(open_page: Opener, server: Served) -> None:
    page = open_page()
    propose(page, 3, **{"continue__bars": "2"})
    page.keyboard.press("b")
    comparison = page.get_by_role("group", name="Blind comparison")
    expect(comparison).to_contain_text("1 more after this")
    expect(page.locator(".card")).to_have_count(0)
    page.keyboard.press("1")
    expect(page.get_by_role("button", name="Stop A")).to_be_visible()
    assert state(page)["shown"] == 0  # or the notes on the stage would tell
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    expect(comparison).not_to_contain_text("more after this")
    page.get_by_role("button", name="A is better").click()
    said = page.locator(".blind strong").inner_text()
    page.get_by_role("button", name="Accept it").click()
    expect(page.locator(".card.accept .verdict")).to_have_text("Accepted")
    with server.client() as client:
        assert f"candidate {client.score(state(page)['score']).candidate}" == said


def test_notes_that_still_stream_are_heard_through_the_page_itself(open_page: Opener) -> None:
    page = open_page()
    page.locator('input[name="continue.bars"]').fill("256")
    chip(page, "candidates").fill("16")
    page.locator("button.main").click()
    expect(page.locator(".card .pad:enabled").first).to_be_visible()
    page.locator(".card .pad:enabled").first.click()
    wait_for(lambda: page.evaluate("() => Boolean(descant.player.playing?.source)"))
    assert page.evaluate("() => descant.player.playing.recording") is None
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    expect(page.locator("#cards")).to_contain_text("Stopped")
