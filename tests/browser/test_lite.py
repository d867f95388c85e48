"""The page without script, as a browser shows it that runs none."""

import pytest
from playwright.sync_api import expect

from gateway.model import State
from tests.browser.test_wall import objections

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_and_the_policy_lets_its_styles_pass(town, viewer, scheme):
    town.change("ota", "mc-100", State.DOWN, reason="E-2041")
    with viewer.page("/lite?lang=en", scheme=scheme) as page:
        expect(page.locator("tbody tr")).to_have_count(len(town.residents))
        down = page.locator(".state.down").first
        expect(down).to_have_text("Down")
        red = {"light": "rgb(179, 38, 30)", "dark": "rgb(208, 52, 44)"}[scheme]
        expect(down).to_have_css("background-color", red)
        assert objections(page) == []


def test_a_browser_without_script_is_shown_the_way_here(viewer):
    with viewer.page("/wall", java_script_enabled=False) as page:
        page.get_by_role("link", name="without script").click()
        expect(page.locator("h1")).to_have_text("Machines")


def test_it_fits_a_phone(viewer):
    with viewer.page("/lite?lang=ja", width=360, height=740, is_mobile=True) as page:
        expect(page.locator("h1")).to_have_text("設備の状態")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
