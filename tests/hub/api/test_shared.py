"""What one factory shows another over HTTP: as much as its owner says, in every answer alike."""

import asyncio
import json

import numpy as np
import pytest

from gateway.model import State
from hub.access import LOCAL
from hub.access.scopes import caller_of
from hub.api import create_app
from hub.columns import Columns, StateChange
from hub.historian import WriteBatch, open_historian
from hub.store.accounts import Scope
from hub.store.sharing import Terms
from hub.stream import Scope as StreamScope
from tests.hub.callers import bearer, http_client, new_access
from tests.hub.contexts import new_context
from tests.hub.scenes import T0, Scene

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
OWNER, CITY = Scope(("site-admin",), ("ota",)), Scope((), (), "ward", ("municipality",))
PRESENCE = {"presence": 3}
CITY_CALLER = caller_of("key:ward", "key", "ward", CITY)


@pytest.fixture
def scene():
    scene = Scene()
    for machine, state in (("mc-1", "running"), ("mc-2", "idle")):
        scene.add(machine)
        scene.read(machine, state, evidence="rpm > 50", reason="night shift", rpm=1200.0)
    return scene


@pytest.fixture
def historian(scene, tmp_path):
    engine = open_historian(tmp_path, scene.index, memory_mib=64, raw_days=30, rollup_days=400)
    series = scene.index.id("ota", "mc-1", "rpm")
    times = np.array([T0 - 3 * HOUR_MS, T0 - HOUR_MS, T0 - 60_000], np.int64)
    rows = Columns(
        series=np.full(3, series, np.int32),
        time_ms=times,
        value=np.array([1.0, 2.0, 3.0]),
        quality=np.zeros(3, np.uint8),
        reason=np.zeros(3, np.uint8),
        message=np.zeros(3, np.int32),
    )
    changes = [
        StateChange("ota", "mc-1", T0 - 2 * DAY_MS, State.IDLE, "no work", "rpm < 50"),
        StateChange("ota", "mc-1", T0 - 2 * HOUR_MS, State.RUNNING, "night shift", "rpm > 50"),
        StateChange("ota", "mc-1", T0 - 600_000, State.DOWN, "alarm", "light red"),
    ]
    engine.write(WriteBatch(rows, changes))
    yield engine
    engine.close()


@pytest.fixture
def access(small_store, scene):
    return new_access(small_store, scene.clock)


@pytest.fixture
def context(scene, historian, small_store, access):
    return new_context(
        live=scene.live,
        registry=scene.registry,
        historian=historian,
        store=small_store,
        now_ms=scene.clock,
        access=access,
    )


@pytest.fixture
async def owner(context, access):
    async with http_client(create_app(context)) as client:
        client.headers.update(bearer(access.accounts.create_key(LOCAL, "ota", OWNER, None)[1]))
        yield client


@pytest.fixture
async def city(context, access):
    async with http_client(create_app(context)) as client:
        client.headers.update(bearer(access.accounts.create_key(LOCAL, "ward", CITY, None)[1]))
        yield client


def share(access, levels, *, delay_s=0, until_ms=None):
    terms = Terms("municipality", levels, delay_s, until_ms)
    access.sharing.put(LOCAL, "ota", None, [terms])


async def listed(client, query=""):
    answer = await client.get(f"/api/v1/availability{query}")
    return {item["machine"]: item for item in answer.json()["items"]}


async def test_an_owner_writes_what_is_shared_and_it_holds_at_once(owner, city):
    assert await listed(city) == {}
    read = await owner.get("/api/v1/sites/ota/sharing")
    body = {"audiences": [{"audience": "municipality", "groups": {"presence": "full"}}]}
    path, tag = "/api/v1/sites/ota/sharing", {"If-Match": read.headers["etag"]}

    assert (await owner.put(path, json=body)).status_code == 428
    written = await owner.put(path, json=body, headers=tag)
    assert written.json()["audiences"][0]["groups"] == {"presence": "full"}
    assert (await owner.put(path, json=body, headers=tag)).status_code == 412
    assert set(await listed(city)) == {"mc-1", "mc-2"}

    tag = {"If-Match": written.headers["etag"]}
    await owner.put(path, json={"audiences": []}, headers=tag)
    assert await listed(city) == {}
    assert (await city.get("/api/v1/machines/ota/mc-1")).status_code == 404


async def test_presence_alone_tells_neither_state_nor_why_nor_what_for(city, access):
    share(access, PRESENCE)

    one = (await city.get("/api/v1/machines/ota/mc-1")).json()

    assert (one["state"], one["connectivity"]) == ("unknown", "online")
    hidden = ("since", "reason", "evidence", "free_now", "parts_good", "agent", "maker")
    assert [one[name] for name in hidden] == [None] * len(hidden)
    assert (one["processes"], one["signals"]) == ([], [])
    for tail in ("timeline", "signals/rpm/history"):
        answer = await city.get(f"/api/v1/machines/ota/mc-1/{tail}")
        assert answer.status_code == 404, tail


