"""The HTTP API tells the truth of the moment, refuses politely and documents itself."""

import math

import httpx
import numpy as np
import pytest

from gateway.model import State
from hub.api import create_app
from hub.columns import Columns, StateChange
from hub.historian import HistorianUnavailableError, WriteBatch, open_historian
from hub.store import Store
from tests.hub.contexts import new_context
from tests.hub.scenes import T0, Scene


@pytest.fixture
def scene():
    scene = Scene()
    for machine in ("mc-1", "mc-2"):
        scene.add(machine)
    scene.add("press-1", site="suwa", processes=["press"], kind="press")
    scene.read("mc-1", "idle", rpm=0.0, job="A1")
    scene.read("mc-2", "running", rpm=1200.0, evidence="rpm 1200 > 50 for 5 s")
    scene.read("press-1", "idle", site="suwa")
    return scene


@pytest.fixture
def historian(scene, tmp_path):
    engine = open_historian(tmp_path, scene.index, memory_mib=64, raw_days=30, rollup_days=400)
    yield engine
    engine.close()


@pytest.fixture
def trouble():
    return []


@pytest.fixture
def context(scene, historian, trouble, tmp_path):
    store = Store.open(f"sqlite:///{tmp_path}/coordination.sqlite")
    yield new_context(
        live=scene.live,
        registry=scene.registry,
        historian=historian,
        store=store,
        ready=lambda: trouble,
        now_ms=scene.clock,
    )
    store.close()


@pytest.fixture
async def client(context):
    transport = httpx.ASGITransport(create_app(context), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
        yield client


async def items(client, query=""):
    answer = await client.get(f"/api/v1/availability{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


async def test_availability_says_who_is_free_now(client):
    found = await items(client)

    assert [(i["site"], i["machine"], i["state"], i["free_now"]) for i in found] == [
        ("ota", "mc-1", "idle", True),
        ("ota", "mc-2", "running", False),
        ("suwa", "press-1", "idle", True),
    ]
    assert found[0]["name"]["ja"] == "mc-1号機"
    assert found[0]["valid_until"] == "2026-11-18T11:07:10.000Z"


async def test_a_machine_is_never_free_from_stale_data(client, scene):
    scene.clock.now_ms += 30_001

    assert {(i["state"], i["connectivity"], i["free_now"]) for i in await items(client)} == {
        ("unknown", "stale", False)
    }


async def test_a_lost_agent_takes_its_machines_offline(client, scene):
    scene.live.died("ota", "line-1", scene.clock())

    found = {i["machine"]: (i["state"], i["connectivity"]) for i in await items(client)}

    assert found["mc-1"] == ("unknown", "offline")
    assert found["press-1"] == ("idle", "online")


async def test_a_change_is_seen_within_a_tenth_of_a_second(client, scene):
    before = {i["machine"]: i["state"] for i in await items(client)}
    scene.clock.now_ms += 100
    scene.read("mc-1", "down")

    after = {i["machine"]: i["state"] for i in await items(client)}

    assert (before["mc-1"], after["mc-1"]) == ("idle", "down")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?site=suwa", ["press-1"]),
        ("?process=press", ["press-1"]),
        ("?state=running", ["mc-2"]),
        ("?near=35.56,139.72&radius_km=5", ["mc-1", "mc-2"]),
        ("?near=36.04,138.11&radius_km=5", []),
        ("?site=nowhere", []),
        (f"?updated_since={2100}-01-01T00:00:00Z", []),
        ("?updated_since=2020-01-01T00:00:00Z&site=ota", ["mc-1", "mc-2"]),
    ],
)
async def test_filters_narrow_the_list(client, query, expected):
    assert [i["machine"] for i in await items(client, query)] == expected


async def test_pages_join_to_the_whole_list(client):
    seen, cursor = [], ""
    while cursor is not None:
        answer = (await client.get(f"/api/v1/availability?limit=1{cursor}")).json()
        seen += [i["machine"] for i in answer["items"]]
        cursor = f"&cursor={answer['next']}" if answer["next"] else None

    assert seen == ["mc-1", "mc-2", "press-1"]


