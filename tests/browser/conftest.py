"""A real Chromium looking at a real hub."""

import re
from contextlib import contextmanager

import pytest
from playwright.sync_api import sync_playwright

from hub.dashboard import STATIC
from tests.browser.town import Town

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--lang=en-GB"]
LOST = re.compile(r"Failed to load resource: net::ERR_(CONNECTION|INCOMPLETE|EMPTY|NETWORK)")
"""What Chromium itself writes to the console when a server goes away."""


@pytest.fixture(scope="session")
def chromium():
    assert (STATIC / "index.html").is_file(), "build the page first: python hatch_build.py"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def town(tmp_path):
    town = Town(tmp_path)
    town.open()
    yield town
    town.close()


class Viewer:
    """Opens pages of the hub and remembers everything that a console would have shown."""

    def __init__(self, chromium, town):
        self._chromium = chromium
        self._town = town
        self.complaints = []

    @contextmanager
    def context(
        self,
        *,
        width=1280,
        height=800,
        scheme="light",
        locale="en-GB",
        zone="Asia/Tokyo",
        **options,
    ):
        context = self._chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            locale=locale,
            timezone_id=zone,
            **options,
        )
        context.set_default_timeout(20_000)
        try:
            yield context
        finally:
            context.close()

    @contextmanager
    def page(self, path="/wall", **options):
        with self.context(**options) as context:
            yield self.open(context, path)

    def open(self, context, path="/wall"):
        page = context.new_page()
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.goto(f"{self._town.url}{path}")
        return page

    def _heard(self, message):
        if message.type in {"error", "warning"} and not LOST.match(message.text):
            self.complaints.append(f"{message.type}: {message.text}")


@pytest.fixture
def viewer(chromium, town):
    viewer = Viewer(chromium, town)
    yield viewer
    assert viewer.complaints == []
