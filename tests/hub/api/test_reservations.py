"""Reservations over HTTP: under a key, under an ETag, with a reason for every no.

- A hold is created once, however often it is asked for; a change needs the version that was read.
- Every mistake names its field, every refusal has its code, and nothing of either is stored.
- What is taken is told in intervals; whose it is only to who has part in it.
"""

import json

import httpx
import pytest

from hub.access import EVERYTHING, Caller, Grant, Group, Level, Role, View
from hub.api import create_app
from hub.columns import SeriesIndex
from hub.historian import open_historian
from hub.store import Store, audit, events
from tests.hub.contexts import new_context
from tests.hub.scenes import T0, Scene

URL = "/api/v1/reservations"
BUSY = "/api/v1/machines/ota/mc-1/busy"
HOURS = [f"2026-11-19T{hour:02d}:00:00Z" for hour in range(24)]
"""Of the day after the scene's present."""


@pytest.fixture
def scene():
    scene = Scene()
    for machine in ("mc-1", "mc-2"):
        scene.add(machine)
        scene.read(machine)
    scene.add("press-1", site="suwa")
    return scene


@pytest.fixture(scope="module")
def index():
    return SeriesIndex()


@pytest.fixture(scope="module")
def historian(index, tmp_path_factory):
    folder = tmp_path_factory.mktemp("history")
    engine = open_historian(folder, index, memory_mib=64, raw_days=30, rollup_days=400)
    yield engine
    engine.close()


@pytest.fixture
def context(scene, historian, tmp_path):
    store = Store.open(f"sqlite:///{tmp_path}/coordination.sqlite")
    parts = {"live": scene.live, "registry": scene.registry, "now_ms": scene.clock}
    yield new_context(historian=historian, store=store, **parts)
    store.close()


def client_of(app):
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://hub")


@pytest.fixture
async def client(context):
    async with client_of(create_app(context)) as client:
        yield client


@pytest.fixture
def become(context):
    """Let every request from here on come from a caller with a view."""

    def become(caller, view):
        context.access.anonymous = lambda: caller
        context.access.view = lambda _caller: view

    return become


async def open_ota(client):
    """Let the machines of the site work around the clock."""
    days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    rule = {"kind": "work", "start": "00:00", "end": "24:00", "weekdays": days}
    url = "/api/v1/sites/ota/calendar"
    tag = (await client.get(url)).headers["ETag"]
    written = await client.put(url, json={"rules": [rule]}, headers={"If-Match": tag})
    assert written.status_code == 200, written.text


def span(start, end):
    return {"start": HOURS[start], "end": HOURS[end]}


def body(*spans, **words):
    segments = [span(*each) for each in spans or [(9, 10)]]
    return {"site": "ota", "machine": "mc-1", "segments": segments, **words}


async def hold(client, told, key="key-1"):
    return await client.post(URL, json=told, headers={"Idempotency-Key": key})


async def act(client, made, action, told=None, tag=None):
    headers = {"If-Match": tag or made.headers["ETag"]}
    return await client.post(f"{made.headers['Location']}/{action}", json=told, headers=headers)


def rows(context):
    with context.store.read() as tx:
        return [e.type for e in events.after(tx, 0, limit=500)]


# -- the life of one -----------------------------------------------------------------------------


async def test_a_hold_is_created_at_its_own_place(client):
    made = await hold(client, body((9, 10), (11, 12), ttl_s=600, reference="注文 A-1"))

    assert made.status_code == 201
    assert made.headers["ETag"] == '"v1"'
    told = made.json()
    assert made.headers["Location"] == f"{URL}/{told['id']}"
    assert told["status"] == "held"
    assert told["reference"] == "注文 A-1"
    assert told["hold_expires"] == "2026-11-18T11:16:40.000Z"
    assert told["steps"] == [
        {
            "site": "ota",
            "machine": "mc-1",
            "units": 1,
            "unscheduled": True,
            "segments": [
                {"start": "2026-11-19T09:00:00.000Z", "end": "2026-11-19T10:00:00.000Z"},
                {"start": "2026-11-19T11:00:00.000Z", "end": "2026-11-19T12:00:00.000Z"},
            ],
        }
    ]
    read = await client.get(made.headers["Location"])
    assert (read.json(), read.headers["ETag"]) == (told, '"v1"')