async def test_no_filter_finds_out_what_is_not_shown(city, access):
    share(access, PRESENCE)

    assert await listed(city, "?state=running") == {}
    assert await listed(city, "?process=milling-3axis") == {}
    assert set(await listed(city, "?state=unknown")) == {"mc-1", "mc-2"}
    # The site lies 300 m from the middle of its kilometre: the exact place must not be found.
    assert await listed(city, "?near=35.561,139.716&radius_km=0.1") == {}
    assert set(await listed(city, "?near=35.5625,139.71875&radius_km=0.1")) == {"mc-1", "mc-2"}
    share(access, PRESENCE | {"location_exact": 3})
    assert set(await listed(city, "?near=35.561,139.716&radius_km=0.1")) == {"mc-1", "mc-2"}


async def test_that_a_machine_is_free_can_be_shown_without_what_it_does(city, access):
    share(access, PRESENCE | {"capacity_calendar": 3})

    found = await listed(city)

    assert {name: (m["state"], m["free_now"]) for name, m in found.items()} == {
        "mc-1": ("unknown", False),
        "mc-2": ("unknown", True),
    }


async def test_every_group_opens_what_is_its_own(city, access):
    share(access, PRESENCE | {"status": 3, "job_detail": 3})
    one = (await city.get("/api/v1/machines/ota/mc-1")).json()
    assert (one["state"], one["reason"], one["evidence"]) == ("running", None, None)
    assert [signal["signal"] for signal in one["signals"]] == ["rpm"]

    share(access, PRESENCE | {"status": 3, "status_reason": 3, "capability": 3})
    one = (await city.get("/api/v1/machines/ota/mc-1")).json()
    assert (one["reason"], one["evidence"]) == ("night shift", "rpm > 50")
    assert (one["processes"], one["signals"]) == (["milling-3axis"], [])


async def test_coarsely_shared_states_are_whole_half_days_and_nothing_live(city, access):
    share(access, {"status": 2})

    one = (await city.get("/api/v1/machines/ota/mc-1")).json()
    answer = await city.get(
        "/api/v1/machines/ota/mc-1/timeline?from=2026-11-16T00:00:00Z&to=2026-11-19T00:00:00Z"
    )

    assert one["state"] == "unknown"
    told = answer.json()["intervals"]
    assert {i["source"] for i in told} == {"half-day"}
    assert {i["start"][11:] for i in told} <= {"03:00:00.000Z", "15:00:00.000Z"}
    assert [i["reason"] or i["evidence"] for i in told] == [None] * len(told)
    assert told[-1]["state"] == "idle"


async def test_what_is_shared_late_ends_where_it_is_not_old_enough(city, access):
    share(access, {"status": 3, "status_reason": 3, "job_detail": 3}, delay_s=3600)
    day = "from=2026-11-16T00:00:00Z&to=2026-11-19T00:00:00Z"

    live = (await city.get("/api/v1/machines/ota/mc-1")).json()
    timeline = (await city.get(f"/api/v1/machines/ota/mc-1/timeline?{day}")).json()["intervals"]
    history = (
        await city.get(f"/api/v1/machines/ota/mc-1/signals/rpm/history?{day}&agg=raw")
    ).json()

    assert (live["state"], live["connectivity"], live["signals"]) == ("unknown", "online", [])
    assert [(i["state"], i["end"]) for i in timeline][-1] == ("running", None)
    assert "down" not in {i["state"] for i in timeline}
    assert [row[1] for row in history["rows"]] == [1.0]


async def test_a_grant_that_ends_hides_everything_again(city, access, scene):
    share(access, {"status": 3}, until_ms=T0 + 5000)
    assert set(await listed(city)) == {"mc-1", "mc-2"}

    scene.clock.now_ms += 5000

    assert await listed(city) == {}


async def test_the_owner_sees_who_looked_at_what(owner, city, access):
    share(access, PRESENCE | {"status": 3})
    for _ in range(3):
        await city.get("/api/v1/machines/ota/mc-1/timeline")
    await listed(city)
    await listed(owner)

    found = (await owner.get("/api/v1/sites/ota/views")).json()["items"]

    assert {(each["name"], each["organisation"]) for each in found} == {("ward", "ward")}
    assert {tuple(each["groups"]): each["count"] for each in found} == {
        ("status",): 3,
        ("presence", "status"): 1,
    }
    page = (await owner.get("/api/v1/sites/ota/views?limit=1")).json()
    rest = (await owner.get(f"/api/v1/sites/ota/views?limit=1&cursor={page['next']}")).json()
    assert page["items"] + rest["items"] == found


