"""Whatever is asked, the hub answers as its OpenAPI document says, and goes on answering.

Nothing a caller sends and nothing a machine calls itself may end in a server error, in an answer
that the document does not know, in more bytes received than allowed, or in somebody else's silence.
"""

import asyncio
import csv
import io
import json
import math
import socket
import threading

import httpx
import numpy as np
import orjson
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi import checks as promises

from gateway.model import State
from hub.api import create_app
from hub.columns import Columns, StateChange
from hub.historian import WriteBatch, open_historian
from hub.live import Alarms
from hub.registry import MachineRecord
from hub.store import Store
from hub.stream import Scope, fanout
from tests.brokers import wait_until
from tests.hub.contexts import new_context
from tests.hub.scenes import T0, Scene

ODD = "=cmd|'C calc'!A1\"\r\nX-Evil: 1<script>alert(1)<script>日本\u202e"
"""A name no one would give a machine, with something for every reader of it."""

ODD_SIGNAL = ODD.replace("\r\n", "\t")
"""No signal's name holds a line feed: the route would not match it."""


@pytest.fixture(scope="module")
def scene():
    scene = Scene()
    scene.add("mc-1")
    scene.read("mc-1", "running", rpm=1200.0, job="A1")
    scene.add(ODD, site="suwa", kind=ODD, processes=[ODD])
    scene.read(ODD, "idle", site="suwa", evidence=ODD, **{ODD_SIGNAL: ODD})
    return scene


@pytest.fixture(scope="module")
def historian(scene, tmp_path_factory):
    folder = tmp_path_factory.mktemp("history")
    engine = open_historian(folder, scene.index, memory_mib=64, raw_days=30, rollup_days=400)
    series = [scene.index.id("ota", "mc-1", "rpm"), scene.index.id("suwa", ODD, ODD_SIGNAL)]
    scene.index.describe(series[1], unit=ODD, kind="string")
    rows = Columns(
        series=np.array(series, np.int32),
        time_ms=np.array([T0 - 60_000, T0 - 60_000], np.int64),
        value=np.array([1200.0, math.nan]),
        quality=np.zeros(2, np.uint8),
        reason=np.zeros(2, np.uint8),
        message=np.zeros(2, np.int32),
        text={1: ODD},
    )
    engine.write(
        WriteBatch(rows, [StateChange("suwa", ODD, T0 - 60_000, State.IDLE, ODD, ODD, ODD)])
    )
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def context(scene, historian, tmp_path_factory):
    alarms = Alarms(now_ms=scene.clock)
    alarms.raise_("duplicate-machine", ODD, ODD)
    store = Store.open(f"sqlite:///{tmp_path_factory.mktemp('store')}/coordination.sqlite")
    yield new_context(
        live=scene.live,
        registry=scene.registry,
        historian=historian,
        store=store,
        alarms=alarms,
        now_ms=scene.clock,
    )
    store.close()


@pytest.fixture(scope="module")
def app(context):
    return create_app(context)


class Server(uvicorn.Server):
    """Serves in a thread, which may not take signals."""

    def install_signal_handlers(self):
        """Install none."""


@pytest.fixture(scope="module")
def port(app):
    """Serve over a real socket, as the hub does."""
    options = {"http": "httptools", "ws": "none", "lifespan": "off", "log_config": None}
    server = Server(uvicorn.Config(app, timeout_graceful_shutdown=1, **options))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(200)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        wait_until(lambda: server.started, "the server to listen", 10)
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
async def client(app):
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
        yield client