async def test_confirmed_extended_released_each_under_the_tag_last_read(client):
    made = await hold(client, body())
    extended = await act(client, made, "extend", {"ttl_s": 1200})
    assert (extended.status_code, extended.headers["ETag"]) == (200, '"v2"')
    confirmed = await act(client, made, "confirm", tag='"v2"')
    assert confirmed.json()["status"] == "confirmed"
    released = await act(client, made, "release", tag='"v3"')
    assert released.json()["status"] == "released"
    assert (await client.get(BUSY, params=day())).json()["items"] == []


async def test_a_chain_is_one_reservation(client):
    steps = [
        {"site": "ota", "machine": "mc-1", "segments": [span(9, 10)]},
        {"site": "suwa", "machine": "press-1", "units": 1, "segments": [span(14, 16)]},
    ]
    made = await hold(client, {"steps": steps})
    assert made.status_code == 201
    assert [s["machine"] for s in made.json()["steps"]] == ["mc-1", "press-1"]
    again = await hold(client, {"steps": list(reversed(steps))}, key="key-2")
    assert again.status_code == 409
    assert {c["machine"] for c in again.json()["conflicts"]} == {"mc-1", "press-1"}


async def test_an_offer_of_a_search_can_be_held_by_its_id(client):
    await open_ota(client)
    steps = [{"process": "milling-3axis", "quantity": 10, "cycle_s": 60}]
    wanted = {"steps": steps, "earliest": HOURS[0]}
    search = await client.post("/api/v1/capacity/search", json=wanted)
    assert search.status_code == 200, search.text
    offer = search.json()["offers"][0]
    made = await hold(client, {"offer_id": offer["offer_id"]})
    assert made.status_code == 201, made.text
    gone = await hold(client, {"offer_id": "nobody-made-this"}, key="key-2")
    assert (gone.status_code, gone.json()["errors"][0]["pointer"]) == (404, "body/offer_id")


async def test_the_same_again_is_the_same_answer_and_another_is_a_mistake(client):
    first = await hold(client, body())
    again = await hold(client, body())
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["ETag"] == first.headers["ETag"]
    other = await hold(client, body((12, 13)))
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-mismatch")


# -- how it is refused ---------------------------------------------------------------------------


