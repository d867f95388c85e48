"""Pictures of the dashboard into build/screenshots/: `python -m tests.browser.screenshots`."""

import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import sync_playwright

from gateway.model import State
from tests.browser.conftest import ARGUMENTS, CHROMIUM, Viewer
from tests.browser.town import Town

FOLDER = Path(__file__).parents[2] / "build" / "screenshots"
PHONE = {"width": 390, "height": 844, "device_scale_factor": 2}
NARROW = {"width": 360, "height": 740, "device_scale_factor": 2}
TV = {"width": 1920, "height": 1080}
MACHINE = "/m/ota/mc-100"
SHOTS = (
    ("wall-ja-light", "/wall?lang=ja", {**TV, "scheme": "light"}),
    ("wall-en-dark", "/wall?lang=en", {**TV, "scheme": "dark"}),
    ("wall-signal-worst", "/wall?lang=en&look=signal&sort=worst", TV),
    ("wall-compact", "/wall?lang=ja&density=compact", {"width": 1280, "height": 720}),
    ("wall-kiosk", "/wall?lang=ja&kiosk=1", {**TV, "scheme": "dark"}),
    ("wall-phone-ja-dark", "/wall?lang=ja&state=all", {**PHONE, "scheme": "dark"}),
    ("wall-phone-360", "/wall?lang=en", NARROW),
    ("machine-ja-light", f"{MACHINE}?lang=ja", {"width": 1440, "height": 1180}),
    ("machine-en-dark", f"{MACHINE}?lang=en", {"width": 1440, "height": 1180, "scheme": "dark"}),
    ("lite-ja-light", "/lite?lang=ja", {"width": 1280, "height": 900}),
    ("lite-en-dark", "/lite?lang=en", {"width": 1280, "height": 900, "scheme": "dark"}),
    ("machine-phone", f"{MACHINE}?lang=ja", {**PHONE, "height": 1600}),
)


def dramatise(town):
    """Give the town something to show: two machines down, three silent, a past for one."""
    from tests.browser.town import MINUTE_MS, wall_ms  # noqa: PLC0415 (told after the town is open)

    now = wall_ms()
    for site, machine, minutes in (("tsubame-sanjo", "mc-404", 52), ("suwa", "nl-305", 3)):
        since = now - minutes * MINUTE_MS
        town.change(site, machine, State.DOWN, reason="主軸過負荷 E-2041", since_ms=since)
    for machine in ("nl-213", "we-215"):
        town.silence("higashi-osaka", machine, ago_ms=109 * MINUTE_MS)
    town.remember("ota", "mc-100")


@contextmanager
def scene(folder):
    town = Town(Path(folder), per_site=16)
    town.open()
    try:
        dramatise(town)
        yield town
    finally:
        town.close()


def shoot(viewer, name, path, options):
    with viewer.page(path, **options) as page:
        page.locator(".tile, .banner, table").first.wait_for()
        if path.startswith("/m/"):
            page.locator(".uplot canvas").first.wait_for()
        # Names of sites, the pages of a wall screen and web fonts come a moment after the tiles.
        page.wait_for_timeout(1_800 if "kiosk" in path else 600)
        page.screenshot(path=FOLDER / f"{name}.png")
    sys.stdout.write(f"{FOLDER / name}.png\n")


def main():
    only = sys.argv[1:]
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, scene(folder) as town, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        viewer = Viewer(browser, town)
        for name, path, options in SHOTS:
            if not only or any(word in name for word in only):
                shoot(viewer, name, path, options)
        browser.close()
    if viewer.complaints:
        sys.stderr.write("\n".join(viewer.complaints) + "\n")


if __name__ == "__main__":
    main()
