"""The andon wall tells, in a real Chromium and from a real hub, what every machine is doing.

Tiles appear and follow their machines; a hub that goes away is noticed, said and survived without
a reload, and no value ever disappears; keyboard, phone and both languages and colour schemes work;
axe-core finds nothing to object to; the content security policy holds and the console is silent.
"""

import json
import re
import threading

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import TimeoutError as PlaywrightTimeout
from playwright.sync_api import expect

from gateway.model import State
from tests.browser.town import MINUTE_MS, SITES, wall_ms

pytestmark = pytest.mark.browser

WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
LANGUAGES = {
    "ja": ("あんどん", "異常停止", "稼働", "ja-JP"),
    "en": ("Andon", "Down", "Running", "en-GB"),
}


def tile(page, key):
    return page.locator(f'.tile[data-key="{key}"]')


def some(town, state):
    return next(each for each in town.residents.values() if each.state is state)


def objections(page):
    found = Axe().run(page, options=WCAG).response["violations"]
    return [(each["id"], [node["html"][:120] for node in each["nodes"][:3]]) for each in found]


def test_every_machine_of_every_site_has_its_tile(town, viewer):
    with viewer.page("/") as page:
        expect(page.locator(".tile")).to_have_count(len(town.residents))
        expect(page.locator("main h2")).to_have_text([SITES[site][1] for site in sorted(SITES)])
        for resident in town.residents.values():
            found = tile(page, f"{resident.site}/{resident.machine}")
            expect(found).to_have_attribute("data-state", resident.state.value)


def test_a_machine_that_goes_down_turns_red_is_counted_and_announced_once(town, viewer):
    running = some(town, State.RUNNING)
    with viewer.page() as page:
        expect(tile(page, f"{running.site}/{running.machine}")).to_have_attribute(
            "data-state", "running"
        )
        before = int(page.locator('.chip[data-state="down"] b').inner_text())
        town.change(running.site, running.machine, State.DOWN, reason="Spindle overload")
        found = tile(page, f"{running.site}/{running.machine}")
        expect(found).to_have_attribute("data-state", "down")
        expect(found).to_contain_text("Spindle overload")
        expect(found).to_have_accessible_name(re.compile(r"Down < 1 min, Spindle overload"))
        expect(page.locator('.chip[data-state="down"] b')).to_have_text(str(before + 1))
        expect(page.locator("[aria-live]")).to_have_text(f"{running.machine.upper()}: Down")


def test_a_machine_that_falls_silent_becomes_no_data_with_the_time_of_its_last_word(town, viewer):
    silent = some(town, State.RUNNING)
    with viewer.page() as page:
        found = tile(page, f"{silent.site}/{silent.machine}")
        expect(found).to_have_attribute("data-state", "running")
        town.silence(silent.site, silent.machine, ago_ms=109 * MINUTE_MS + 30_000)
        expect(found).to_have_attribute("data-state", "unknown")
        expect(found).to_contain_text("1 h 49")
        expect(found).to_contain_text(re.compile(r"Last .*\d\d:\d\d · was Running"))
        assert found.evaluate("tile => getComputedStyle(tile).borderStyle") == "dashed"


def test_a_site_whose_agent_is_lost_says_so_in_its_heading_and_recovers(town, viewer):
    with viewer.page() as page:
        heading = page.locator("section", has=page.locator("#site-suwa"))
        expect(heading.locator(".tile")).to_have_count(5)
        expect(heading.locator(".lost")).to_have_count(0)
        town.agent_lost("suwa")
        expect(heading.locator(".lost")).to_contain_text("Site link lost")
        expect(heading.locator('.tile[data-state="unknown"]')).to_have_count(5)
        town.agent_back("suwa")
        expect(heading.locator(".lost")).to_have_count(0)
        expect(heading.locator('.tile[data-state="unknown"]')).to_have_count(0)


