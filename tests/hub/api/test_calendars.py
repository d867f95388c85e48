"""Owners write their hours over HTTP, as JSON or iCalendar; others see them when they are shared.

- What is read can be written back; nobody overwrites what they have not read.
- Every mistake is named with its field, and nothing odd fails otherwise.
- Windows are what the calendars of site and machine come to.
- Whom the hours are not shared with does not learn that they are there.
"""

import httpx
import pytest

from hub.access import EVERYTHING, Caller, Grant, Group, Level, View
from hub.api import create_app
from hub.historian import open_historian
from hub.store import Store, audit, events
from tests.hub.contexts import new_context
from tests.hub.scenes import T0, Scene

SITE = "/api/v1/sites/ota/calendar"
MC = "/api/v1/machines/ota/mc-1/calendar"
WORKDAYS = ["mon", "tue", "wed", "thu", "fri"]
DAY_SHIFT = {"kind": "work", "start": "08:00", "end": "17:00", "weekdays": WORKDAYS}
CALENDAR = {
    "holidays": "JP",
    "production_day_start": "08:00",
    "rules": [
        DAY_SHIFT,
        {"kind": "break", "start": "12:00", "end": "13:00", "weekdays": WORKDAYS},
        {"kind": "work", "start": "22:00", "end": "06:00", "rrule": "FREQ=WEEKLY;BYDAY=MO",
         "valid_from": "2026-01-05", "exceptions": ["2026-02-02"], "attended": False},
    ],
    "exceptions": [{"date": "2026-12-29", "until": "2027-01-04", "label": "年末年始"}],
}  # fmt: skip
ICS = "text/calendar"


@pytest.fixture
def context(tmp_path):
    scene = Scene()
    scene.add("mc-1")
    scene.read("mc-1", "off")
    scene.add("odd\r\nX: 1", site="suwa")
    historian = open_historian(tmp_path, scene.index, memory_mib=64, raw_days=30, rollup_days=400)
    store = Store.open(f"sqlite:///{tmp_path}/coordination.sqlite")
    parts = {"live": scene.live, "registry": scene.registry, "now_ms": scene.clock}
    yield new_context(historian=historian, store=store, **parts)
    store.close()
    historian.close()


