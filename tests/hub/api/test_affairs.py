"""Jobs, events, alarms and webhooks over HTTP: right answers, problem documents, no surprises."""

import asyncio
import json

import httpx
import pytest

from hub.api import create_app
from hub.historian import open_historian
from hub.store import Store, events
from tests.hub.contexts import new_context
from tests.hub.scenes import Scene


@pytest.fixture
def scene():
    scene = Scene()
    scene.add("mc-1")
    scene.read("mc-1", "running")
    return scene


@pytest.fixture
def context(scene, tmp_path):
    store = Store.open(f"sqlite:///{tmp_path}/coordination.sqlite")
    historian = open_historian(tmp_path, scene.index, memory_mib=64, raw_days=30, rollup_days=400)
    yield new_context(
        live=scene.live,
        registry=scene.registry,
        historian=historian,
        store=store,
        now_ms=scene.clock,
    )
    historian.close()
    store.close()


@pytest.fixture
async def client(context):
    transport = httpx.ASGITransport(create_app(context), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://hub/api/v1") as client:
        yield client


JOB = {
    "site": "ota",
    "number": "A-1",
    "part": "bracket",
    "quantity": 200,
    "due": "2026-12-24T17:00:00+09:00",
    "steps": [{"process": "milling-3axis", "machine": "mc-1", "cycle_s": 90}],
    "status": "queued",
}


async def post(client, path, body=None, **headers):
    return await client.post(path, json=body, headers=headers)


async def test_a_job_goes_from_paper_to_the_machine_s_page(client):
    made = await post(client, "/jobs", JOB)
    assert made.status_code == 201, made.text
    assert made.headers["location"] == f"/api/v1/jobs/{made.json()['id']}"
    assert (made.headers["etag"], made.json()["due"]) == ('"v1"', "2026-12-24T08:00:00.000Z")
    path = f"/jobs/{made.json()['id']}"
    started = await post(client, f"{path}/start", {})
    assert (started.status_code, started.json()["status"]) == (200, "running")
    page = (await client.get("/machines/ota/mc-1")).json()
    assert (page["job"]["number"], page["job"]["remaining"]) == ("A-1", 200)
    finished = await post(client, f"{path}/finish", {"good": 198, "scrap": 2})
    assert finished.json()["status"] == "completed"
    assert finished.json()["steps"][0]["good"] == 198
    assert (await post(client, f"{path}/close")).json()["status"] == "closed"
    assert (await client.get("/machines/ota/mc-1")).json()["job"] is None


async def test_a_job_is_changed_as_it_was_read_or_not(client):
    path = f"/jobs/{(await post(client, '/jobs', JOB)).json()['id']}"
    facts = {key: JOB[key] for key in ("part", "quantity", "steps")}

    assert (await client.put(path, json=facts)).status_code == 428
    wrong = await client.put(path, json=facts, headers={"If-Match": '"v9"'})
    assert (wrong.status_code, wrong.json()["code"]) == (412, "stale")
    good = await client.put(path, json=facts | {"quantity": 7}, headers={"If-Match": '"v1"'})
    assert (good.status_code, good.headers["etag"], good.json()["quantity"]) == (200, '"v2"', 7)
    stale = await post(client, f"{path}/start", None, **{"If-Match": '"v1"'})
    assert stale.status_code == 412


MISTAKES = [
    ({"quantity": 0}, "body/quantity"),
    ({"quantity": 1e300}, "body/quantity"),
    ({"due": "1999-12-31T00:00:00Z"}, "body/due"),
    ({"due": "9999-12-31T23:59:59-23:59"}, "body/due"),
    ({"number": ""}, "body/number"),
    ({"number": "a\nb"}, "body/number"),
    ({"number": "x" * 65}, "body/number"),
    ({"part": "\x00"}, "body/part"),
    ({"note": "a\x00b"}, "body/note"),
    ({"surprise": 1}, "body/surprise"),
    ({"status": "running"}, "body/status"),
    ({"site": "atlantis"}, "body/site"),
    ({"steps": [{"process": "m", "machine": "mc-99"}]}, "body/steps/0/machine"),
    ({"steps": [{"process": "m", "site": "atlantis"}]}, "body/steps/0/site"),
    ({"steps": [{"process": "M M"}]}, "body/steps/0/process"),
    ({"steps": [{"process": "m", "seq": 1}] * 2}, "body"),
    ({"steps": [{"process": "m"}] * 51}, "body/steps"),
    ({"steps": [{"process": "m", "cycle_s": -1}]}, "body/steps/0/cycle_s"),
]


async def test_a_mistake_in_a_job_is_told_with_its_field(client):
    for change, pointer in MISTAKES:
        answer = await post(client, "/jobs", JOB | change)
        assert answer.status_code == 422, (change, answer.text)
        assert pointer in [error["pointer"] for error in answer.json()["errors"]]
    assert (await client.get("/jobs")).json()["items"] == []


ODD = ['{"part": "\\ud83d"}', "[]", "null", "{", '{"a":' * 5000, "1e999"]


async def test_odd_bodies_are_refused_politely(client):
    for path in ("/jobs", "/webhooks", "/jobs/job1/start", "/alarms/0/acknowledge"):
        for text in ODD:
            answer = await client.post(
                path, content=text.encode(), headers={"Content-Type": "application/json"}
            )
            assert answer.status_code in {400, 404, 422}, (path, text[:20], answer.text)
            assert answer.headers["content-type"] == "application/problem+json"


async def test_refusals_of_jobs_have_codes(client):
    first = f"/jobs/{(await post(client, '/jobs', JOB)).json()['id']}"
    second = f"/jobs/{(await post(client, '/jobs', JOB | {'number': 'A-2'})).json()['id']}"
    await post(client, f"{first}/start")

    for path, body, status, code in (
        ("/jobs", JOB, 409, "number-taken"),
        (f"{second}/start", None, 409, "machine-busy"),
        (f"{first}/close", None, 409, "illegal-transition"),
        (f"{first}/hold", {"step": 9}, 422, "invalid-request"),
        (f"{first}/explode", None, 422, "invalid-request"),
        ("/jobs/none/start", None, 404, "not-found"),
    ):
        answer = await post(client, path, body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), path


TABLE = "number,part,quantity,process,machine\nB-1,軸,5,milling,mc-1\nB-2,軸,5,,\n"


async def test_a_table_of_jobs_is_tried_and_taken(client):
    path, head = "/sites/ota/jobs/import", {"Content-Type": "text/csv; charset=utf-8"}
    tried = await client.post(f"{path}?dry_run=true", content=TABLE.encode(), headers=head)
    assert tried.json() == {"dry_run": True, "jobs": 2, "steps": 1}
    taken = await client.post(path, content=TABLE.encode("cp932"), headers=head)
    assert taken.json() == {"dry_run": False, "jobs": 2, "steps": 1}
    again = await client.post(path, content=TABLE.encode(), headers=head)

    assert again.status_code == 422
    assert [e["pointer"] for e in again.json()["errors"]] == [
        "line 2, column number",
        "line 3, column number",
    ]
    assert (await client.post(path, content=b"x")).status_code == 415
    nowhere = await client.post("/sites/nowhere/jobs/import", content=b"x", headers=head)
    assert nowhere.status_code == 404


async def test_pages_of_jobs_join(client):
    for n in range(5):
        await post(client, "/jobs", JOB | {"number": f"A-{n}"})
    seen, query = [], ""
    while query is not None:
        page = (await client.get(f"/jobs?limit=2{query}")).json()
        seen += [job["number"] for job in page["items"]]
        query = f"&cursor={page['next']}" if page["next"] else None

    assert seen == [f"A-{n}" for n in range(5)]
    for cursor in ("x", "W10=", "WzEsMl0=", "e30=", "%FF"):
        assert (await client.get(f"/jobs?cursor={cursor}")).status_code == 400


def happen(context, *types, site="ota"):
    with context.store.write() as tx:
        for type_ in types:
            events.append(tx, type=type_, site=site, machine="mc-1", subject="x", data={}, now_ms=1)
    context.events.look()


async def test_events_are_read_from_a_number_on(client, context):
    happen(context, "job.started", "alarm.raised", "job.held")
    page = (await client.get("/events?after=1&types=job")).json()

    assert [(e["id"], e["type"]) for e in page["items"]] == [("3", "job.held")]
    assert (page["next"], page["newest"], page["reset"]) == (3, 3, False)
    assert [e["id"] for e in (await client.get("/events?limit=2")).json()["items"]] == ["2", "3"]
    assert (await client.get("/events?after=99")).json()["reset"] is True
    for query in ("after=-1", "types=DROP%20TABLE", "limit=0", "after=9" + "9" * 30):
        assert (await client.get(f"/events?{query}")).status_code == 422


async def follow(context, query="", last_id=None, blocks=3):
    """Follow the stream by hand through the application and give its first blocks."""
    heard, gone = asyncio.Queue(), asyncio.Event()
    headers = [(b"accept", b"text/event-stream"), (b"host", b"hub")]
    headers += [(b"last-event-id", last_id.encode())] if last_id else []
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/api/v1/events",
        "query_string": query.encode(),
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "scheme": "http",
        "http_version": "1.1",
    }

    async def receive():
        if not gone.is_set() and receive.first:
            receive.first = False
            return {"type": "http.request", "body": b"", "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    receive.first = True

    async def send(message):
        if message["type"] == "http.response.body" and message["body"]:
            await heard.put(message["body"].decode())

    serving = asyncio.create_task(create_app(context)(scope, receive, send))
    try:
        async with asyncio.timeout(5):
            for _ in range(blocks):
                yield await heard.get()
    finally:
        gone.set()
        await serving


def ids(block):
    return [line[4:] for line in block.splitlines() if line.startswith("id: ")]


async def test_events_are_followed_from_the_last_one_seen(context):
    happen(context, "job.started", "alarm.raised")
    stream = follow(context, last_id="1")
    assert await anext(stream) == "retry: 3000\n\n"
    first = await anext(stream)
    assert ids(first) == ["2"]
    assert json.loads(first.split("data: ")[1])["type"] == "alarm.raised"
    happen(context, "job.held")
    assert ids(await anext(stream)) == ["3"]
    await stream.aclose()


async def test_who_was_away_for_too_long_is_told_so(context):
    happen(context, *["job.started"] * 5)
    with context.store.write() as tx:
        events.forget(tx, before_ms=0, rows_max=2, at_most=100)
    context.events._recent.clear()
    stream = follow(context, query="after=1")
    await anext(stream)
    reset = await anext(stream)

    assert "event: reset" in reset
    assert json.loads(reset.split("data: ")[1]) == {"oldest": 4, "newest": 5}
    assert ids(await anext(stream)) == ["4", "5"]
    await stream.aclose()


async def test_an_alarm_is_acknowledged(client, context):
    context.alarms.raise_("machine-down", "ota/mc-1", "down")
    [alarm] = (await client.get("/alarms")).json()["items"]
    noted = await post(client, f"/alarms/{alarm['id']}/acknowledge", {"note": "on my way"})

    assert (noted.status_code, noted.json()["acknowledged_by"]) == (200, "local")
    assert (await client.get("/alarms")).json()["items"][0]["note"] == "on my way"
    assert (await post(client, "/alarms/0/acknowledge")).status_code == 404


async def test_a_webhook_shows_its_secret_once(client):
    body = {"url": "https://receiver.example/hook", "types": ["reservation.at_risk"]}
    made = await post(client, "/webhooks", body)
    assert made.status_code == 201, made.text
    assert made.json()["secret"].startswith("whsec_")
    path = f"/webhooks/{made.json()['id']}"
    for answer in (
        await client.get(path),
        await client.get("/webhooks"),
        await post(client, f"{path}/pause"),
        await client.put(path, json=body, headers={"If-Match": '"v2"'}),
    ):
        assert answer.status_code == 200, answer.text
        assert "whsec_" not in answer.text
    assert (await post(client, f"{path}/rotate")).json()["secret"] != made.json()["secret"]
    assert (await client.get(f"{path}/dead-letters")).json() == {"items": [], "next": None}
    assert (await client.delete(path)).status_code == 204
    assert (await client.get(path)).status_code == 404


INSIDE = ["http://127.0.0.1/", "https://[::ffff:10.0.0.1]/", "https://2130706433/", "ftp://a/"]


async def test_a_webhook_to_the_inside_is_refused(client):
    for url in INSIDE:
        answer = await post(client, "/webhooks", {"url": url})

        assert (answer.status_code, answer.json()["code"]) == (422, "bad-target")
        assert answer.json()["errors"][0]["pointer"] == "body/url"


async def test_a_table_may_be_larger_than_other_bodies_and_not_endless(client):
    head = {"Content-Type": "text/csv"}
    rows = "".join(f"N-{n},{'x' * 150},5,milling,mc-1\n" for n in range(1500))
    table = f"number,part,quantity,process,machine\n{rows}".encode()
    assert 200_000 < len(table) < 2**21

    taken = await client.post("/sites/ota/jobs/import", content=table, headers=head)
    assert taken.json() == {"dry_run": False, "jobs": 1500, "steps": 1500}
    for path, size in (("/sites/ota/jobs/import", 2**21 + 1), ("/jobs", 2**16 + 1)):
        answer = await client.post(path, content=b"x" * size, headers=head)
        assert answer.status_code == 413
