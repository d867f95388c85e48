"""What machines did, over HTTP: figures, losses, reasons that people give, states that they say.

- Figures are of ranges, days and shifts, from the slices that they lead to; null says why.
- A label replaces the reason and nothing else, is kept beside what stood there, and taken back.
- A machine without sensors is what somebody says, for as long as it is believed; then unknown.
- What nobody has heard since is unknown in the timeline too.
- Every mistake is named with its field.
"""

from datetime import UTC, datetime

import httpx
import pytest

from gateway.model import State
from hub.api import create_app
from hub.columns import Columns, StateChange
from hub.coordination.shop_floor.shop_floor import open_shop_floor
from hub.historian import WriteBatch, open_historian
from hub.store import Store, audit, events
from hub.store import directory as directory_rows
from hub.store.entries import MachineEdit
from tests.hub.contexts import new_context
from tests.hub.scenes import T0, Scene

MIN = 60_000
HOUR = 60 * MIN
MC = "/api/v1/machines/ota/mc-1"
HAND = "/api/v1/machines/ota/hand-1"
DAILY = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
# The scene's clock shows 20:06:40 in Tokyo.
OPEN = {
    "rules": [
        {"kind": "work", "start": "08:00", "end": "17:00", "weekdays": DAILY, "label": "day"},
        {"kind": "work", "start": "17:00", "end": "02:00", "weekdays": DAILY, "label": "late"},
    ]
}


def open_floor(context, live):
    return open_shop_floor(
        historian=context.historian,
        live=live,
        calendars=context.calendars,
        directory=context.directory,
        registry=context.registry,
        jobs=context.jobs,
        store=context.store,
        now_ms=context.now_ms,
    )


def rfc(time_ms):
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat().replace("+00:00", "Z")


@pytest.fixture
def scene():
    scene = Scene()
    scene.add("mc-1")
    scene.read("mc-1", "idle")
    return scene


@pytest.fixture
def context(scene, tmp_path):
    historian = open_historian(tmp_path, scene.index, memory_mib=64, raw_days=30, rollup_days=400)
    told = [(-5 * HOUR, State.RUNNING, ""), (-2 * HOUR, State.DOWN, "machine-alarm"),
            (-1 * HOUR, State.IDLE, "")]  # fmt: skip
    states = [StateChange("ota", "mc-1", T0 + at, state, why) for at, state, why in told]
    historian.write(WriteBatch(Columns.empty(), states))
    store = Store.open(f"sqlite:///{tmp_path}/coordination.sqlite")
    with store.write() as tx:
        directory_rows.put_machine(tx, MachineEdit("ota", "hand-1", name={"en": "Hand press"}))
    yield new_context(
        live=scene.live,
        registry=scene.registry,
        historian=historian,
        store=store,
        now_ms=scene.clock,
    )
    store.close()
    historian.close()