def ask(port, request, *, deadline_s=10.0):
    """Send bytes and give (status, headers and body as bytes) of the first answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=deadline_s) as line:
        line.sendall(request)
        received = b""
        while b"\r\n\r\n" not in received and (more := line.recv(65_536)):
            received += more
    return int(received.split(b" ", 2)[1]), received


def get(port, target, *headers):
    lines = [b"GET " + target + b" HTTP/1.1", b"Host: hub", b"Connection: close", *headers]
    return ask(port, b"\r\n".join(lines) + b"\r\n\r\n")


def healthy(port):
    return get(port, b"/healthz")[0] == 200


# -- everything the document names -------------------------------------------------------------

PROMISES = [
    schemathesis.checks.not_a_server_error,
    promises.status_code_conformance,
    promises.content_type_conformance,
    promises.response_headers_conformance,
    promises.response_schema_conformance,
    promises.unsupported_method,
    promises.negative_data_rejection,
]
PATHS = (
    "/api/v1/availability",
    "/api/v1/sites",
    "/api/v1/sites/{site}",
    "/api/v1/machines",
    "/api/v1/machines/{site}/{machine}",
    "/api/v1/alarms",
    "/api/v1/machines/{site}/{machine}/signals/{signal}/history",
    "/api/v1/machines/{site}/{machine}/timeline",
    "/healthz",
    "/readyz",
    "/metrics",
)
WITHOUT_QUERY = {
    "/api/v1/sites/{site}",
    "/api/v1/machines/{site}/{machine}",
    "/healthz",
    "/readyz",
    "/metrics",
}
ENDLESS = "/api/v1/stream"
KNOWN = {"site": "ota", "machine": "mc-1", "signal": "rpm"}


@pytest.fixture(scope="module")
def schema(app):
    generation = {"mode": "all", "deterministic": True, "database": "none"}
    config = SchemathesisConfig.from_dict({"generation": generation})
    return schemathesis.openapi.from_asgi("/api/v1/openapi.json", app, config=config)


def test_what_is_attacked_here_is_there(schema):
    assert {*PATHS, ENDLESS} <= {each.ok().path for each in schema.get_all_operations()}


def attack_with(cases, *, known=False):
    """Send cases of a strategy; `known` puts what exists into the path."""

    @seed(20_261_122)
    @settings(
        max_examples=50,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def attack(case):
        if known:
            case.path_parameters = {name: KNOWN[name] for name in case.path_parameters}
        case.call_and_validate(checks=PROMISES)

    attack()


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_is_one_that_the_document_knows(schema, path):
    attack_with(schema[path]["GET"].as_strategy())


@pytest.mark.parametrize("path", [path for path in PATHS if "{" in path])
def test_so_is_every_answer_about_what_exists(schema, path):
    attack_with(schema[path]["GET"].as_strategy(), known=True)


@pytest.mark.parametrize("path", [path for path in PATHS if path not in WITHOUT_QUERY])
def test_what_the_document_forbids_is_refused(schema, path):
    negative = schemathesis.GenerationMode.NEGATIVE
    attack_with(schema[path]["GET"].as_strategy(generation_mode=negative))


# -- by hand, over a real socket ---------------------------------------------------------------

LONG = b"x" * 60_000


@pytest.mark.parametrize(
    "target",
    [
        b"/api/v1/machines/ota%2Fmc-1/mc-1",
        b"/api/v1/machines/ota/%00",
        b"/api/v1/machines/ota/%ff%fe%c0%80",
        b"/api/v1/machines/ota/%ED%A0%80",
        b"/api/v1/machines/ota/%E6%97%A5%E6%9C%AC",
        b"/api/v1/machines/ota/" + LONG,
        b"/api/v1/machines/../../etc/passwd",
        b"/api/v1/machines/%2e%2e/%2e%2e%2fetc",
        b"/api/v1/machines/ota/mc-1/signals/%00%ff%0d%0aX-Evil:1/history",
        b"/api/v1/machines/ota/mc-1/signals/" + LONG + b"/history",
        b"/api/v1/machines/ota/mc-1/signals//history",
        b"/api/v1/availability?" + LONG,
        b"/api/v1/availability?site=" + LONG,
        b"/api/v1/availability?" + b"&".join([b"a=1"] * 15_000),
        b"/api/v1/availability?site=ota&site=suwa&limit=1&limit=500",
        b"/api/v1/availability?limit=" + b"9" * 5000,
        b"/api/v1/availability?radius_km=NaN&near=0,0",
        b"/api/v1/availability?radius_km=Infinity&near=0,0",
        b"/api/v1/availability?near=inf,-inf",
        b"/api/v1/availability?near=1e999,0",
        b"/api/v1/availability?near=,",
        b"/api/v1/availability?near=1,2,3",
        b"/api/v1/availability?updated_since=-1e300",
        b"/api/v1/availability?updated_since=1e300",
        b"/api/v1/availability?updated_since=NaN",
        b"/api/v1/availability?updated_since=0001-01-01T00:00:00%2B23:59",
        b"/api/v1/availability?updated_since=9999-12-31T23:59:59-23:59",
        b"/api/v1/availability?cursor=W10=",
        b"/api/v1/availability?cursor=e30=",
        b"/api/v1/availability?cursor=%ff",
        b"/api/v1/availability?cursor=" + b"W1tb" * 128,
        b"/api/v1/sites?cursor=%00%ff",
        b"/api/v1/machines/ota/mc-1/timeline?from=-1&to=0",
        b"/api/v1/machines/ota/mc-1/timeline?from=9999-12-31T23:59:59Z",
        b"/api/v1/machines/ota/mc-1/timeline?from=0001-01-01T00:00:00%2B23:59",
        b"/api/v1/machines/ota/mc-1/timeline?from=1e18&to=1e19",
        b"/api/v1/machines/ota/mc-1/signals/rpm/history?from=1970-01-01&to=1980-01-01&max_points=1",
        b"/api/v1/machines/ota/mc-1/signals/rpm/history?max_points=1e3",
        b"/api/v1/machines/ota/mc-1/signals/'%20OR%201=1--/history",
        b"/api/v1/stream?scope=" + LONG,
        b"/api/v1/stream?scope=machine:%00/%ff",
        b"/api/v1/stream?scope=region%0d%0aX-Evil:1",
    ],
    ids=lambda target: target[:60].decode(),
)
def test_an_odd_address_is_answered_and_never_a_server_error(port, target):
    status, answer = get(port, target)

    assert status in {200, 400, 404, 422}
    assert b"\r\nx-evil" not in answer.lower()
    assert healthy(port)


@pytest.mark.parametrize(
    "header",
    [
        b"If-None-Match: " + LONG,
        b'If-None-Match: W/"\xff\xfe", "',
        b"Accept: " + b",".join([b"text/csv;q=0.1"] * 4000),
        b"Accept: \xff/\x80",
        b"Accept-Encoding: gzip;q=nonsense",
        b"Last-Event-ID: \xff\xff",
        b"Host: evil.example:99999",
        b"X-Forwarded-For: 1\r\nX-Forwarded-Host: evil.example",
        b"Content-Length: 0",
        b"Upgrade: websocket\r\nSec-WebSocket-Key: AAAA\r\nSec-WebSocket-Version: 13",
        b"Range: bytes=0-1,2-3",
    ],
    ids=lambda header: header[:40],
)
@pytest.mark.parametrize("target", [b"/api/v1/availability", b"/api/v1/machines/ota/mc-1/timeline"])
def test_an_odd_header_is_answered_and_echoed_nowhere(port, target, header):
    status, answer = get(port, target, header)

    assert status in {200, 400, 404, 422}
    assert b"evil.example" not in answer
    assert healthy(port)


@pytest.mark.parametrize(
    "method", ["HEAD", "OPTIONS", "TRACE", "POST", "PUT", "PATCH", "DELETE", "BREW"]
)
def test_only_reading_is_allowed(port, method):
    status, answer = ask(port, f"{method} /api/v1/alarms HTTP/1.1\r\nHost: hub\r\n\r\n".encode())

    assert status in {400, 405}
    assert status == 400 or b"\r\nallow: get" in answer.lower()


def test_a_body_that_does_not_announce_its_length_is_not_received(port):
    head = b"GET %s HTTP/1.1\r\nHost: hub\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    for path in (b"/healthz", b"/api/v1/stream"):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
            line.sendall(head % path)
            assert line.recv(65_536).startswith(b"HTTP/1.1 411 "), path
            with pytest.raises(OSError, match=r"reset|[Bb]roken"):
                line.sendall(chunk * 1024)
    assert healthy(port)


@pytest.mark.parametrize("length", [b"65537", b"9" * 19, b"9" * 4000, b"-1", b"1e3", b"\xb2"])
def test_a_body_too_large_is_refused_before_it_is_sent(port, length):
    status, answer = get(port, b"/healthz", b"Content-Length: " + length)

    assert status in {400, 413}
    assert b"connection: close" in answer.lower()


def test_a_request_that_says_two_lengths_is_refused(port):
    both = b"GET /healthz HTTP/1.1\r\nHost: hub\r\nContent-Length: 5\r\n"
    both += b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"

    assert ask(port, both)[0] in {400, 411}


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ("*", 304),
        ("{tag}", 304),
        ('"other", {tag} , "third"', 304),
        ("{strong}", 304),
        ('"other"', 200),
        ("x{tag}", 200),
        ("{half}", 200),
        ("", 200),
    ],
)
async def test_a_tag_is_compared_as_a_whole_and_weakly(client, told, status):
    tag = (await client.get("/api/v1/availability")).headers["etag"]
    told = told.format(tag=tag, strong=tag.removeprefix("W/"), half=tag[:-4])

    answer = await client.get("/api/v1/availability", headers={"If-None-Match": told})

    assert (answer.status_code, answer.headers["etag"]) == (status, tag)


async def test_tags_may_come_in_several_headers(client):
    tag = (await client.get("/api/v1/availability")).headers["etag"]

    answer = await client.get(
        "/api/v1/availability", headers=[("If-None-Match", tag), ("If-None-Match", '"other"')]
    )

    assert answer.status_code == 304


# -- odd names of machines ---------------------------------------------------------------------


async def test_an_odd_name_is_told_as_it_is_in_json(client):
    listed = (await client.get("/api/v1/machines?site=suwa")).json()["items"]
    one = await client.get("/api/v1/availability?site=suwa")

    assert [each["machine"] for each in listed] == [ODD]
    assert one.json()["items"][0]["kind"] == ODD
    assert one.headers["content-type"] == "application/json"


async def test_an_odd_name_is_harmless_in_a_file(client):
    base = f"/api/v1/machines/suwa/{quoted(ODD)}"
    for path in (f"{base}/timeline", f"{base}/signals/{quoted(ODD_SIGNAL)}/history"):
        answer = await client.get(path, headers={"Accept": "text/csv"})
        head, *rows = csv.reader(io.StringIO(answer.content.decode("utf-8-sig"), newline=""))

        assert answer.status_code == 200, path
        assert "x-evil" not in answer.headers
        assert set(answer.headers["content-disposition"]) <= set(
            'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.=; "'
        )
        assert rows
        assert all(len(row) == len(head) for row in rows)
        assert any(cell == f"'{ODD}" for row in rows for cell in row)
        assert not any(cell[:1] in set("=+-@") for row in rows for cell in row)


def quoted(text):
    return "".join(f"%{byte:02X}" for byte in text.encode())


def test_half_a_character_in_a_name_silences_nobody(tmp_path):
    scene = Scene()
    scene.add("mc-1")
    scene.read("mc-1")
    name = {"en": "half \ud83d", "ja": "half \ud83d"}
    half = MachineRecord("ota", "mc-2", "line-1", name=name, kind="\udc00", processes=("\ud800",))
    scene.registry.record(half)
    scene.live.describe(half, online=True, now_ms=scene.clock())
    store = Store.open(f"sqlite:///{tmp_path}/coordination.sqlite")
    context = new_context(
        live=scene.live,
        registry=scene.registry,
        historian=None,
        store=store,
        now_ms=scene.clock,
    )

    for path in ("/api/v1/availability", "/api/v1/machines", "/api/v1/machines/ota/mc-2"):
        answer = asyncio.run(once(create_app(context), path))
        assert answer.status_code == 200, path
        assert b"mc-2" in answer.content
        assert orjson.loads(answer.content)
    assert asyncio.run(first_snapshot(context.stream))["m"][0][2] == "mc-1"
    store.close()


async def once(app, path):
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
        return await client.get(path)


async def first_snapshot(stream):
    async with stream.follow(Scope(), None) as viewer:
        await viewer.next()
        frame = await viewer.next()
    return json.loads(frame.plain.split(b"data: ")[1])


# -- many viewers ------------------------------------------------------------------------------


def follow(port, scope=b"region"):
    line = socket.create_connection(("127.0.0.1", port), timeout=10)
    line.sendall(b"GET /api/v1/stream?scope=" + scope + b" HTTP/1.1\r\nHost: hub\r\n\r\n")
    return line, line.recv(65_536)


def test_one_viewer_too_many_is_told_so_and_room_is_made_when_one_leaves(
    port, context, monkeypatch
):
    monkeypatch.setattr(fanout, "VIEWERS_MAX", 3)
    lines = [follow(port) for _ in range(3)]
    refused, answer = follow(port, b"site:suwa")
    head, _, body = answer.partition(b"\r\n\r\n")

    assert all(answer.startswith(b"HTTP/1.1 200") for _, answer in lines)
    assert head.startswith(b"HTTP/1.1 503")
    assert b"application/problem+json" in head
    assert b"retry-after: 30" in head
    assert json.loads(body or refused.recv(65_536))["code"] == "too-many-viewers"
    for line in [refused, *(line for line, _ in lines)]:
        line.close()
    wait_until(lambda: context.stream.viewers == 0, "the viewers to be gone", 10)
    last, answer = follow(port)
    assert answer.startswith(b"HTTP/1.1 200")
    last.close()
    wait_until(lambda: context.stream.viewers == 0, "the last viewer to be gone", 10)


def test_viewers_that_never_read_stop_nobody(port, context):
    lines = [follow(port) for _ in range(40)]

    assert healthy(port)
    assert context.stream.viewers == 40
    for line, _ in lines:
        line.close()
    wait_until(lambda: context.stream.viewers == 0, "the viewers to be gone", 10)
