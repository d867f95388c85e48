"""The page without script tells the same as the one with: words, colours, age, nothing stale."""

import httpx
import pytest
from starlette.applications import Starlette

from hub.access import EVERYTHING
from hub.dashboard import lite_routes
from hub.dashboard.lite import choose_language, duration, groups, style_sheet
from tests.hub.scenes import Scene

MINUTE_MS = 60_000


@pytest.fixture
def scene():
    scene = Scene()
    scene.add("mc-1")
    scene.add("press-1", site="suwa", kind="press")
    scene.read("mc-1", "running")
    scene.read("press-1", "down", site="suwa", reason="E-2041 <script>alert(1)</script>")
    return scene


@pytest.fixture
async def client(scene):
    page = Starlette(routes=lite_routes(scene.live, scene.registry, scene.clock))

    async def app(scope, receive, send):
        """Let in a caller who sees everything, as the hub's gate does when it is open."""
        await page({**scope, "state": {"view": EVERYTHING}}, receive, send)

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://hub"
    ) as client:
        yield client


async def test_it_shows_every_machine_by_site_in_the_language_asked_for(client):
    english = (await client.get("/lite?lang=en")).text
    assert "Ota Precision" in english
    assert "MC-1" in english
    assert "Running" in english
    japanese = (await client.get("/lite?lang=ja")).text
    assert "大田精密" in japanese
    assert "稼働" in japanese
    assert '<html lang="ja">' in japanese


async def test_slugs_are_spelled_and_a_name_that_says_the_kind_is_not_followed_by_it(scene, client):
    scene.add("press-2", site="suwa", kind="press")
    scene.add("bt-1", site="suwa", kind="bottle-turner")
    scene.read("bt-1", "waiting", site="suwa", reason="cap_bin-empty")
    page = (await client.get("/lite?lang=en")).text
    assert "Bottle turner" in page
    assert "Cap bin empty" in page
    assert "PRESS-2 <small></small>" in page


async def test_the_pages_own_time_is_in_the_zone_of_its_sites_or_in_utc_when_they_differ(client):
    assert " JST" in (await client.get("/lite?site=ota")).text
    assert " UTC" in (await client.get("/lite")).text


async def test_it_reloads_itself_is_never_cached_and_runs_no_script(client):
    answer = await client.get("/lite")
    assert answer.headers["refresh"] == "10"
    assert answer.headers["cache-control"] == "no-store"
    assert "<script" not in answer.text
    assert "<style" not in answer.text
    assert " style=" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_the_reloading_can_be_stopped_and_begun_again(client):
    assert "refresh=0" in (await client.get("/lite?lang=en")).text
    still = await client.get("/lite?lang=en&refresh=0")
    assert "refresh" not in still.headers
    assert "Reload by itself" in still.text


async def test_what_machines_say_is_text_and_never_markup(client):
    assert "&lt;script&gt;alert(1)" in (await client.get("/lite")).text


async def test_one_site_can_be_shown_alone_and_no_address_breaks_it(client):
    assert "MC-1" not in (await client.get("/lite?site=suwa&lang=en")).text
    hostile = await client.get("/lite", params={"site": '"><script>', "lang": "xx"})
    assert hostile.status_code == 200
    assert "<script" not in hostile.text


async def test_the_style_sheet_knows_every_state_in_both_themes(client):
    answer = await client.get("/lite.css")
    assert answer.headers["content-type"].startswith("text/css")
    assert answer.text == style_sheet()
    assert answer.text.count(".down{background:#B3261E;color:#FFFFFF") == 1
    assert answer.text.count(".down{background:#D0342C") == 1


def test_a_machine_that_fell_silent_is_no_data_since_its_last_reading(scene):
    read_ms = scene.clock.now_ms
    scene.clock.now_ms += 109 * MINUTE_MS
    (first, _) = groups(scene.live.machines(), scene.registry, scene.clock(), "en")
    (row,) = first.rows
    assert row.state == "unknown"
    assert row.elapsed == "1 h 49"
    assert row.read == row.since
    assert read_ms < scene.clock.now_ms


def test_times_are_those_of_the_site(scene):
    """The scene's clock shows 04:26:40 UTC on 18 November 2026; Ota is nine hours ahead."""
    ota, suwa = groups(scene.live.machines(), scene.registry, scene.clock(), "en")
    hours = [int(group.rows[0].read[:2]) for group in (ota, suwa)]
    assert (hours[0] - hours[1]) % 24 == 9


@pytest.mark.parametrize(
    ("asked", "accepted", "language"),
    [
        ("ja", "en", "ja"),
        (None, "ja-JP,ja;q=0.9,en;q=0.8", "ja"),
        (None, "fr, ja;q=0.5", "ja"),
        (None, "en-GB,en;q=0.9,ja;q=0.1", "en"),
        ("fr", "", "en"),
        (None, "", "en"),
    ],
)
def test_the_language_is_the_one_asked_for_else_the_browsers_else_english(
    asked, accepted, language
):
    assert choose_language(asked, accepted) == language


@pytest.mark.parametrize(
    ("minutes", "english", "japanese"),
    [
        (0, "< 1 min", "1分未満"),
        (27, "27 min", "27分"),
        (68, "1 h 08", "1時間08分"),
        (24 * 60 + 180, "1 d 3 h", "1日3時間"),
        (-5, "< 1 min", "1分未満"),
    ],
)
def test_durations_are_written_as_on_the_page_with_script(minutes, english, japanese):
    assert duration(minutes * MINUTE_MS, "en") == english
    assert duration(minutes * MINUTE_MS, "ja") == japanese
