"""Free capacity over HTTP: each field that is asked is checked, and only what is shared is told."""

import json

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.specs.openapi import checks as promises

from hub.access import Grant, Group, Level, View
from hub.api import create_app
from hub.coordination.capacity.matching import CODES
from hub.coordination.directory.directory import Capability
from hub.store import Store
from tests.hub.coordination.towns import (
    HOUR,
    MIN,
    NOW,
    Region,
    lunch,
    north_of_home,
    shift,
    tokyo,
)

SEARCH = "/api/v1/capacity/search"
MACHINE = "/api/v1/machines/a/mc-1/capacity"
STEP = {"process": "milling-3axis", "quantity": 100}


@pytest.fixture
def region(tmp_path):
    yield from furnished(tmp_path)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    """Give a region that nothing is booked in, the same for many questions."""
    for region in furnished(tmp_path_factory.mktemp("region")):
        yield create_app(region.context)


@pytest.fixture
async def asker(untouched):
    """Give a client for questions that change nothing."""
    transport = httpx.ASGITransport(untouched, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
        yield client


def furnished(folder):
    store = Store.open(f"sqlite:///{folder}/coordination.sqlite")
    made = Region(store, folder / "history")
    made.site("a", north_of_home(1), shift(), lunch())
    made.machine("a", "mc-1", Capability("milling-3axis", cycle_s=60.0), rated_power_kw=10.0)
    made.context.capacity.board.refresh()
    yield made
    made.close()
    store.close()


@pytest.fixture
async def client(region):
    transport = httpx.ASGITransport(create_app(region.context), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
        yield client


@pytest.fixture
def seen_as(region, monkeypatch):
    """Let every caller see by a view."""

    def see(**levels):
        grant = Grant({Group(name): level for name, level in levels.items()})
        view = View.of([], {"a": [grant]}, NOW)
        monkeypatch.setattr(region.context.access, "view", lambda _caller: view)

    return see


async def search(client, status=200, **body):
    answer = await client.post(SEARCH, json={"steps": [STEP]} | body)
    assert answer.status_code == status, answer.text
    return answer.json()


# -- searching ---------------------------------------------------------------------------------


async def test_an_offer_says_who_when_how_sure_and_why_in_two_languages(client):
    told = await search(client, due="2026-11-20T08:00:00Z")

    (offer,) = told["offers"]
    assert (offer["site"], offer["machine"]) == ("a", "mc-1")
    assert offer["start"] == "2026-11-19T00:10:00.000Z"
    assert offer["end_p50"] == "2026-11-19T01:50:00.000Z"
    assert offer["end_p90"] == "2026-11-19T02:15:00.000Z"
    assert offer["valid_until"] == "2026-11-19T00:10:00.000Z"
    (lot,) = offer["steps"][0]["lots"]
    assert lot["segments"] == [{"start": offer["start"], "end": offer["end_p90"]}]
    # 17:00 in Tokyo on the 20th less 125 minutes.
    assert lot["latest_start"] == "2026-11-20T05:55:00.000Z"
    assert lot["energy_kwh"] == pytest.approx(10 * 100 / 60, abs=1e-3)
    assert lot["energy_co2_kg"] == pytest.approx(10 * 100 / 60 * 0.438, abs=1e-3)
    assert "100 parts at 60 s each" in offer["explanation"]["en"]
    assert "100個(1個60秒)" in offer["explanation"]["ja"]


async def test_an_offer_can_be_held_by_its_id(client):
    (offer,) = (await search(client))["offers"]
    body = {"offer_id": offer["offer_id"], "ttl_s": 600}

    held = await client.post(
        "/api/v1/reservations", json=body, headers={"Idempotency-Key": "order-1"}
    )

    assert held.status_code == 201, held.text
    again = (await search(client))["offers"][0]
    assert again["start"] > offer["end_p90"]


async def test_processes_are_understood_in_any_language_case_and_width(asker):
    for word in ("3-axis milling", "MILLING-3AXIS", "milling_3axis", "３軸フライス加工"):
        told = await search(asker, steps=[STEP | {"process": word}])
        assert len(told["offers"]) == 1, word


async def test_a_word_that_is_none_is_told_what_comes_near(asker):
    told = await search(asker, 422, steps=[STEP | {"process": "miling-3axis"}])

    assert "milling-3axis" in told["errors"][0]["detail"]


async def test_refusals_carry_a_code_of_the_list(client):
    told = await search(client, steps=[STEP | {"tolerance_it": 5}])

    assert told["offers"] == []
    assert [(r["site"], r["machine"], r["code"]) for r in told["rejected"]] == [
        ("a", "mc-1", "tolerance")
    ]
    assert {r["code"] for r in told["rejected"]} <= set(CODES)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"steps": []}, "body/steps"),
        ({"steps": [STEP] * 11}, "body/steps"),
        ({"steps": [STEP | {"process": "alchemy"}]}, "body/steps/0/process"),
        ({"steps": [STEP | {"process": ""}]}, "body/steps/0/process"),
        ({"steps": [STEP | {"process": "a\u0000b"}]}, "body/steps/0/process"),
        ({"steps": [STEP | {"material": "unobtainium"}]}, "body/steps/0/material"),
        ({"steps": [STEP | {"quantity": 0}]}, "body/steps/0/quantity"),
        ({"steps": [STEP | {"quantity": 1e9}]}, "body/steps/0/quantity"),
        ({"steps": [STEP | {"quantity": 1.5}]}, "body/steps/0/quantity"),
        ({"steps": [STEP | {"cycle_s": 0}]}, "body/steps/0/cycle_s"),
        ({"steps": [STEP | {"cycle_s": "1e999"}]}, "body/steps/0/cycle_s"),
        ({"steps": [STEP | {"setup_min": -1}]}, "body/steps/0/setup_min"),
        ({"steps": [STEP | {"envelope_mm": [1, 2]}]}, "body/steps/0/envelope_mm"),
        ({"steps": [STEP | {"envelope_mm": [1, 2, -3]}]}, "body/steps/0/envelope_mm/2"),
        ({"steps": [STEP | {"tolerance_it": 19}]}, "body/steps/0/tolerance_it"),
        ({"steps": [STEP | {"certifications": ["x" * 81]}]}, "body/steps/0/certifications/0"),
        ({"steps": [STEP | {"certifications": ["x"] * 11}]}, "body/steps/0/certifications"),
        ({"steps": [STEP | {"max_lots": 11}]}, "body/steps/0/max_lots"),
        ({"steps": [STEP | {"units": 0}]}, "body/steps/0/units"),
        ({"steps": [STEP | {"min_chunk_min": -1}]}, "body/steps/0/min_chunk_min"),
        ({"steps": [STEP | {"part_mass_kg": 0}]}, "body/steps/0/part_mass_kg"),
        ({"steps": [STEP | {"colour": "red"}]}, "body/steps/0/colour"),
        ({"earliest": "soon"}, "body/earliest"),
        ({"earliest": "1999-12-31T00:00:00Z"}, "body/earliest"),
        ({"earliest": "2027-03-01T00:00:00Z"}, "body/earliest"),
        ({"due": "2027-03-01T00:00:00Z"}, "body/due"),
        ({"due": "9999-01-01T00:00:00Z"}, "body/due"),
        ({"deliver_to": {"lat": 91, "lon": 0}}, "body/deliver_to/lat"),
        ({"deliver_to": {"lat": 0, "lon": 0, "alt": 0}}, "body/deliver_to/alt"),
        ({"radius_km": 5}, "body"),
        ({"radius_km": 0, "deliver_to": {"lat": 0, "lon": 0}}, "body/radius_km"),
        ({"sites": []}, "body/sites"),
        ({"sites": ["x"] * 101}, "body/sites"),
        ({"weights": {"time": -1}}, "body/weights/time"),
        ({"weights": {"luck": 1}}, "body/weights/luck"),
        ({"max_offers": 0}, "body/max_offers"),
        ({"max_offers": 51}, "body/max_offers"),
        ({"surprise": 1}, "body/surprise"),
    ],
)
async def test_each_mistake_is_told_with_its_place(asker, change, pointer):
    told = await search(asker, 422, **change)

    assert told["code"] == "invalid-request"
    assert pointer in {error["pointer"] for error in told["errors"]}


