"""One machine in depth: its state and why, its past as pictures and as tables, its data's way."""

import itertools
import re

import pytest
from playwright.sync_api import expect

from gateway.model import State
from tests.browser.test_wall import LANGUAGES, objections, overlaps
from tests.browser.town import MINUTE_MS, wall_ms

pytestmark = pytest.mark.browser
MACHINE = "/m/ota/mc-100"

PAINTED = """canvas => {
  const { width, height } = canvas;
  const copy = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, width, height);
  const seen = new Map();
  for (let n = 0; n < data.length; n += 4) {
    if (data[n + 3] < 255) continue;
    const colour = [data[n], data[n + 1], data[n + 2]].join();
    seen.set(colour, [...(seen.get(colour) ?? []), (n / 4) % width]);
  }
  const inOrder = columns => [...new Set(columns)].sort((a, b) => a - b);
  return [...seen].map(([colour, columns]) => [colour, inOrder(columns)]);
}"""
"""The opaque colours of a canvas, each with the columns where it is seen."""


@pytest.fixture
def past(town):
    town.remember("ota", "mc-100")
    return town


def test_the_banner_says_what_since_when_why_and_by_what_evidence(town, viewer):
    town.change(
        "ota", "mc-100", State.DOWN, reason="E-2041", since_ms=wall_ms() - 52 * MINUTE_MS - 30_000
    )
    town.remember("ota", "mc-100")
    with viewer.page(MACHINE) as page:
        banner = page.locator(".banner")
        expect(banner).to_have_attribute("data-state", "down")
        expect(banner).to_contain_text("Down 52 min")
        expect(banner).to_contain_text(re.compile(r"since .*\d\d:\d\d"))
        expect(banner).to_contain_text("E-2041")
        expect(banner).to_contain_text("Spindle load")
        expect(page).to_have_title(re.compile("MC-100"))


@pytest.mark.usefixtures("past")
def test_a_machine_that_answers_no_more_keeps_its_trends_and_its_link_is_lost_at_once(town, viewer):
    town.refuse("ota", "mc-100")
    with viewer.page(MACHINE) as page:
        expect(page.locator(".banner")).to_contain_text(re.compile("No data .*was", re.DOTALL))
        expect(page.locator(".links li").first).to_contain_text("Lost")
        expect(page.locator(".trend canvas")).to_have_count(4)


@pytest.mark.parametrize(
    ("evidence", "japanese", "english"),
    [
        ("alarm true", "alarm：オン", "alarm: On"),  # noqa: RUF001 (Japanese punctuation)
        (
            "spindle_rpm 7042.123456 > 400 for 1.5 s",
            "spindle_rpm 7,042 > 400（1.5秒継続）",  # noqa: RUF001 (Japanese punctuation)
            "spindle_rpm 7,042 > 400 for 1.5 s",
        ),
        (
            "load has no value (not finite), alarm was never read",
            "load は値なし（数値でない）, alarm は未取得",  # noqa: RUF001 (Japanese punctuation)
            "load has no value (not a number), alarm was never read",
        ),
    ],
)
def test_evidence_is_written_in_the_viewers_language(town, viewer, evidence, japanese, english):
    town.residents["ota", "mc-100"].evidence = evidence
    town.remember("ota", "mc-100")
    for language, text in (("ja", japanese), ("en", english)):
        with viewer.page(f"{MACHINE}?lang={language}") as page:
            expect(page.locator(".banner")).to_contain_text(text)


@pytest.mark.usefixtures("past")
def test_the_timeline_is_drawn_and_walked_with_the_arrow_keys(viewer):
    with viewer.page(MACHINE) as page:
        lane = page.get_by_role("slider", name=re.compile("State timeline"))
        expect(lane).to_have_attribute("aria-valuetext", re.compile(r"Running, .* to now, "))
        colours = dict(page.locator(".lane canvas").evaluate(PAINTED))
        # Down and running in the colours of the light theme.
        assert {"196,40,28", "163,174,183"} <= set(colours)
        lane.focus()
        last = int(lane.get_attribute("aria-valuenow"))
        page.keyboard.press("ArrowLeft")
        expect(lane).to_have_attribute("aria-valuenow", str(last - 1))
        expect(page.locator(".pick")).to_be_visible()
        page.keyboard.press("Home")
        expect(lane).to_have_attribute("aria-valuenow", "0")


