"""The screen of styles: made from dropped files, proved on pieces it has not seen, and used with a slider."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from models.midi_file import save_midi
from tests.models.test_style import tune
from tests.page.conftest import Held, Opener
from tests.page.test_page import propose, state
from tests.page.test_page_access import findings
from tests.served import Served


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("music")
    paths = [folder / f"{number}.mid" for number in range(5)]
    for number, path in enumerate(paths):
        save_midi(tune(number, 240), path)
    return paths


@pytest.fixture
def page(open_page: Opener) -> Iterator[Page]:
    page = open_page(bypass_csp=True)
    page.keyboard.press("s")
    expect(page.get_by_role("dialog", name="Styles")).to_be_visible()
    yield page


def test_a_style_is_made_from_dropped_files_and_used(page: Page, server: Served, music: list[Path]) -> None:
    dialog = page.get_by_role("dialog", name="Styles")
    dialog.locator('input[name="style.name"]').fill("ada")
    page.set_input_files("#style-files", music)
    expect(dialog).to_contain_text("5 files are here")
    assert findings(page) == []
    dialog.locator('input[name="style.minutes"]').fill("0.05")
    dialog.get_by_role("button", name="Make it").click()
    making = dialog.get_by_role("region", name="Making the style ada")
    expect(making).to_contain_text("5 pieces with 1,200 notes")
    made = dialog.get_by_role("region", name="The style ada", exact=True)
    expect(made).to_contain_text("pieces it has not seen")
    assert findings(page) == []
    with server.client() as client:
        figures = client.style("ada")["nats_per_note"]
    expect(made.locator("meter")).to_have_count(2)
    shown = [made.locator("meter").nth(at).get_attribute("aria-label") for at in (0, 1)]
    assert shown == [f"{when}: {figures[f'own_{when}']:.2f} nats a note" for when in ("before", "after")]

    made.get_by_role("button", name="Use it").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator('select[name="style"]')).to_have_value("ada")
    page.locator('input[name="weight"]').fill("0.5")
    expect(page.locator(".chip output")).to_have_text("50 %")
    propose(page, 1, continue__bars="1")
    with server.client() as client:
        assert client.proposal(state(page)["proposal"]).words["style"] == "ada:0.5"
    page.locator(".card summary").click()
    expect(page.locator(".why dl")).to_contain_text("ada:0.5")

    page.keyboard.press("s")
    with page.expect_download() as taken:
        made.get_by_role("button", name="Save as a file").click()
    made.get_by_role("button", name="Delete").click()
    expect(made).to_have_count(0)
    page.set_input_files(
        "#style-files",
        {"name": "ada.zip", "mimeType": "application/zip", "buffer": taken.value.path().read_bytes()},
    )
    expect(made).to_be_visible()
    made.get_by_role("button", name="Delete").click()
    expect(made).to_have_count(0)


def test_no_style_is_made_from_half_of_the_files(page: Page, music: list[Path]) -> None:
    dialog = page.get_by_role("dialog", name="Styles")
    last = Held("POST", r"/trainings/.*file=4\.mid")
    last.begin(page.context)
    page.set_input_files("#style-files", music)
    expect(dialog).to_contain_text("4 files are here…")
    expect(dialog.get_by_role("button", name="Make it")).to_be_disabled()
    last.release()
    expect(dialog).to_contain_text("5 files are here")
    expect(dialog.get_by_role("button", name="Make it")).to_be_enabled()


def test_a_training_shows_how_far_it_is_and_can_be_stopped(page: Page, music: list[Path]) -> None:
    dialog = page.get_by_role("dialog", name="Styles")
    dialog.locator('input[name="style.folder"]').fill(str(music[0].parent / "nowhere"))
    dialog.get_by_role("button", name="Make it").click()
    expect(dialog.locator(".notice.bad")).to_contain_text("is not a folder")
    dialog.locator('input[name="style.folder"]').fill(str(music[0].parent))
    dialog.get_by_role("button", name="Make it").click()
    making = dialog.get_by_role("region", name="Making the style mine")
    expect(making.get_by_role("progressbar", name="Learned")).to_be_visible()
    expect(making).to_contain_text("left")
    assert findings(page) == []
    making.get_by_role("button", name="Stop").click()
    expect(making).to_contain_text("It can go on where it was")
    making.get_by_role("button", name="Forget it").click()
    expect(making).to_have_count(0)