def test_a_hub_that_stops_is_amber_then_grey_and_back_without_a_reload_or_a_lost_value(
    town, viewer
):
    with viewer.page() as page:
        expect(page.locator(".tile")).to_have_count(len(town.residents))
        page.evaluate("window.sameDocument = true")
        words = page.locator(".tile .word").all_inner_texts()
        town.stop_hub()
        expect(page.locator(".bar")).to_have_attribute("data-fresh", "late", timeout=9_000)
        expect(page.locator(".bar")).to_contain_text(
            re.compile(r"showing \d\d:\d\d:\d\d", re.IGNORECASE)
        )
        expect(page.locator(".bar")).to_have_attribute("data-fresh", "lost", timeout=14_000)
        expect(page.locator("main")).to_have_css("filter", "saturate(0.4)")
        assert page.locator(".tile .word").all_inner_texts() == words
        changed = some(town, State.RUNNING)
        town.start_hub()
        town.change(changed.site, changed.machine, State.MAINTENANCE)
        expect(page.locator(".bar")).to_have_count(0, timeout=9_000)
        expect(tile(page, f"{changed.site}/{changed.machine}")).to_have_attribute(
            "data-state", "maintenance"
        )
        assert page.evaluate("window.sameDocument") is True


def test_a_connection_that_is_open_and_silent_is_given_up_and_made_anew(town, viewer):
    streams = []
    with viewer.context() as context:
        context.on("request", lambda request: streams.append(request.url))
        page = viewer.open(context)
        expect(page.locator(".tile")).to_have_count(len(town.residents))
        town.freeze()
        expect(page.locator(".bar")).to_have_attribute("data-fresh", "late", timeout=9_000)
        town.thaw()
        expect(page.locator(".bar")).to_have_count(0, timeout=12_000)


def test_without_a_shared_worker_the_page_is_live_all_the_same(town, viewer):
    with viewer.context() as context:
        context.add_init_script("delete window.SharedWorker")
        page = viewer.open(context)
        expect(page.locator(".tile")).to_have_count(len(town.residents))
        running = some(town, State.RUNNING)
        town.change(running.site, running.machine, State.DOWN)
        expect(tile(page, f"{running.site}/{running.machine}")).to_have_attribute(
            "data-state", "down"
        )


def test_tabs_of_one_browser_share_one_connection(town, viewer):
    with viewer.context() as context:
        pages = [viewer.open(context) for _ in range(3)]
        for page in pages:
            expect(page.locator(".tile")).to_have_count(len(town.residents))
        assert town.viewers() == 1
        for page in pages:
            page.close()
        deadline = wall_ms() + 15_000
        while town.viewers() and wall_ms() < deadline:
            threading.Event().wait(0.1)
        assert town.viewers() == 0


def test_the_wall_is_one_stop_of_the_tab_key_and_arrows_move_within_it(town, viewer):
    with viewer.page() as page:
        expect(page.locator(".tile")).to_have_count(len(town.residents))
        expect(page.locator('.tile[tabindex="0"]')).to_have_count(1)
        first, second = (page.locator(".tile").nth(n).get_attribute("data-key") for n in (0, 1))
        page.keyboard.press("Tab")
        expect(page.locator(".skip")).to_be_focused()
        page.locator(".tile").first.focus()
        page.keyboard.press("ArrowRight")
        expect(tile(page, second)).to_be_focused()
        expect(page.locator('.tile[tabindex="0"]')).to_have_count(1)
        above = tile(page, second).bounding_box()
        page.keyboard.press("ArrowDown")
        below = page.locator(".tile:focus").bounding_box()
        assert below["y"] > above["y"]
        page.keyboard.press("ArrowUp")
        expect(tile(page, second)).to_be_focused()
        page.keyboard.press("Home")
        expect(tile(page, first)).to_be_focused()
        page.keyboard.press("End")
        expect(page.locator(".tile").last).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator(".banner")).to_be_visible()
        page.go_back()
        expect(page.locator(".tile")).to_have_count(len(town.residents))


def test_the_tab_key_reaches_filters_settings_and_wall_and_nothing_is_a_trap(town, viewer):
    with viewer.page() as page:
        expect(page.locator(".tile")).to_have_count(len(town.residents))
        seen = []
        for _ in range(30):
            page.keyboard.press("Tab")
            seen.append(page.evaluate("document.activeElement.className"))
            if page.evaluate("document.activeElement === document.body"):
                break
        for stop in ("skip", "chip", "round", "tile"):
            assert stop in seen, seen
        assert seen.count("tile") == 1