@pytest.mark.usefixtures("past")
def test_every_chart_has_its_data_as_a_table(viewer):
    with viewer.page(MACHINE) as page:
        states = page.get_by_role("region", name="States", exact=True)
        segments = states.get_by_role("slider")
        expect(segments).to_have_attribute("aria-valuetext", re.compile("Running"))
        count = int(segments.get_attribute("aria-valuemax")) + 1
        states.get_by_role("button", name="Table").click()
        expect(states.locator("tbody tr")).to_have_count(count)
        expect(states.locator("tbody tr").first).to_contain_text("now")
        trends = page.get_by_role("region", name="Trends")
        expect(trends.locator("canvas")).to_have_count(4)
        trends.get_by_role("button", name="Table").click()
        expect(trends.locator("table")).to_have_count(4)
        assert trends.locator("tbody tr").count() > 800
        expect(trends.locator("td", has_text="—").first).to_be_attached()


@pytest.mark.usefixtures("past")
def test_trends_are_drawn_and_leave_a_gap_where_nothing_was_measured(viewer):
    with viewer.page(MACHINE) as page:
        expect(page.locator(".uplot canvas")).to_have_count(4)
        page.wait_for_timeout(200)  # uPlot paints in a later microtask; there is no event for it
        canvas = page.locator(".trend", has_text="Power").locator("canvas")
        width = canvas.evaluate("canvas => canvas.width")
        columns = dict(canvas.evaluate(PAINTED))[
            "15,133,119"
        ]  # the second colour of the light theme
        assert columns[-1] - columns[0] > 0.8 * width
        widest = max(after - before for before, after in itertools.pairwise(columns))
        # Forty minutes of 24 hours are 2.8 % of the width.
        assert 0.015 * width < widest < 0.04 * width


@pytest.mark.usefixtures("past")
def test_pointing_at_one_trend_reads_all_of_them_at_that_instant(viewer):
    with viewer.page(MACHINE) as page:
        expect(page.locator(".uplot canvas")).to_have_count(4)
        box = page.locator(".u-over").first.bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] / 2)
        times = page.locator(".trend figcaption .muted")
        expect(times.first).to_contain_text(re.compile(r"\d\d:\d\d"))
        read = times.all_inner_texts()
        assert len(set(read)) == 1, read
        page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] / 2)
        expect(times.first).not_to_have_text(read[0])


@pytest.mark.usefixtures("past")
def test_signals_can_be_chosen_at_most_four_and_the_choice_stands_in_the_address(viewer):
    with viewer.page(MACHINE) as page:
        expect(page.locator(".trend")).to_have_count(4)
        expect(page.locator(".trend", has_text="Parts")).to_have_count(0)
        expect(page.get_by_role("checkbox", name="Parts")).to_be_disabled()
        page.get_by_role("checkbox", name="Coolant").uncheck()
        expect(page.locator(".trend")).to_have_count(3)
        page.get_by_role("checkbox", name="Parts").check()
        expect(page.locator(".trend", has_text="Parts")).to_be_visible()
        page.reload()
        expect(page.locator(".trend", has_text="Parts")).to_be_visible()
        expect(page.locator(".trend", has_text="Coolant")).to_have_count(0)


@pytest.mark.usefixtures("past")
def test_the_range_changes_what_is_asked_and_shown(viewer):
    with viewer.page(MACHINE) as page:
        expect(page.locator(".trend")).to_have_count(4)
        with page.expect_request(re.compile("/timeline")) as asked:
            page.get_by_role("button", name="8 h", exact=True).click()
        expect(page).to_have_url(re.compile("h=8"))
        assert "from=" in asked.value.url
        expect(page.get_by_role("button", name="8 h", exact=True)).to_have_attribute(
            "aria-pressed", "true"
        )