async def test_a_due_date_before_the_earliest_start_is_a_mistake(client):
    times = {"earliest": "2026-11-21T00:00:00Z", "due": "2026-11-20T00:00:00Z"}

    assert (await search(client, 422, **times))["errors"][0]["pointer"] == "body"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"steps": {}}', b"\xff", b"NaN"])
async def test_what_is_no_request_is_refused_and_nothing_more(asker, body):
    headers = {"Content-Type": "application/json"}

    answer = await asker.post(SEARCH, content=body, headers=headers)

    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"


async def test_the_largest_order_that_may_be_asked_is_answered(client):
    step = STEP | {"quantity": 10_000_000, "splittable": True, "max_lots": 10, "cycle_s": 1e7}
    told = await search(client, steps=[step] * 10, max_offers=50)

    assert told["offers"] == []


PROMISES = [
    schemathesis.checks.not_a_server_error,
    promises.status_code_conformance,
    promises.content_type_conformance,
    promises.response_schema_conformance,
    promises.negative_data_rejection,
]


@pytest.mark.parametrize(
    ("path", "method"), [(SEARCH, "POST"), ("/api/v1/machines/{site}/{machine}/capacity", "GET")]
)
@pytest.mark.parametrize("mode", ["POSITIVE", "NEGATIVE"])
def test_every_answer_is_one_that_the_document_knows(untouched, path, method, mode):
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", untouched)
    wanted = schemathesis.GenerationMode[mode]

    @seed(20_261_122)
    @settings(
        max_examples=30,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=schema[path][method].as_strategy(generation_mode=wanted))
    def attack(case):
        if mode == "POSITIVE" and case.path_parameters:
            case.path_parameters = {"site": "a", "machine": "mc-1"}
        case.call_and_validate(checks=PROMISES)

    attack()