async def test_a_conflict_tells_when_and_what_else(client):
    await open_ota(client)
    await hold(client, body((9, 11)))
    refused = await hold(client, body((10, 12)), key="key-2")

    told = refused.json()
    assert refused.headers["content-type"] == "application/problem+json"
    assert (refused.status_code, told["code"]) == (409, "capacity-conflict")
    assert told["conflicts"] == [
        {
            "site": "ota",
            "machine": "mc-1",
            "start": "2026-11-19T10:00:00.000Z",
            "end": "2026-11-19T11:00:00.000Z",
        }
    ]
    assert 1 <= len(told["alternatives"]) <= 3
    other = {"steps": told["alternatives"][0]["steps"]}
    assert (await hold(client, other, key="key-3")).status_code == 201


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 428, "precondition-required"),
        ({"If-Match": '"v2"'}, 412, "stale"),
        ({"If-Match": "v1"}, 412, "stale"),
        ({"If-Match": '"nonsense"'}, 412, "stale"),
    ],
)
async def test_no_change_without_the_version_that_was_read(client, headers, status, code):
    made = await hold(client, body())
    for action in ("confirm", "release", "cancel", "extend"):
        told = {"ttl_s": 60} if action == "extend" else None
        url = f"{made.headers['Location']}/{action}"
        refused = await client.post(url, json=told, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (status, code)


async def test_what_ran_out_is_gone(client, scene):
    made = await hold(client, body(ttl_s=60))
    scene.clock.now_ms += 60_000
    for action, told in (("confirm", None), ("extend", {"ttl_s": 60}), ("release", None)):
        gone = await act(client, made, action, told)
        assert (gone.status_code, gone.json()["code"]) == (410, "hold-expired")
    assert (await client.get(made.headers["Location"])).json()["status"] == "expired"


async def test_what_is_over_cannot_be_changed(client):
    made = await hold(client, body())
    await act(client, made, "release")
    refused = await act(client, made, "confirm", tag='"v2"')
    assert (refused.status_code, refused.json()["code"]) == (409, "illegal-transition")


async def test_without_a_key_nothing_is_held(client, context):
    for headers in ({}, {"Idempotency-Key": ""}, {"Idempotency-Key": "x" * 256}):
        refused = await client.post(URL, json=body(), headers=headers)
        assert refused.status_code == 422
        assert "idempotency-key" in refused.json()["errors"][0]["pointer"].lower()
    assert rows(context) == []


async def test_what_is_not_there_is_not_found(client):
    for url in (f"{URL}/01HWX2PK2X04HMASW9NF6YY093", "/api/v1/machines/ota/none/busy"):
        assert (await client.get(url, params=day())).status_code == 404
    refused = await hold(client, body(machine="none") | {"machine": "none"})
    assert refused.status_code == 404
    assert refused.json()["errors"][0]["pointer"] == "body/machine"


INJECTIONS = ["'; DROP TABLE reservation; --", "' OR '1'='1", "%", "../../etc/passwd", "日本\u202e"]


@pytest.mark.parametrize("text", INJECTIONS)
async def test_odd_text_is_only_text(client, context, text):
    made = await hold(client, body(reference=text))
    assert made.json()["reference"] == text
    for words in ({"site": text}, {"machine": text}):
        refused = await hold(client, {**body(), **words}, key="key-2")
        assert refused.status_code == 404
        assert (await client.get(URL, params=words)).json()["items"] == []
    offered = await hold(client, {"offer_id": text}, key="key-3")
    assert offered.status_code == 404
    await act(client, made, "cancel", {"reason": text})
    [found] = (await client.get(URL)).json()["items"]
    assert (found["reason"], found["status"]) == (text, "cancelled")
    assert len(rows(context)) == 2


def changed(**words):
    return {**body(), **words}


NAN, INF = float("nan"), float("inf")
LONG = "x" * 5000
HOSTILE = [
    ("body/site", changed(site="")),
    ("body/site", changed(site=LONG)),
    ("body/site", changed(site=5)),
    ("body/site", changed(site=None) | {"site": ["ota"]}),
    ("body/site", changed(site="ota\x00")),
    ("body/site", changed(site="ota\r\nX: 1")),
    ("body/machine", changed(machine=LONG)),
    ("body/machine", changed(machine={"a": 1})),
    ("body/machine", changed(machine="\ud800")),
    ("body/units", changed(units=0)),
    ("body/units", changed(units=-1)),
    ("body/units", changed(units=2)),
    ("body/units", changed(units=1.0)),
    ("body/units", changed(units=True)),
    ("body/units", changed(units="1")),
    ("body/units", changed(units=NAN)),
    ("body/units", changed(units=INF)),
    ("body/units", changed(units=10**30)),
    ("body/ttl_s", changed(ttl_s=0)),
    ("body/ttl_s", changed(ttl_s=-5)),
    ("body/ttl_s", changed(ttl_s=86_401)),
    ("body/ttl_s", changed(ttl_s=NAN)),
    ("body/ttl_s", changed(ttl_s="60")),
    ("body/reference", changed(reference="")),
    ("body/reference", changed(reference=LONG)),
    ("body/reference", changed(reference="a\x00b")),
    ("body/reference", changed(reference="a\nb")),
    ("body/reference", changed(reference="\udfff")),
    ("body/reference", changed(reference=7)),
    ("body/offer_id", {"offer_id": LONG}),
    ("body/offer_id", {"offer_id": ""}),
    ("body/offer_id", {"offer_id": 7}),
    ("body/colour", changed(colour="red")),
    ("body/segments", changed(segments=[])),
    ("body/segments", changed(segments="now")),
    ("body/segments", changed(segments=[span(9, 10)] * 201)),
    ("body/segments/0", changed(segments=["now"])),
    ("body/segments/0/start", changed(segments=[{"end": HOURS[1]}])),
    ("body/segments/0/start", changed(segments=[{"start": 1_795_000_000, "end": HOURS[1]}])),
    ("body/segments/0/start", changed(segments=[{"start": NAN, "end": HOURS[1]}])),
    ("body/segments/0/start", changed(segments=[{"start": "yesterday", "end": HOURS[1]}])),
    (
        "body/segments/0/start",
        changed(segments=[{"start": "2026-11-19T09:00:00", "end": HOURS[10]}]),
    ),
    (
        "body/segments/0/start",
        changed(segments=[{"start": "1999-01-01T00:00:00Z", "end": HOURS[1]}]),
    ),
    (
        "body/segments/0/start",
        changed(segments=[{"start": "2026-11-18T09:00:00Z", "end": HOURS[1]}]),
    ),
    ("body/segments/0/end", changed(segments=[{"start": HOURS[9], "end": "2100-01-01T00:00:00Z"}])),
    ("body/segments/0/end", changed(segments=[{"start": HOURS[9], "end": "9999-12-31T23:59:59Z"}])),
    ("body/segments/0/end", changed(segments=[{"start": HOURS[9], "end": "2028-01-01T00:00:00Z"}])),
    ("body/segments/0/end", changed(segments=[span(10, 9)])),
    ("body/segments/0/end", changed(segments=[span(9, 9)])),
    ("body/segments/0/also", changed(segments=[span(9, 10) | {"also": 1}])),
    ("body/segments/1", changed(segments=[span(9, 11), span(10, 12)])),
    ("body/steps", {"steps": []}),
    ("body/steps", {"steps": [{"site": "ota", "machine": "mc-1", "segments": [span(9, 10)]}] * 21}),
    ("body/steps/0/units", {"steps": [{**body(), "units": -1}]}),
    ("body/steps/0/segments/1", {"steps": [body((9, 11), (10, 12))]}),
    ("body/steps/1/machine", {"steps": [body(), {**body((11, 12)), "machine": LONG}]}),
    ("body", {}),
    ("body", {"site": "ota", "machine": "mc-1"}),
    ("body", changed(steps=[body()])),
    ("body", changed(offer_id="o")),
    ("body", {"offer_id": "o", "units": 2}),
    ("body", []),
    ("body", "hold"),
    ("body", None),
]


async def test_every_mistake_names_its_field_and_nothing_is_stored(client, context):
    headers = {"Idempotency-Key": "key-1", "Content-Type": "application/json"}
    for pointer, told in HOSTILE:
        refused = await client.post(URL, content=json.dumps(told), headers=headers)

        assert refused.status_code == 422, (pointer, told, refused.text)
        assert refused.json()["code"] == "invalid-request"
        assert pointer in [error["pointer"] for error in refused.json()["errors"]], told
    assert rows(context) == []
    assert (await hold(client, body())).status_code == 201  # the key was not used up


async def test_what_is_no_json_is_refused(client):
    headers = {"Idempotency-Key": "key-1", "Content-Type": "application/json"}
    for raw in (b"", b"{", b"\xff\xfe", b"[" * 5000, b'{"units": 1e999}'):
        assert (await client.post(URL, content=raw, headers=headers)).status_code in {400, 422}


async def test_mistakes_in_a_change_change_nothing(client):
    made = await hold(client, body())
    for action, told, pointer in (
        ("extend", {}, "body/ttl_s"),
        ("extend", {"ttl_s": 0}, "body/ttl_s"),
        ("extend", {"ttl_s": 86_401}, "body/ttl_s"),
        ("extend", {"ttl_s": 60, "for": "me"}, "body/for"),
        ("extend", None, "body"),
        ("cancel", {"reason": LONG}, "body/reason"),
        ("cancel", {"reason": "a\x00b"}, "body/reason"),
        ("cancel", {"why": "x"}, "body/why"),
    ):
        refused = await act(client, made, action, told)
        assert refused.status_code == 422
        assert pointer in [error["pointer"] for error in refused.json()["errors"]]
    assert (await client.get(made.headers["Location"])).headers["ETag"] == '"v1"'


# -- lists and what is taken ---------------------------------------------------------------------


def day():
    return {"from": HOURS[0], "to": "2026-11-20T00:00:00Z"}


async def test_pages_join_to_the_whole_list(client, scene):
    made = []
    for hour in range(5):
        scene.clock.now_ms += 1
        made.append((await hold(client, body((hour, hour + 1)), key=f"k{hour}")).json()["id"])
    seen, cursor = [], None
    while True:
        words = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await client.get(URL, params=words)).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == made[::-1]


