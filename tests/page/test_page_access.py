"""For everyone: what axe-core finds, small windows, and colours that stay apart for every kind of sight."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, expect

from tests.page.conftest import Opener, opened
from tests.page.test_page import propose
from tests.served import Served, served

ROOT = Path(__file__).resolve().parents[2]
AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
Colour = NDArray[np.float64]


def findings(page: Page) -> list[str]:
    """What axe-core calls serious or critical, with the element it found it at."""
    page.evaluate(AXE)
    result = page.evaluate("(tags) => axe.run(document, {runOnly: tags})", RULES)
    assert len(result["passes"]) > 10  # it did look
    return [
        f"{found['id']}: {node['html'][:120]}: {node['failureSummary'][:200]}"
        for found in result["violations"]
        if found["impact"] in ("serious", "critical")
        for node in found["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(open_page: Opener, scheme: str) -> None:
    page = open_page(color_scheme=scheme, bypass_csp=True)
    propose(page, key="C major")
    assert findings(page) == []
    page.locator("summary").first.click()
    page.keyboard.press("1")
    page.keyboard.press("k")
    expect(page.locator(".card.keep.shown")).to_be_visible()
    page.locator('input[name="chords"]').fill("not a chord")
    page.keyboard.press("Enter")
    expect(page.locator(".refusal")).to_be_visible()
    assert findings(page) == []
    page.locator("h1").click()
    for key in ("d", "r", "s", "c", "h", "?"):
        page.keyboard.press(key)
        expect(page.get_by_role("dialog"), key).to_be_visible()
        assert findings(page) == [], key
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("b")
    expect(page.get_by_role("group", name="Blind comparison")).to_be_visible()
    assert findings(page) == []


@pytest.fixture
def empty_server(tmp_path: Path, weights: Path) -> Iterator[Served]:
    with served(tmp_path, weights) as server:
        yield server


def test_the_way_in_is_sound_too(chromium: Browser, empty_server: Served) -> None:
    with opened(chromium, empty_server, bypass_csp=True) as page:
        expect(page.get_by_role("button", name="Aloha Oe")).to_be_visible()
        page.get_by_label("Describe a piece").fill("slow blues in A, piano and bass, 4 bars")
        page.get_by_role("button", name="more…").click()
        expect(page.locator('select[name="brief.swing"]')).to_be_visible()
        assert findings(page) == []


def test_a_phone_shows_everything_without_scrolling_sideways(open_page: Opener) -> None:
    page = open_page(bypass_csp=True, **PHONE)
    propose(page)
    assert page.evaluate("() => document.scrollingElement.scrollWidth") <= 390
    for part in page.locator(".chip, .card, button.main, .verbs").all():
        box = part.bounding_box()
        assert box and box["x"] >= 0 and box["x"] + box["width"] <= 390
    assert findings(page) == []
    for name in ("Record", "Styles", "Ports", "Save"):
        page.locator("nav").get_by_role("button", name=name).click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert (
            page.evaluate(
                "() => { const d = document.querySelector('dialog'); return d.scrollWidth - d.clientWidth; }"
            )
            <= 0
        )
        page.get_by_role("button", name="Close").click()


# --- Colours ------------------------------------------------------------------------------------------

# What is left of colours without one kind of cone, on linear RGB: Viénot, Brettel and Mollon (1999), and for the
# rare third kind Brettel, Viénot and Mollon (1997) in one plane.
SIGHT = {
    "all": np.eye(3),
    "no red cones": np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]),
    "no green cones": np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]),
    "no blue cones": np.array([[1, 0.1446, -0.1446], [0, 0.8592, 0.1408], [0, 0.8592, 0.1408]]),
}


def palette(theme: str) -> dict[str, Colour]:
    """The colours of a theme, linear RGB."""
    sheet = (ROOT / "assistant" / "page" / "page.css").read_text(encoding="utf-8")
    blocks = re.findall(r"^:root(\[data-theme=\"dark\"\])? \{(.*?)^\}", sheet, re.DOTALL | re.MULTILINE)
    text = {"dark" if dark else "light": block for dark, block in blocks}[theme]
    found: dict[str, Any] = re.findall(r"--([\w-]+): #([0-9a-f]{6});", text)
    return {name: linear(np.array([int(code[i : i + 2], 16) for i in (0, 2, 4)]) / 255) for name, code in found}


def linear(rgb: Colour) -> Colour:
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: Colour) -> Colour:
    """CIE L*a*b* of linear sRGB, D65."""
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = matrix @ np.clip(rgb, 0, 1) / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(one: Colour, other: Colour) -> float:
    weights = np.array([0.2126, 0.7152, 0.0722])
    high, low = sorted((float(one @ weights), float(other @ weights)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("sight", SIGHT)
def test_a_proposal_never_looks_like_the_users_notes(theme: str, sight: str) -> None:
    colours = palette(theme)
    for number in (1, 2, 3, 4):
        apart = lab(SIGHT[sight] @ colours["new"]) - lab(SIGHT[sight] @ colours[f"mine-{number}"])
        assert np.linalg.norm(apart) > 20, number


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_notes_stand_out_from_the_roll(theme: str) -> None:
    colours = palette(theme)
    for name in ("mine-1", "mine-2", "mine-3", "mine-4", "new"):
        for ground in ("roll", "roll-black"):
            assert contrast(colours[name], colours[ground]) >= 3, (name, ground)