async def test_nothing_new_is_told_in_no_bytes(client, scene):
    first = await client.get("/api/v1/availability")
    tag = {"If-None-Match": first.headers["etag"]}
    scene.clock.now_ms += 5000
    again = await client.get("/api/v1/availability", headers=tag)
    scene.read("mc-1", "down")
    scene.clock.now_ms += 200
    changed = await client.get("/api/v1/availability", headers=tag)

    assert (again.status_code, again.content) == (304, b"")
    assert changed.status_code == 200


async def test_a_machine_page_holds_signals_evidence_and_links(client):
    found = (await client.get("/api/v1/machines/ota/mc-2")).json()

    assert found["evidence"] == "rpm 1200 > 50 for 5 s"
    assert (found["agent_online"], found["link"]) == (True, True)
    assert [(s["signal"], s["value"], s["quality"]) for s in found["signals"]] == [
        ("rpm", 1200.0, "good")
    ]


async def test_sites_come_with_their_names_and_zones(client):
    found = (await client.get("/api/v1/sites")).json()["items"]

    assert [(s["site"], s["configured"], s["machines"]) for s in found] == [
        ("ota", True, 2),
        ("suwa", False, 1),
    ]
    assert found[0]["time_zone"] == "Asia/Tokyo"
    assert (await client.get("/api/v1/sites/ota")).json()["location"]["lat"] == 35.561


def history_of(scene, historian, rows, signal="rpm"):
    series = scene.index.id("ota", "mc-1", signal)
    values = [value for _, value in rows]
    historian.write(
        WriteBatch(
            Columns(
                series=np.full(len(rows), series, np.int32),
                time_ms=np.array([time_ms for time_ms, _ in rows], np.int64),
                value=np.array([v if isinstance(v, float) else math.nan for v in values]),
                quality=np.array([2 if v is None else 0 for v in values], np.uint8),
                reason=np.array([1 if v is None else 0 for v in values], np.uint8),
                message=np.zeros(len(rows), np.int32),
            ),
            [StateChange("ota", "mc-1", T0 - 60_000, State.RUNNING, "", "rpm > 50")],
        )
    )


RANGE = "from=2026-01-01T00:00:00Z&to=2027-01-01T00:00:00%2B09:00"


async def test_raw_history_is_told_in_words(client, scene, historian):
    history_of(scene, historian, [(T0, 5.0), (T0 + 1000, None)])

    answer = await client.get(f"/api/v1/machines/ota/mc-1/signals/rpm/history?{RANGE}")

    assert answer.json()["bucket_s"] == 0
    assert [row[1:] for row in answer.json()["rows"]] == [
        [5.0, "good", None],
        [None, "bad", "timeout"],
    ]


async def test_signal_names_with_slashes_are_found(client, scene, historian):
    history_of(scene, historian, [(T0, 5.0)], signal="axis/x load")

    answer = await client.get(
        f"/api/v1/machines/ota/mc-1/signals/axis%2Fx%20load/history?{RANGE}&agg=raw"
    )

    assert answer.json()["signal"] == "axis/x load"
    assert len(answer.json()["rows"]) == 1


async def test_history_comes_as_a_file_that_no_spreadsheet_executes(client, scene, historian):
    history_of(scene, historian, [(T0, 5.0)])
    accept = {"Accept": "text/csv"}

    answer = await client.get(
        f"/api/v1/machines/ota/mc-1/signals/rpm/history?{RANGE}", headers=accept
    )

    assert answer.content.startswith(b"\xef\xbb\xbft,value,quality,reason\r\n")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"