async def test_filters_narrow_the_list(client):
    made = await hold(client, body())
    await hold(client, body(machine="mc-2") | {"machine": "mc-2"}, key="key-2")
    await act(client, made, "confirm")

    async def found(**words):
        return [
            i["steps"][0]["machine"] for i in (await client.get(URL, params=words)).json()["items"]
        ]

    assert await found(status="confirmed") == ["mc-1"]
    assert await found(machine="mc-2") == ["mc-2"]
    assert await found(site="suwa") == []
    assert len(await found(mine=True)) == 2
    for words in ({"status": "lost"}, {"cursor": "x"}, {"limit": 0}, {"limit": 501}):
        assert (await client.get(URL, params=words)).status_code == 422


async def test_what_is_taken_is_told_without_names(client):
    await hold(client, body((9, 10), (11, 12), reference="secret"))
    told = await client.get(BUSY, params=day())

    assert told.json()["items"] == [
        {
            "start": "2026-11-19T09:00:00.000Z",
            "end": "2026-11-19T10:00:00.000Z",
            "units": 1,
            "status": "held",
        },
        {
            "start": "2026-11-19T11:00:00.000Z",
            "end": "2026-11-19T12:00:00.000Z",
            "units": 1,
            "status": "held",
        },
    ]
    assert "secret" not in told.text
    for words in (
        {"from": HOURS[3], "to": HOURS[2]},
        {"from": HOURS[0], "to": "2028-01-01T00:00:00Z"},
    ):
        assert (await client.get(BUSY, params=words)).status_code == 422