@pytest.fixture
async def client(context):
    transport = httpx.ASGITransport(create_app(context), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
        yield client


async def opened(client):
    path = "/api/v1/sites/ota/calendar"
    answer = await client.put(path, json=OPEN, headers={"If-Match": '"v0"'})
    assert answer.status_code == 200


async def buckets(client, hours=5):
    asked = {"from": rfc(T0 - hours * HOUR), "to": rfc(T0)}
    period = (await client.get(f"{MC}/kpis", params=asked)).json()["periods"][0]
    found = {name: seconds / 60 for name, seconds in period["buckets_s"].items() if seconds}
    assert sum(found.values()) == pytest.approx(hours * 60)
    return found


async def relabel(client, at_ms, **body):
    return await client.put(f"{MC}/timeline/{rfc(at_ms)}/reason", json=body)


async def test_figures_come_from_states_and_calendar(client):
    await opened(client)
    asked = {"from": rfc(T0 - 5 * HOUR), "to": rfc(T0)}
    answer = (await client.get(f"{MC}/kpis", params=asked)).json()
    [period] = answer["periods"]
    assert period["buckets_s"]["APT"] == 3 * 3600
    assert period["kpis"]["availability"]["value"] == pytest.approx(3 / 5)
    assert period["kpis"]["oee"] == {
        "value": None,
        "reason": "no-counters",
        "flags": [],
        "of": ["APT", "AUST", "ADET", "ADOT", "APMT"],
    }
    assert (period["coverage"], period["breakdowns"]) == (1.0, 1)
    slices = (await client.get(period["slices"])).json()["slices"]
    assert [(s["bucket"], s["state"], s["reason"]) for s in slices] == [
        ("APT", "running", None),
        ("ADET", "down", "machine-alarm"),
        ("ADOT", "idle", None),
    ]


async def test_figures_by_shift_and_day_add_up_to_the_range(client):
    await opened(client)
    asked = {"from": rfc(T0 - 5 * HOUR), "to": rfc(T0)}
    by = {}
    for word in ("range", "shift", "day"):
        periods = (await client.get(f"{MC}/kpis", params={**asked, "by": word})).json()["periods"]
        by[word] = periods
        for bucket in ("APT", "ADET", "ADOT"):
            found = sum(period["buckets_s"][bucket] for period in periods)
            assert found == by["range"][0]["buckets_s"][bucket]
    assert [period["label"] for period in by["shift"]] == ["day", "late"]
    assert [period["day"] for period in by["day"]] == ["2026-11-18"]


async def test_without_a_schedule_figures_are_null_and_the_site_leaves_the_machine_out(client):
    answer = (await client.get(f"{MC}/kpis")).json()["periods"][0]
    assert answer["kpis"]["availability"]["reason"] == "no-schedule"
    site = (await client.get("/api/v1/sites/ota/kpis")).json()
    assert (site["counted"], site["left_out"], site["period"]) == ([], ["hand-1", "mc-1"], None)
    await opened(client)
    site = (await client.get("/api/v1/sites/ota/kpis")).json()
    assert site["counted"] == ["hand-1", "mc-1"]
    assert site["period"]["kpis"]["availability"]["value"] is not None


async def test_a_label_replaces_the_reason_and_can_be_taken_back(client, context):
    await opened(client)
    down_ms = T0 - 2 * HOUR
    answer = await relabel(client, down_ms, reason="break", note="forgot to say")
    assert answer.status_code == 200
    assert answer.json() == {
        "start": rfc(down_ms).replace("Z", ".000Z") if "." not in rfc(down_ms) else rfc(down_ms),
        "end": rfc(T0 - HOUR).replace("Z", ".000Z"),
        "reason": "break",
        "before": "machine-alarm",
        "said_by": "local",
    }
    asked = {"from": rfc(T0 - 5 * HOUR), "to": rfc(T0)}
    timeline = (await client.get(f"{MC}/timeline", params=asked)).json()["intervals"]
    assert [(i["state"], i["reason"], i["source"]) for i in timeline] == [
        ("running", None, "edge"),
        ("down", "break", "operator"),
        ("idle", None, "edge"),
    ]
    assert (await buckets(client)) == {"APT": 180, "PDT": 60, "ADOT": 60}
    assert (await relabel(client, down_ms, reason=None)).status_code == 200
    assert (await buckets(client)) == {"APT": 180, "ADET": 60, "ADOT": 60}
    with context.store.read() as tx:
        told = [e for e in events.after(tx, 0, limit=9) if e.type == "state.relabelled"]
        assert [e.data["reason"] for e in told] == ["break", None]
        assert audit.verify(tx) is None


async def test_a_label_may_cover_a_part_and_what_lasts_keeps_it_while_it_lasts(client, scene):
    await opened(client)
    half_ms = T0 - 90 * MIN
    part = await relabel(client, half_ms, reason="meeting", end=rfc(half_ms + 10 * MIN))
    assert part.status_code == 200
    assert (await buckets(client)) == {"APT": 180, "ADET": 50, "PDT": 10, "ADOT": 60}
    assert (await relabel(client, T0 - 30 * MIN, reason="no-operator")).json()["end"] is None
    assert (await buckets(client))["ADET"] == 80
    scene.clock.now_ms += 10 * MIN
    scene.read("mc-1", "idle")
    asked = {"from": rfc(T0), "to": rfc(T0 + 10 * MIN)}
    [lasting] = (await client.get(f"{MC}/timeline", params=asked)).json()["intervals"]
    assert (lasting["reason"], lasting["end"]) == ("no-operator", None)


async def test_losses_are_ranked_by_what_they_cost(client):
    await opened(client)
    asked = {"from": rfc(T0 - 5 * HOUR), "to": rfc(T0 - 30 * MIN)}
    found = (await client.get("/api/v1/sites/ota/downtime", params=asked)).json()
    losses = [(x["reason"], x["state"], x["duration_s"] / 60, x["stops"]) for x in found["losses"]]
    assert losses == [
        (None, "unknown", 270, 1),  # hand-1, of which nobody said anything
        ("machine-alarm", None, 60, 1),
        (None, "idle", 30, 1),
    ]
    assert found["losses"][1]["name"] == {"ja": "機械アラーム", "en": "Machine alarm"}
    assert sum(x["share"] for x in found["losses"]) == pytest.approx(1)


async def test_a_site_adds_reasons_of_its_own(client):
    told = {"group": "people", "ja": "祭り", "en": "Festival", "bucket": "PDT"}
    path = "/api/v1/sites/ota/reasons/festival"
    assert (await relabel(client, T0 - HOUR, reason="festival")).status_code == 422
    assert (await client.put(path, json=told)).status_code == 204
    assert (await relabel(client, T0 - HOUR, reason="festival")).status_code == 200
    found = (await client.get("/api/v1/sites/ota/reasons")).json()
    assert {"people", "equipment"} <= {g["code"] for g in found["groups"]}
    [own] = [r for r in found["reasons"] if r["own"]]
    assert (own["code"], own["name"]["ja"], own["bucket"]) == ("festival", "祭り", "PDT")
    assert (await client.put(path, json={**told, "group": "nowhere"})).status_code == 422
    assert (await client.delete(path)).status_code == 204
    assert (await client.delete(path)).status_code == 404
    assert (await client.delete("/api/v1/sites/ota/reasons/break")).status_code == 404


async def test_a_machine_without_sensors_is_what_somebody_says_while_it_is_believed(
    client, scene, context
):
    said = {"state": "running", "since": rfc(T0 - HOUR), "valid_for_s": 3600}
    answer = await client.post(f"{HAND}/state", json=said)
    assert answer.status_code == 200
    assert answer.json()["valid_until"] == rfc(T0 + HOUR).replace("Z", ".000Z")

    async def shown():
        found = (await client.get("/api/v1/availability?site=ota")).json()["items"]
        [item] = [each for each in found if each["machine"] == "hand-1"]
        return item["state"], item["connectivity"]

    assert await shown() == ("running", "online")
    scene.clock.now_ms += MIN
    await client.post(f"{HAND}/state", json={"state": "idle", "valid_for_s": 3540})
    assert await shown() == ("idle", "online")
    scene.clock.now_ms += 2 * HOUR
    assert await shown() == ("unknown", "stale")
    asked = {"from": rfc(T0 - 2 * HOUR), "to": rfc(T0 + 2 * HOUR)}
    timeline = (await client.get(f"{HAND}/timeline", params=asked)).json()["intervals"]
    assert [(i["state"], i["start"], i["end"], i["source"]) for i in timeline] == [
        ("running", rfc(T0 - HOUR)[:-1] + ".000Z", rfc(T0 + MIN)[:-1] + ".000Z", "operator"),
        ("idle", rfc(T0 + MIN)[:-1] + ".000Z", rfc(T0 + HOUR)[:-1] + ".000Z", "operator"),
    ]
    after_a_restart = Scene()
    open_floor(context, after_a_restart.live)
    assert after_a_restart.live.machine("ota", "hand-1").state is State.IDLE
    with context.store.read() as tx:
        assert [e.type for e in events.after(tx, 0, limit=9)] == ["state.said"] * 2


async def test_what_is_said_is_believed_to_the_end_of_the_shift(client):
    first = await client.post(f"{HAND}/state", json={"state": "setup", "reason": "changeover"})
    assert first.json()["valid_until"] == rfc(T0 + 12 * HOUR)[:-1] + ".000Z"
    await opened(client)
    later = await client.post(f"{HAND}/state", json={"state": "setup"})
    assert later.json()["valid_until"] == "2026-11-18T17:00:00.000Z"  # 02:00 in Tokyo


async def test_nobody_speaks_over_sensors(client):
    refused = await client.post(f"{MC}/state", json={"state": "idle"})
    assert (refused.status_code, refused.json()["code"]) == (409, "has-sensors")


async def test_what_nobody_has_heard_since_is_unknown(client, scene):
    await opened(client)
    scene.clock.now_ms += 2 * HOUR
    asked = {"from": rfc(T0 - HOUR), "to": rfc(T0 + 2 * HOUR)}
    timeline = (await client.get(f"{MC}/timeline", params=asked)).json()["intervals"]
    assert [(i["state"], i["reason"], i["source"]) for i in timeline] == [
        ("idle", None, "edge"),
        ("unknown", "no-data", "hub"),
    ]
    period = (await client.get(f"{MC}/kpis", params=asked)).json()["periods"][0]
    assert period["coverage"] == pytest.approx(1 / 3, abs=0.01)


async def test_every_mistake_is_named_with_its_field(client):
    down = f"{MC}/timeline/{rfc(T0 - 2 * HOUR)}/reason"
    early = f"{MC}/timeline/2026-11-01T00:00:00Z/reason"
    ahead = f"{MC}/timeline/{rfc(T0 + HOUR)}/reason"
    for method, path, body, status, pointer in (
        ("PUT", down, {"reason": "no-such"}, 422, "body/reason"),
        ("PUT", down, {"reason": "No Such"}, 422, "body/reason"),
        ("PUT", down, {}, 422, "body/reason"),
        ("PUT", down, {"reason": "break", "note": "x" * 401}, 422, "body/note"),
        ("PUT", down, {"reason": "break", "end": "1999-01-01T00:00:00Z"}, 422, "body/end"),
        ("PUT", down, {"reason": "break", "end": rfc(T0 - 3 * HOUR)}, 422, "path/start"),
        ("PUT", early, {"reason": "break"}, 404, None),
        ("PUT", ahead, {"reason": "break"}, 422, "path/start"),
        ("PUT", f"{MC}/timeline/0001-01-01T00:00:00Z/reason", {"reason": None}, 422, "path/start"),
        ("PUT", f"{MC}/timeline/soon/reason", {"reason": None}, 422, "path/start"),
        ("POST", f"{HAND}/state", {"state": "unknown"}, 422, "body/state"),
        ("POST", f"{HAND}/state", {"state": "idle", "reason": "no-such"}, 422, "body/reason"),
        ("POST", f"{HAND}/state", {"state": "idle", "since": rfc(T0 + 1)}, 422, "body/since"),
        ("POST", f"{HAND}/state", {"state": "idle", "valid_for_s": 59}, 422, "body/valid_for_s"),
        ("POST", "/api/v1/machines/ota/none/state", {"state": "idle"}, 404, None),
        ("GET", f"{MC}/kpis?by=week", None, 422, "query/by"),
        ("GET", f"{MC}/kpis?from=2026-01-01&to=2026-12-01", None, 400, None),
        ("GET", "/api/v1/sites/none/kpis", None, 404, None),
    ):
        answer = await client.request(method, path, json=body)
        assert answer.status_code == status, (path, body, answer.text)
        if pointer:
            assert pointer in [e["pointer"] for e in answer.json()["errors"]]
