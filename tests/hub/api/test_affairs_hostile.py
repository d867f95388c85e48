"""Whatever is sent to jobs, events, alarms and webhooks, the answer is one that its document knows.

Every operation is tried with generated requests, good and bad, about ids that exist and others.
"""

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi import checks as promises

from hub.access import LOCAL
from hub.api import create_app
from hub.notices.subscriptions import Facts
from hub.store import Store
from hub.store.jobs import Job, JobStatus, Step
from tests.hub.contexts import new_context
from tests.hub.scenes import Scene

PROMISES = [
    schemathesis.checks.not_a_server_error,
    promises.status_code_conformance,
    promises.content_type_conformance,
    promises.response_schema_conformance,
]
OPERATIONS = [
    (method, path)
    for path, methods in {
        "/api/v1/jobs": "GET POST",
        "/api/v1/jobs/{job}": "GET PUT",
        "/api/v1/jobs/{job}/{action}": "POST",
        "/api/v1/sites/{site}/jobs/import": "POST",
        "/api/v1/events": "GET",
        "/api/v1/alarms": "GET",
        "/api/v1/alarms/{alarm}/acknowledge": "POST",
        "/api/v1/webhooks": "GET POST",
        "/api/v1/webhooks/{webhook}": "GET PUT DELETE",
        "/api/v1/webhooks/{webhook}/pause": "POST",
        "/api/v1/webhooks/{webhook}/resume": "POST",
        "/api/v1/webhooks/{webhook}/rotate": "POST",
        "/api/v1/webhooks/{webhook}/test": "POST",
        "/api/v1/webhooks/{webhook}/dead-letters": "GET",
        "/api/v1/webhooks/{webhook}/dead-letters/retry": "POST",
        "/api/v1/webhooks/{webhook}/dead-letters/discard": "POST",
    }.items()
    for method in methods.split()
]
TRIED = [
    (*operation, known)
    for operation in OPERATIONS
    for known in (False, True)
    if not known or "{" in operation[1]
]
"""With any ids, and with those that exist where there are any in the path."""


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    folder = tmp_path_factory.mktemp("affairs")
    scene = Scene()
    scene.add("mc-1")
    scene.read("mc-1", "running")
    store = Store.open(f"sqlite:///{folder}/coordination.sqlite")
    made = new_context(
        live=scene.live,
        registry=scene.registry,
        historian=None,
        store=store,
        now_ms=scene.clock,
    )
    steps = (Step(1, "milling", "ota"),)
    made.jobs.create(LOCAL, Job("", "ota", "A-1", "x\u202e", 1, JobStatus.QUEUED, steps))
    made.subscriptions.create(LOCAL, Facts("https://receiver.example/"))
    made.alarms.raise_("machine-down", "ota/mc-1", "\ud83d\0")
    made.alarm_book.write()
    made.events.look()
    yield made
    store.close()


@pytest.fixture(scope="module")
def app(context):
    return create_app(context)


@pytest.fixture(scope="module")
def known(context):
    [alarm] = context.alarms.active()
    return {"job": "job1", "webhook": "hook1", "site": "ota", "alarm": alarm.id}


@pytest.fixture(scope="module")
def schema(app):
    generation = {"mode": "all", "deterministic": True, "database": "none"}
    config = SchemathesisConfig.from_dict({"generation": generation})
    return schemathesis.openapi.from_asgi("/api/v1/openapi.json", app, config=config)


def test_no_operation_escapes(schema):
    tags = {"jobs", "events", "alarms", "webhooks"}
    found = {
        (operation.ok().method.upper(), operation.ok().path)
        for operation in schema.get_all_operations()
        if tags & set(operation.ok().tags or ())
    }
    assert found == set(OPERATIONS)


@pytest.mark.parametrize(("method", "path", "of_known"), TRIED)
def test_every_answer_is_one_that_the_document_knows(schema, known, method, path, of_known):
    @seed(20_261_122)
    @settings(
        max_examples=6,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=schema[path][method].as_strategy())
    def attack(case):
        if case.headers:  # A stream has no end to wait for.
            case.headers.pop("accept", None)
        if of_known:
            told = {name: known[name] for name in case.path_parameters if name in known}
            case.path_parameters = case.path_parameters | told
        case.call_and_validate(checks=PROMISES)

    attack()


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"a" * 60_000, b'"', b"\0" * 100, b"number\n" * 99])
async def test_any_table_is_answered_politely(app, raw):
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
        answer = await client.post(
            "/api/v1/sites/ota/jobs/import", content=raw, headers={"Content-Type": "text/csv"}
        )
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"]