# -- one machine over time ---------------------------------------------------------------------


async def test_a_day_is_told_in_hours_worked_held_reserved_and_free(client):
    (offer,) = (await search(client))["offers"]
    body = {"offer_id": offer["offer_id"], "ttl_s": 600}
    await client.post("/api/v1/reservations", json=body, headers={"Idempotency-Key": "k"})
    query = {"from": "2026-11-19T00:00:00Z", "to": "2026-11-20T15:00:00Z", "bucket": "day"}

    told = (await client.get(MACHINE, params=query)).json()

    assert (told["basis"], told["time_zone"], told["units"]) == ("calendar", "Asia/Tokyo", 1)
    today, tomorrow = told["buckets"]
    # From nine: three hours before noon and four after it; 125 minutes of them are held.
    assert (today["available_h"], today["reserved_h"]) == (7.0, 0.0)
    assert today["held_h"] == pytest.approx(125 / 60, abs=1e-3)
    assert today["free_h"] == pytest.approx(7 - 125 / 60, abs=1e-3)
    assert (tomorrow["available_h"], tomorrow["free_h"]) == (8.0, 8.0)
    assert tomorrow["start"] == "2026-11-19T15:00:00.000Z"


async def test_hours_and_shifts_add_up_to_the_day(client):
    query = {"from": "2026-11-19T15:00:00Z", "to": "2026-11-20T15:00:00Z"}
    sums = {}
    for bucket in ("hour", "shift", "day"):
        told = (await client.get(MACHINE, params=query | {"bucket": bucket})).json()
        sums[bucket] = sum(each["free_h"] for each in told["buckets"])
        assert told["bucket"] == bucket

    assert sums == {"hour": 8.0, "shift": 8.0, "day": 8.0}


async def test_without_told_hours_nothing_is_claimed(client, region):
    region.site("b", None)
    region.machine("b")

    told = (await client.get("/api/v1/machines/b/mc-1/capacity")).json()

    assert told["basis"] == "undefined"
    assert {each["free_h"] for each in told["buckets"]} == {None}


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({"from": "2026-11-20", "to": "2026-11-19"}, 400, "bad-range"),
        ({"from": "2026-11-01"}, 400, "bad-range"),
        ({"to": "2027-06-01"}, 400, "bad-range"),
        ({"from": "1999-01-01"}, 422, "invalid-request"),
        ({"bucket": "minute"}, 422, "invalid-request"),
        ({"to": "2027-01-17T00:00:00Z", "bucket": "hour"}, 200, None),
    ],
)
async def test_ranges_are_bounded(asker, query, status, code):
    answer = await asker.get(MACHINE, params=query)

    assert answer.status_code == status, answer.text
    assert answer.json().get("code") == code


async def test_machines_that_are_not_there_are_not_found(client):
    for path in ("a/none", "none/mc-1"):
        assert (await client.get(f"/api/v1/machines/{path}/capacity")).status_code == 404


# -- what is shown to others -------------------------------------------------------------------


async def test_who_is_not_shown_capacity_finds_nothing(client, seen_as):
    seen_as(presence=Level.FULL, capability=Level.FULL, status=Level.FULL)

    told = await search(client)

    assert (told["offers"], told["rejected"], told["rejected_total"]) == ([], [], 0)
    assert (await client.get(MACHINE)).status_code == 404