PLANNER = Caller(
    "kamata-planner", "key", "Kamata", "kamata", frozenset({Role.PLANNER}), frozenset({"kamata"})
)
OWNER = Caller("ota-admin", "key", "Ota", "ota", frozenset({Role.SITE_ADMIN}), frozenset({"ota"}))
OTHER = Caller(
    "suwa-planner", "key", "Suwa", "suwa", frozenset({Role.PLANNER}), frozenset({"suwa"})
)


def sees_ota(level):
    levels = {Group.PRESENCE: Level.FULL, Group.CAPACITY_CALENDAR: level}
    return {"ota": [Grant(levels)]}


async def test_the_booker_and_the_owner_see_it_and_others_only_that_it_is_taken(client, become):
    become(PLANNER, View.of(["kamata"], sees_ota(Level.FULL), T0))
    made = await hold(client, body(reference="A-1"))
    assert made.status_code == 201, made.text
    assert made.json()["mine"]

    become(OTHER, View.of(["suwa"], sees_ota(Level.FULL), T0))
    assert (await client.get(made.headers["Location"])).status_code == 404
    assert (await client.get(URL)).json()["items"] == []
    assert (await act(client, made, "confirm")).status_code == 404
    assert len((await client.get(BUSY, params=day())).json()["items"]) == 1

    become(OTHER, View.of(["suwa"], sees_ota(Level.COARSE), T0))
    assert (await client.get(BUSY, params=day())).status_code == 404
    assert (await hold(client, body((12, 13)))).status_code == 404

    become(OWNER, View.of(["ota"], {}, T0))
    seen = (await client.get(made.headers["Location"])).json()
    assert (seen["mine"], seen["created_by"], seen["reference"]) == (False, None, "A-1")
    assert (await act(client, made, "confirm")).status_code == 403
    cancelled = await act(client, made, "cancel", {"reason": "break-down"})
    assert cancelled.json()["status"] == "cancelled"

    become(PLANNER, View.of(["kamata"], {}, T0))
    assert (await client.get(made.headers["Location"])).json()["reason"] == "break-down"


async def test_every_change_is_in_the_audit_log_of_the_site(client, context, become):
    become(PLANNER, View.of(["kamata"], sees_ota(Level.FULL), T0))
    made = await hold(client, body())
    await act(client, made, "confirm")
    become(OWNER, EVERYTHING)
    await act(client, made, "cancel", {"reason": "fire"}, tag='"v2"')
    with context.store.read() as tx:
        found = [(e.who, e.action, e.site) for e in audit.before(tx, None, limit=10, sites=["ota"])]
    assert sorted(found) == [
        ("kamata-planner", "reservation.confirmed", "ota"),
        ("kamata-planner", "reservation.held", "ota"),
        ("ota-admin", "reservation.cancelled", "ota"),
    ]