async def test_the_timeline_names_the_evidence(client, scene, historian):
    history_of(scene, historian, [(T0, 5.0)])

    answer = await client.get("/api/v1/machines/ota/mc-1/timeline")

    assert [(i["state"], i["end"], i["evidence"]) for i in answer.json()["intervals"]] == [
        ("running", None, "rpm > 50")
    ]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/v1/availability?limit=0", 422, "invalid-request"),
        ("/api/v1/availability?state=flying", 422, "invalid-request"),
        ("/api/v1/availability?near=91,0", 400, "bad-location"),
        ("/api/v1/availability?near=nan,nan", 400, "bad-location"),
        ("/api/v1/availability?cursor=%00", 400, "bad-cursor"),
        ("/api/v1/availability?cursor=WzEsMl0=", 400, "bad-cursor"),
        ("/api/v1/machines/ota/none", 404, "not-found"),
        ("/api/v1/machines/ota/mc-1/signals/none/history", 404, "not-found"),
        ("/api/v1/machines/ota/none/timeline", 404, "not-found"),
        ("/api/v1/sites/none", 404, "not-found"),
        ("/api/v1/stream?scope=world", 422, "bad-scope"),
        ("/api/v1/stream?scope=site:none", 404, "not-found"),
        ("/api/v1/stream?scope=machine:ota/none", 404, "not-found"),
        ("/api/v1/machines/ota/mc-1/timeline?from=2026-01-02&to=2026-01-01", 400, "bad-range"),
        ("/api/v1/machines/ota/mc-1/timeline?from=tomorrow", 422, "invalid-request"),
        ("/api/v1/machines/ota/mc-1/timeline?from=0001-01-01&to=9999-12-31", 400, "bad-range"),
        ("/nothing", 404, "not-found"),
    ],
)
async def test_mistakes_are_answered_with_a_problem_document(client, path, status, code):
    answer = await client.get(path)

    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_nothing_can_be_written(client):
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answer = await client.request(method, "/api/v1/availability")
        assert answer.status_code == 405, method


async def test_an_oversized_body_is_refused(client):
    answer = await client.request("GET", "/healthz", content=b"x" * 70_000)

    assert answer.json()["code"] == "body-too-large"


async def test_a_historian_that_is_down_stops_history_only(client, context, monkeypatch):
    def down(*_args, **_kwargs):
        raise HistorianUnavailableError("the disk is gone", 7)

    monkeypatch.setattr(context.historian, "states", down)

    answer = await client.get("/api/v1/machines/ota/mc-1/timeline")

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert len(await items(client)) == 3


async def test_readiness_names_what_stands_in_the_way(client, trouble):
    assert (await client.get("/readyz")).status_code == 200
    trouble.append("the broker cannot be reached")

    answer = await client.get("/readyz")

    assert (answer.status_code, answer.json()["trouble"]) == (503, trouble)
    assert (await client.get("/healthz")).status_code == 200


async def test_metrics_count_machines_and_drops_by_cause(client, context):
    context.counters.dropped["budget"] = 7
    context.alarms.raise_("duplicate-machine", "ota/mc-1", "two agents")

    text = (await client.get("/metrics")).text

    assert 'machikoba_machines{connectivity="online"} 3.0' in text
    assert 'machikoba_hub_dropped_total{cause="budget"} 7.0' in text
    assert 'machikoba_alarms_active{code="duplicate-machine"} 1.0' in text


async def test_every_answer_forbids_sniffing(client):
    for path in ("/healthz", "/api/v1/availability", "/nothing"):
        headers = (await client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff", path


async def test_the_document_describes_every_route(client):
    document = (await client.get("/api/v1/openapi.json")).json()

    assert document["openapi"].startswith("3.1")
    assert {
        "/api/v1/availability",
        "/api/v1/machines",
        "/api/v1/machines/{site}/{machine}",
        "/api/v1/machines/{site}/{machine}/signals/{signal}/history",
        "/api/v1/machines/{site}/{machine}/timeline",
        "/api/v1/sites",
        "/api/v1/stream",
        "/healthz",
        "/readyz",
        "/metrics",
    } <= set(document["paths"])


async def test_the_short_way_to_the_whole_list_answers_like_the_documented_one(client):
    short = await client.get("/api/v1/availability")
    long = await client.get("/api/v1/availability?limit=500")

    assert short.json()["items"] == long.json()["items"]
    assert short.headers["etag"] == long.headers["etag"]