async def test_half_days_are_all_that_coarse_sharing_tells(client, seen_as):
    seen_as(presence=Level.FULL, capability=Level.FULL, capacity_calendar=Level.COARSE)

    (offer,) = (await search(client))["offers"]
    told = (await client.get(MACHINE, params={"bucket": "hour"})).json()

    assert offer["coarse"] is True
    assert offer["start"] == "2026-11-18T15:00:00.000Z"  # midnight in Tokyo
    assert offer["end_p90"] == "2026-11-19T03:00:00.000Z"  # noon in Tokyo
    (lot,) = offer["steps"][0]["lots"]
    assert (lot["segments"], lot["latest_start"], lot["cycle_s"]) == ([], None, None)
    assert (lot["basis"], lot["confidence"]) == ("not-shared", 0.475)
    assert "09:10" not in json.dumps(offer, ensure_ascii=False)
    assert (told["bucket"], told["release_basis"], told["confidence"]) == ("half-day", None, None)
    assert {(b["reserved_h"], b["held_h"]) for b in told["buckets"]} == {(None, None)}
    assert {b["start"][11:16] for b in told["buckets"]} == {"15:00", "03:00"}


# -- the live list -----------------------------------------------------------------------------


async def items(client):
    return {
        (i["site"], i["machine"]): i
        for i in (await client.get("/api/v1/availability")).json()["items"]
    }


async def test_the_live_list_says_when_and_for_how_long_a_machine_is_free(client):
    told = (await items(client))["a", "mc-1"]

    assert (told["free_now"], told["next_free_at"]) == (True, None)
    # Seven hours today, one tomorrow from eight to nine; seven days less what is past of today.
    assert told["free_hours"] == {"h24": 8.0, "d7": 56.0}
    assert told["confidence"] == 0.95


async def test_a_machine_that_is_booked_now_is_not_free_until_the_booking_ends(client, region):
    (offer,) = (await search(client))["offers"]
    body = {"offer_id": offer["offer_id"], "ttl_s": 6000}
    await client.post("/api/v1/reservations", json=body, headers={"Idempotency-Key": "k"})
    region.clock.now_ms = NOW + 11 * MIN
    region.say("a", "mc-1", "idle")
    region.context.capacity.board.refresh()

    told = (await items(client))["a", "mc-1"]

    assert (told["state"], told["free_now"]) == ("idle", False)
    assert told["next_free_at"] == offer["end_p90"]


async def test_a_machine_is_not_free_while_closed_and_is_from_the_next_morning(client, region):
    region.clock.now_ms = tokyo("2026-11-19 17:30")
    region.say("a", "mc-1", "idle")
    region.context.capacity.board.refresh()

    told = (await items(client))["a", "mc-1"]

    assert (told["free_now"], told["next_free_at"]) == (False, "2026-11-19T23:00:00.000Z")
    assert told["free_hours"]["h24"] == 8.0


async def test_a_running_machine_is_free_again_after_its_assumed_rest(client, region):
    region.say("a", "mc-1", "running")
    region.context.capacity.board.refresh()

    told = (await items(client))["a", "mc-1"]

    assert (told["free_now"], told["next_free_at"]) == (False, "2026-11-19T00:30:00.000Z")
    assert told["confidence"] == 0.65


async def test_nothing_but_the_present_is_known_of_a_machine_without_hours(client, region):
    region.site("b", None)
    region.machine("b")
    region.context.capacity.board.refresh()

    told = (await items(client))["b", "mc-1"]

    assert told["free_now"] is True
    assert (told["next_free_at"], told["free_hours"], told["confidence"]) == (None, None, None)


async def test_a_booking_shows_in_the_stream_without_any_word_of_the_machine(client, region):
    region.context.stream.tick()
    version = region.context.capacity.board.version
    (offer,) = (await search(client))["offers"]
    body = {"offer_id": offer["offer_id"], "ttl_s": 600}
    await client.post("/api/v1/reservations", json=body, headers={"Idempotency-Key": "k"})

    region.context.capacity.board.refresh()

    assert region.context.capacity.board.changed_since(version) == [("a", "mc-1")]
    ahead = region.context.capacity.board.of("a", "mc-1")
    assert ahead.d7 == pytest.approx(56.0 - 125 / 60, abs=0.06)
    assert ahead.h24 * HOUR < 8 * HOUR