async def test_an_owner_sees_its_site_with_others_eyes(owner, access):
    share(access, PRESENCE | {"kpi": 3}, delay_s=60)
    path = "/api/v1/sites/ota/sharing/preview?audience="

    city = (await owner.get(f"{path}municipality")).json()
    public = (await owner.get(f"{path}public")).json()
    own = (await owner.get(f"{path}self")).json()

    assert (city["sees"], city["groups"]["presence"], city["groups"]["kpi"]) == (
        True,
        "full",
        "none",
    )
    assert city["delays_s"] == {"kpi": 60}
    assert {m["state"] for m in city["machines"]} == {"unknown"}
    assert (public["sees"], public["machines"]) == (False, [])
    assert {m["state"] for m in own["machines"]} == {"running", "idle"}


async def test_the_audit_tells_each_its_own(owner, city, access):
    share(access, PRESENCE)

    mine = (await owner.get("/api/v1/audit")).json()["items"]

    assert "sharing.changed" in {entry["action"] for entry in mine}
    assert {entry["site"] for entry in mine} == {"ota"}
    assert (await city.get("/api/v1/audit")).status_code == 403


async def test_answers_of_two_views_are_never_mixed_up(owner, city, access):
    share(access, PRESENCE)

    told = [await (listed(owner) if i % 2 else listed(city)) for i in range(6)]

    assert [found["mc-1"]["state"] for found in told] == ["unknown", "running"] * 3


async def test_nobody_joins_a_group_to_see_what_its_members_show_each_other(owner, access):
    read = await owner.get("/api/v1/sites/ota")
    body = {"name": {"en": "Ota"}, "groups": ["keihin"]}

    answer = await owner.put(
        "/api/v1/sites/ota", json=body, headers={"If-Match": read.headers["etag"]}
    )

    assert (answer.status_code, answer.json()["code"]) == (403, "group-not-yours")
    owned = access.view(caller_of("key:x", "key", "x", OWNER))
    assert owned.sites == {"ota"}


# -- the stream ------------------------------------------------------------------------------------


def rows_of(frame):
    """Read the machines out of a frame of the stream."""
    text = frame.plain.decode()
    line = next(line for line in text.splitlines() if line.startswith("data: "))
    told = json.loads(line.removeprefix("data: "))
    return [dict(zip(told["cols"], row, strict=True)) for row in told.get("m", ())]


async def test_the_stream_tells_each_viewer_what_it_may_see(context, access):
    share(access, PRESENCE)
    view = access.view(CITY_CALLER)
    stream = context.stream
    async with (
        stream.follow(StreamScope(), None) as whole,
        stream.follow(StreamScope(), None, view) as masked,
    ):
        for viewer in (whole, masked):
            await viewer.next()
        every, some = rows_of(await whole.next()), rows_of(await masked.next())

    assert {row["state"] for row in every} == {"running", "idle"}
    assert {(row["state"], row["last_state"], row["since"], row["reason"]) for row in some} == {
        ("unknown", "unknown", None, None)
    }


async def test_viewers_of_one_view_share_their_frames(context, access):
    share(access, PRESENCE)
    view = access.view(CITY_CALLER)
    stream = context.stream
    async with (
        stream.follow(StreamScope(), None, view) as one,
        stream.follow(StreamScope(), None, view) as other,
    ):
        for viewer in (one, other):
            await viewer.next()
        assert await one.next() is await other.next()


async def test_an_alarm_frame_tells_nobody_what_its_state_would(context, access, scene):
    share(access, PRESENCE)
    stream = context.stream
    async with stream.follow(StreamScope(), None, access.view(CITY_CALLER)) as viewer:
        for _ in range(2):
            await viewer.next()
        scene.read("mc-1", "down", reason="spindle")
        scene.clock.now_ms += 1000
        stream.tick()
        told = (await viewer.next()).plain

    assert b"alarm" not in told
    assert b"spindle" not in told


@pytest.mark.parametrize("end", ["revoked", "hidden", "expired"])
async def test_an_open_stream_ends_when_its_viewer_may_no_longer_look(
    context, access, scene, monkeypatch, end
):
    monkeypatch.setattr("hub.api.admission.LOOK_EVERY_S", 0.01)
    share(access, PRESENCE, until_ms=T0 + 60_000)
    key, token = access.accounts.create_key(LOCAL, "ward", CITY, None)
    app, done, begun = create_app(context), asyncio.Event(), asyncio.Event()
    sent = []

    async def receive():
        await done.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)
        if len(sent) > 1:
            begun.set()

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/api/v1/stream",
        "query_string": b"scope=site:ota",
        "headers": [(b"authorization", f"Bearer {token}".encode())],
        "client": ("192.0.2.1", 1),
        "scheme": "http",
        "server": ("hub", 80),
        "root_path": "",
        "http_version": "1.1",
    }
    serving = asyncio.create_task(app(scope, receive, send))
    async with asyncio.timeout(5):
        await begun.wait()
        assert sent[0]["status"] == 200
        if end == "revoked":
            access.accounts.revoke_key(LOCAL, key.id)
        elif end == "hidden":
            access.sharing.put(LOCAL, "ota", None, [])
        else:
            scene.clock.now_ms += 60_000
        await serving

    assert sent[-1].get("more_body") is False