@pytest.fixture
async def client(context):
    transport = httpx.ASGITransport(create_app(context), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
        yield client


async def put(client, path, body, **headers):
    read = await client.get(path)
    headers = {"If-Match": read.headers["ETag"], **headers}
    if isinstance(body, bytes):
        return await client.put(path, content=body, headers=headers)
    return await client.put(path, json=body, headers=headers)


async def test_what_is_written_is_read_and_can_be_written_back(client, context):
    nothing = (await client.get(SITE)).json()
    assert (nothing["source"], nothing["calendar"]) == ("none", None)
    written = await put(client, SITE, CALENDAR)
    assert written.status_code == 200
    read = await client.get(SITE)
    assert read.headers["ETag"] == written.headers["ETag"]
    assert read.json()["source"] == "written"
    told = read.json()["calendar"]
    assert told["rules"][2]["rrule"] == "FREQ=WEEKLY;BYDAY=MO"
    again = await put(client, SITE, told)
    assert again.status_code == 200
    assert again.json()["calendar"] == told
    with context.store.read() as tx:
        assert [e.type for e in events.after(tx, 0, limit=9)] == ["calendar.changed"] * 2
        assert audit.head(tx)[0] == 2


async def test_nobody_overwrites_what_they_have_not_read(client):
    assert (await client.put(SITE, json=CALENDAR)).status_code == 428
    first = await put(client, SITE, CALENDAR)
    stale = {"If-Match": '"v0"'}
    assert (await client.put(SITE, json=CALENDAR, headers=stale)).status_code == 412
    assert (await client.delete(SITE, headers=stale)).status_code == 412
    assert (await client.delete(SITE)).status_code == 428
    gone = await client.delete(SITE, headers={"If-Match": first.headers["ETag"]})
    assert gone.status_code == 204
    assert (await client.get(SITE)).json()["source"] == "none"
    assert (await client.delete(SITE, headers=stale)).status_code == 404


async def test_a_machine_has_what_is_different_and_windows_are_what_it_comes_to(client):
    await put(client, SITE, {"rules": [DAY_SHIFT]})
    oil = {"date": "2026-11-25", "kind": "maintenance", "start": "09:00", "end": "10:00"}
    await put(client, MC, {"exceptions": [oil]})
    asked = {"from": "2026-11-25T00:00:00+09:00", "to": "2026-11-26T00:00:00+09:00"}
    answer = (await client.get(f"{MC}/windows", params=asked)).json()
    assert answer["time_zone"] == "Asia/Tokyo"
    assert [(w["start"][11:16], w["kind"], w["capacity_units"]) for w in answer["windows"]] == [
        ("15:00", "closed", 0),
        ("23:00", "working", 1),
        ("00:00", "maintenance", 0),
        ("01:00", "working", 1),
        ("08:00", "closed", 0),
    ]
    assert answer["windows"][-1]["end"] == "2026-11-25T15:00:00.000Z"
    default = (await client.get(f"{MC}/windows")).json()["windows"]
    assert default[0]["start"].startswith("2026-11-18T")  # the scene's clock


async def test_calendars_come_and_go_as_icalendar_files(client):
    await put(client, SITE, CALENDAR)
    file = await client.get(SITE, headers={"Accept": ICS})
    assert file.headers["Content-Type"].startswith(ICS)
    assert file.text.startswith("BEGIN:VCALENDAR\r\n")
    before = (await client.get(SITE)).json()["calendar"]
    written = await put(client, SITE, file.content, **{"Content-Type": ICS})
    assert written.status_code == 200
    after = written.json()["calendar"]
    assert after["exceptions"] == before["exceptions"]
    assert len(after["rules"]) == 3
    feed = await client.get("/api/v1/machines/ota/mc-1/calendar.ics")
    assert feed.text.count("BEGIN:VEVENT") > 50


MISTAKES = [
    ({"rules": [{**DAY_SHIFT, "start": "25:00"}]}, "body/rules/0/start"),
    ({"rules": [{**DAY_SHIFT, "start": "24:00"}]}, "body/rules/0/start"),
    ({"rules": [{**DAY_SHIFT, "end": "\uff18:00"}]}, "body/rules/0/end"),
    ({"rules": [{**DAY_SHIFT, "weekdays": ["someday"]}]}, "body/rules/0/weekdays/0"),
    ({"rules": [{**DAY_SHIFT, "weekdays": []}]}, "body/rules/0"),
    ({"rules": [{**DAY_SHIFT, "rrule": "FREQ=DAILY"}]}, "body/rules/0"),
    ({"rules": [{**DAY_SHIFT, "priority": 0}]}, "body/rules/0/priority"),
    ({"rules": [{**DAY_SHIFT, "capacity_units": 10**9}]}, "body/rules/0/capacity_units"),
    ({"rules": [{**DAY_SHIFT, "valid_from": "1999-12-31"}]}, "body/rules/0/valid_from"),
    ({"rules": [{**DAY_SHIFT, "label": "x" * 81}]}, "body/rules/0/label"),
    ({"rules": [{**DAY_SHIFT, "label": "a\u202eb"}]}, "body/rules/0/label"),
    ({"rules": [{**DAY_SHIFT, "surprise": 1}]}, "body/rules/0/surprise"),
    ({"rules": [DAY_SHIFT] * 65}, "body/rules"),
    ({"exceptions": [{"date": "2026-01-01", "until": "2028-01-01"}]}, "body/exceptions/0"),
    ({"exceptions": [{"date": "2026-01-01", "start": "08:00"}]}, "body/exceptions/0"),
    ({"time_zone": "Mars/Olympus"}, "body/time_zone"),
    ({"time_zone": "../../etc/passwd"}, "body/time_zone"),
    ({"holidays": "DE"}, "body/holidays"),
    ({"production_day_start": 8}, "body/production_day_start"),
    ([], "body"),
]


async def test_every_mistake_is_named_with_its_field(client):
    for change, pointer in MISTAKES:
        answer = await put(client, SITE, change)
        assert answer.status_code == 422
        assert pointer in [error["pointer"] for error in answer.json()["errors"]]
    assert (await client.get(SITE)).json()["source"] == "none"


async def test_odd_bodies_and_ranges_are_refused(client):
    tag = {"If-Match": '"v0"'}
    for body, kind, status in (
        (b"{}", "text/plain", 415),
        (b"{", "application/json", 422),
        (b'{"rules": NaN}', "application/json", 422),
        (b"[" * 20_000, "application/json", 422),
        (b"BEGIN:VCALENDAR", ICS, 422),
        (b"\xff", ICS, 422),
        (b" " * 70_000, "application/json", 413),
    ):
        told = {**tag, "Content-Type": kind}
        assert (await client.put(SITE, content=body, headers=told)).status_code == status
    for query in ("from=2026-01-02&to=2026-01-01", "from=2026-01-01&to=2028-01-01", "from=x"):
        assert (await client.get(f"{MC}/windows?{query}")).status_code in {400, 422}


async def test_a_machine_with_an_odd_name_has_a_feed_that_holds_together(client, context):
    [odd] = context.directory.machines("suwa")
    path = httpx.URL("http://hub/").copy_with(
        raw_path=b"/api/v1/machines/suwa/odd%0D%0AX%3A%201/calendar.ics"
    )
    assert odd.machine == "odd\r\nX: 1"
    answer = await client.get(path)
    assert answer.status_code == 200
    assert "\r\nX: 1" not in answer.text


async def test_whom_the_hours_are_not_shared_with_does_not_learn_of_them(client, context):
    await put(client, SITE, CALENDAR)
    stranger = Caller("key:stranger", "key", organisation="b", sites=frozenset({"suwa"}))
    shown = {Group.PRESENCE: Level.FULL, Group.CAPACITY_CALENDAR: Level.COARSE}

    def look_as(levels):
        view = View.of(["suwa"], {"ota": [Grant(levels)]}, T0)
        context.access.anonymous = lambda: stranger
        context.access.view = lambda _caller: view

    for levels, status in (
        ({}, 404),
        (shown, 404),
        ({**shown, Group.CAPACITY_CALENDAR: Level.FULL}, 200),
    ):
        look_as(levels)
        for path in (SITE, MC, f"{MC}/windows", f"{MC}.ics"):
            assert (await client.get(path)).status_code == status, path
    assert (await client.get(SITE)).json()["changed_by"] is None
    refused = await client.put(SITE, json=CALENDAR, headers={"If-Match": '"v1"'})
    assert refused.status_code in {403, 404}
    context.access.view = lambda _caller: EVERYTHING


async def test_what_is_off_while_nobody_works_is_closed_until_the_hours_begin(client, context):
    async def shown():
        return (await client.get("/api/v1/machines/ota/mc-1")).json()["state"]

    assert await shown() == "off"
    before = context.live.version
    await put(client, SITE, {"rules": [{**DAY_SHIFT, "start": "20:07"}]})  # 20 s from now
    assert [m.machine for m in context.live.changed_since(before)] == ["mc-1"]
    assert await shown() == "closed"
    machine = context.live.machine("ota", "mc-1")
    until_ms = machine.shown_until_ms(T0)
    assert until_ms == T0 + 20_000 - 1
    assert machine.state_at(until_ms) == "closed"
    assert machine.state_at(until_ms + 1) == "off"