def test_a_filter_shows_only_its_states_and_stands_in_the_address(town, viewer):
    town.change("ota", "mc-100", State.DOWN)
    with viewer.page() as page:
        expect(page.locator(".tile")).to_have_count(len(town.residents))
        page.locator('.chip[data-state="down"]').click()
        expect(page.locator('.tile:not([data-state="down"])')).to_have_count(0)
        expect(tile(page, "ota/mc-100")).to_be_visible()
        expect(page).to_have_url(re.compile(r"state=down"))
        page.reload()
        expect(page.locator('.chip[data-state="down"]')).to_have_attribute("aria-pressed", "true")
        expect(page.locator('.tile:not([data-state="down"])')).to_have_count(0)
        page.locator('.chip[data-state="down"]').click()
        expect(page.locator(".tile")).to_have_count(len(town.residents))


def test_worst_first_puts_the_machine_that_is_down_at_the_top(town, viewer):
    town.change("tsubame-sanjo", "we-403", State.DOWN)
    with viewer.page("/wall?sort=worst") as page:
        expect(page.locator(".tile").first).to_have_attribute("data-key", "tsubame-sanjo/we-403")


def test_a_small_fleet_fills_a_large_screen_and_keeps_its_places_under_a_filter(town, viewer):
    town.change("ota", "mc-100", State.DOWN)
    with viewer.page(width=1920, height=1080) as page:
        expect(page.locator(".tile")).to_have_count(20)
        expect(tile(page, "ota/mc-100")).to_have_attribute("data-state", "down")
        boxes = page.locator(".tile").evaluate_all(BOXES)
        assert max(right for _, right, _, _ in boxes) > 1920 - 40
        assert 1080 - 200 < max(bottom for *_, bottom in boxes) <= 1080
        assert page.evaluate("document.documentElement.scrollHeight") <= 1080
        large = tile(page, "ota/mc-100").bounding_box()
        page.locator('.chip[data-state="down"]').click()
        expect(page.locator('.tile:not([data-state="down"])')).to_have_count(0)
        filtered = tile(page, "ota/mc-100").bounding_box()
        assert (filtered["width"], filtered["height"]) == (large["width"], large["height"])
        page.locator('.chip[data-state="down"]').click()
        expect(page.locator(".tile")).to_have_count(20)
        page.set_viewport_size({"width": 1280, "height": 500})
        page.wait_for_function(
            "width => document.querySelector('.tile').offsetWidth < width", arg=large["width"]
        )


def test_a_wall_screen_shows_on_one_page_what_fits_on_it(viewer):
    with viewer.page("/wall?kiosk=1", width=1920, height=1080) as page:
        expect(page.locator(".tile")).to_have_count(20)
        boxes = page.locator(".tile").evaluate_all(BOXES)
        assert max(bottom for *_, bottom in boxes) <= 1080
        with pytest.raises(PlaywrightTimeout):
            page.locator(".pages").wait_for(timeout=2_500)