def test_a_machine_that_is_new_is_shown_over_the_hours_that_it_has(town, viewer):
    town.remember("ota", "mc-100", hours=3)
    town.remember("ota", "nl-101", hours=24)
    for machine, hours in (("mc-100", "8 h"), ("nl-101", "24 h")):
        with viewer.page(f"/m/ota/{machine}") as page:
            pressed = page.locator('.ranges [aria-pressed="true"]')
            expect(pressed).to_have_text(hours)


def test_live_values_follow_with_unit_quality_and_age(past, viewer):
    with viewer.page(MACHINE) as page:
        row = page.get_by_role("row", name=re.compile("^Power"))
        expect(row).to_contain_text("kW")
        expect(row).to_contain_text("Good")
        before = page.get_by_role("row", name=re.compile("^Coolant")).inner_text()
        running = page.locator(".count dd")
        expect(running).to_have_text(str(past.residents["ota", "mc-100"].parts))
        past.residents["ota", "mc-100"].parts += 1
        expect(running).to_have_text(str(past.residents["ota", "mc-100"].parts))
        assert "°C" in before


def test_a_cut_is_shown_where_it_is_machine_agent_or_page(past, viewer):
    with viewer.page(MACHINE) as page:
        steps = page.locator(".links li")
        expect(steps).to_have_count(3)
        expect(page.locator('.links li[data-link="ok"]')).to_have_count(3)
        past.silence("ota", "mc-100", ago_ms=5 * MINUTE_MS)
        expect(steps.nth(0)).to_have_attribute("data-link", "late")
        expect(page.locator(".banner")).to_have_attribute("data-state", "unknown")
        past.agent_lost("ota")
        expect(steps.nth(1)).to_have_attribute("data-link", "lost")
        expect(steps.nth(0)).to_have_attribute("data-link", "unknown")
        past.stop_hub()
        expect(steps.nth(2)).to_have_attribute("data-link", "late", timeout=9_000)


def test_a_state_that_changes_is_on_the_banner_and_on_the_timeline_at_once(past, viewer):
    with viewer.page(MACHINE) as page:
        lane = page.get_by_role("slider", name=re.compile("State timeline"))
        expect(lane).to_have_attribute("aria-valuetext", re.compile("Running"))
        past.change("ota", "mc-100", State.DOWN, reason="E-7", since_ms=wall_ms() - 3 * MINUTE_MS)
        expect(page.locator(".banner")).to_have_attribute("data-state", "down")
        expect(lane).to_have_attribute("aria-valuetext", re.compile(r"Down, .* to now, .*E-7"))


def test_a_machine_that_nobody_knows_is_said_to_be_unknown(viewer):
    with viewer.page("/m/ota/none") as page:
        expect(page.locator(".nothing")).to_have_text("This machine is not known here.")
    viewer.complaints = [each for each in viewer.complaints if "404" not in each]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_either_language_and_scheme(past, viewer, language, scheme):
    past.silence("ota", "mc-100", ago_ms=0)
    locale = LANGUAGES[language][3]
    with viewer.page(MACHINE, scheme=scheme, locale=locale) as page:
        expect(page.locator(".uplot canvas")).to_have_count(4)
        assert objections(page) == []
        # One signal: its table is built like those of four, and checked in a quarter of the time.
        page.goto(page.url.split("?")[0] + "?h=8&signals=Power")
        expect(page.locator(".uplot canvas")).to_have_count(1)
        for button in page.locator(".card .head > .small").all():
            button.click()
        assert objections(page) == []


@pytest.mark.usefixtures("past")
def test_on_a_phone_of_360_px_nothing_leaves_the_screen(viewer):
    with viewer.page(MACHINE, width=360, height=740, has_touch=True, is_mobile=True) as page:
        expect(page.locator(".uplot canvas")).to_have_count(4)
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        assert overlaps(page, ".card, .banner") == []
        assert overlaps(page, ".card .head > *") == []