def test_the_clock_shows_the_time_of_the_sites_and_says_so_to_who_is_elsewhere(viewer):
    with viewer.page() as page:
        expect(page.locator(".clock time")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d$"))
    with viewer.page(zone="UTC") as page:
        expect(page.locator(".clock .zone")).to_have_text("GMT+9")
        written = page.locator(".clock time").inner_text()[:2]
        hours = {(wall_ms() // 3_600_000 + 9 + lag) % 24 for lag in (-1, 0)}
        assert int(written) in hours


def test_a_slug_that_nobody_translated_is_spelled_as_people_write(town, viewer):
    town.change("ota", "mc-100", State.WAITING, reason="cap_bin-empty")
    town.change("ota", "nl-101", State.DOWN, reason="machine-alarm")
    with viewer.page("/wall?lang=ja") as page:
        expect(tile(page, "ota/mc-100")).to_contain_text("Cap bin empty")
        expect(tile(page, "ota/nl-101")).to_contain_text("設備アラーム")


def test_a_site_has_a_wall_of_its_own(viewer):
    with viewer.page() as page:
        page.get_by_role("link", name="Suwa Machining").click()
        expect(page).to_have_url(re.compile(r"/wall\?site=suwa"))
        expect(page.locator(".tile")).to_have_count(5)
        expect(page.locator(".tile").first).to_have_attribute("data-key", re.compile("^suwa/"))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_either_language_and_scheme(town, viewer, language, scheme):
    town.change("ota", "mc-100", State.DOWN, reason="E-2041")
    town.silence("suwa", "mc-300", ago_ms=60 * MINUTE_MS)
    title, down, running, locale = LANGUAGES[language]
    with viewer.page(scheme=scheme, locale=locale) as page:
        expect(page.locator("html")).to_have_attribute("lang", language)
        expect(page.locator("h1")).to_have_text(title)
        expect(tile(page, "ota/mc-100").locator(".word")).to_have_text(down)
        expect(page.locator('.tile[data-state="running"] .word').first).to_have_text(running)
        expect(page.locator('.tile[data-state="unknown"]')).to_have_count(1)
        assert objections(page) == []


def test_the_settings_change_language_theme_and_density_and_are_remembered(town, viewer):
    with viewer.context() as context:
        page = viewer.open(context)
        expect(page.locator(".tile")).to_have_count(len(town.residents))
        page.get_by_role("button", name="Display settings").click()
        assert objections(page) == []
        page.get_by_label("日本語").check()
        expect(page.locator("h1")).to_have_text("あんどん")
        page.get_by_label("ダーク").check()
        page.get_by_label("コンパクト").check()
        expect(page.locator("html")).to_have_css("color-scheme", "dark")
        assert page.locator(".tile").first.bounding_box()["height"] == 56
        again = viewer.open(context)
        expect(again.locator("h1")).to_have_text("あんどん")
        expect(again.locator("html")).to_have_attribute("data-density", "compact")


def test_the_stack_light_look_makes_running_green_and_keeps_the_word(viewer):
    with viewer.page("/wall?look=signal") as page:
        found = page.locator('.tile[data-state="running"]').first
        expect(found).to_have_css("color", "rgb(30, 123, 52)")
        expect(found.locator(".word")).to_have_text("Running")


@pytest.mark.parametrize("language", LANGUAGES)
def test_on_a_phone_of_360_px_nothing_overlaps_or_leaves_the_screen(town, viewer, language):
    town.change("ota", "mc-100", State.DOWN, reason="A reason that is far too long for a tile")
    town.change("ota", "nl-101", State.MAINTENANCE, since_ms=wall_ms() - 147 * MINUTE_MS)
    path = f"/wall?lang={language}&state=all"
    with viewer.page(path, width=360, height=740, has_touch=True, is_mobile=True) as page:
        expect(page.locator(".tile")).to_have_count(len(town.residents))
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        assert overlaps(page, ".title, .end, .chips") == []
        assert overlaps(page, ".tile") == []
        for box in (".who", ".what", ".why"):
            assert overlaps(page, f".tile[data-key='ota/nl-101'] {box} > *") == []
        assert page.evaluate(WRAPPED) == []
        sizes = page.locator(".chip, .round").evaluate_all(
            "all => all.map(each => each.getBoundingClientRect().height)"
        )
        assert min(sizes) >= 44


def test_a_phone_begins_with_what_needs_attention_and_says_what_it_hides(town, viewer):
    with viewer.page(width=390, height=844) as page:
        expect(page.locator(".hidden")).to_contain_text("hidden")
        expect(page.locator('.tile[data-state="running"]')).to_have_count(0)
        page.get_by_role("button", name="Show all").click()
        expect(page.locator(".tile")).to_have_count(len(town.residents))


def test_english_states_are_not_cut_on_a_television(town, viewer):
    """The widest word beside a long time, at the narrowest width that a tile can have."""
    town.change("ota", "mc-100", State.MAINTENANCE, since_ms=wall_ms() - 147 * MINUTE_MS)
    for width in (1280, 1920):
        with viewer.page("/wall?lang=en", width=width, height=1080) as page:
            found = tile(page, "ota/mc-100").locator(".word")
            expect(found).to_have_text("Maintenance")
            assert found.evaluate("word => word.scrollWidth <= word.clientWidth"), width


def test_a_wall_screen_turns_pages_of_whole_rows_and_can_be_paused(viewer):
    with viewer.page("/wall?kiosk=1", width=800, height=600) as page:
        expect(page.locator(".pages")).to_contain_text(re.compile(r"Page 1 of [2-9]"))
        expect(page.locator(".round")).to_have_count(0)
        page.keyboard.press("PageDown")
        expect(page.locator(".pages")).to_contain_text("Page 2")
        assert page.evaluate("scrollY") > 0
        cut = page.evaluate(CUT)
        assert cut == []
        page.keyboard.press(" ")
        expect(page.locator(".pages")).to_contain_text("paused")


def test_a_wall_screen_loads_a_new_build_by_itself_and_only_once(town, viewer):
    with viewer.context() as context:
        context.add_init_script("Math.random = () => 0")
        page = viewer.open(context, "/wall?kiosk=1")
        expect(page.locator(".tile").first).to_be_visible()
        page.evaluate("window.old = true")
        town.stop_hub()
        with page.expect_navigation(timeout=15_000):
            town.start_hub(build="another")
        expect(page.locator(".tile").first).to_be_visible()
        page.evaluate("window.old = true")
        town.stop_hub()
        town.start_hub(build="another")
        expect(page.locator(".live")).to_have_text("Live")
        assert page.evaluate("window.old") is True


def test_the_policy_allows_nothing_inline_and_nothing_foreign(viewer):
    with viewer.page() as page:
        expect(page.locator(".tile").first).to_be_visible()
        policy = page.evaluate(
            "fetch('/').then(answer => answer.headers.get('content-security-policy'))"
        )
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        foreign = page.evaluate(
            "performance.getEntriesByType('resource').map(each => each.name)"
            ".filter(name => !name.startsWith(location.origin))"
        )
        assert foreign == []
        refused = page.evaluate(
            "() => new Promise(done => {"
            " document.addEventListener('securitypolicyviolation', e => done(e.violatedDirective));"
            " const script = document.createElement('script');"
            " script.textContent = 'window.ran = true';"
            " document.head.append(script); })"
        )
        assert refused.startswith("script-src")
        assert page.evaluate("window.ran") is None
    viewer.complaints = [each for each in viewer.complaints if "inline script" not in each]


def test_an_address_that_is_no_view_says_so(viewer):
    with viewer.page("/wall") as page:
        page.evaluate(
            "history.pushState(null, '', '/nowhere'); dispatchEvent(new Event('popstate'))"
        )
        expect(page.locator("h1")).to_have_text("This page does not exist.")
        page.get_by_role("link").click()
        expect(page.locator(".tile").first).to_be_visible()


WRAPPED = """() => [...document.querySelectorAll('.tile .word, .tile .long, .chip span, .parts')]
  .filter(each => each.getClientRects().length > 1 || each.getBoundingClientRect().height > 34)
  .map(each => each.textContent)"""

BOXES = """all => all.map(each => {
  const { left, right, top, bottom } = each.getBoundingClientRect();
  return [left, right, top, bottom]; })"""

CUT = """() => {
  const head = document.querySelector('header.top').getBoundingClientRect().bottom;
  const foot = document.querySelector('.curtain').getBoundingClientRect().top;
  return [...document.querySelectorAll('.tile')]
    .map(tile => [tile.dataset.key, tile.getBoundingClientRect()])
    .filter(([, box]) => (box.top < head - 1 && box.bottom > head + 1)
      || (box.top < foot - 1 && box.bottom > foot + 1))
    .map(([key]) => key);
}"""


def overlaps(page, selector):
    """Pairs of elements whose boxes share more than a pixel."""
    boxes = json.loads(
        page.evaluate(
            """selector => JSON.stringify([...document.querySelectorAll(selector)].map(each => {
              const { left, top, right, bottom } = each.getBoundingClientRect();
              return [each.className + ' ' + each.textContent, left, top, right, bottom]; })
              .filter(([, left, top, right, bottom]) => right > left && bottom > top))""",
            selector,
        )
    )
    return [
        (a[0], b[0])
        for n, a in enumerate(boxes)
        for b in boxes[n + 1 :]
        if min(a[3], b[3]) - max(a[1], b[1]) > 1 and min(a[4], b[4]) - max(a[2], b[2]) > 1
    ]
