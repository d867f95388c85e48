"""Whatever is sent to the directory, the answer is one that its document knows, and never a 5xx.

Every operation of the directory and the regions is tried with generated requests, good and bad,
about ids that exist and about others. What refuses a request stores nothing of it.
"""

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi import checks as promises

from hub.api import create_app
from hub.historian import open_historian
from hub.store import Store
from tests.hub.contexts import new_context
from tests.hub.scenes import Scene

PROMISES = [
    schemathesis.checks.not_a_server_error,
    promises.status_code_conformance,
    promises.content_type_conformance,
    promises.response_schema_conformance,
]
KNOWN = {"site": "ota", "machine": "mc-1", "organisation": "kk", "code": "13"}
OPERATIONS = [
    (method, path)
    for path, methods in {
        "/api/v1/sites": "GET",
        "/api/v1/sites/{site}": "GET PUT DELETE",
        "/api/v1/organisations": "GET",
        "/api/v1/organisations/{organisation}": "GET PUT DELETE",
        "/api/v1/machines/{site}/{machine}": "DELETE",
        "/api/v1/machines/{site}/{machine}/entry": "GET PUT",
        "/api/v1/machines/{site}/{machine}/capabilities": "GET PUT",
        "/api/v1/machines/{site}/{machine}/retire": "POST",
        "/api/v1/machines/{site}/{machine}/return": "POST",
        "/api/v1/machines/{site}/{machine}/move": "POST",
        "/api/v1/processes": "GET",
        "/api/v1/materials": "GET",
        "/api/v1/directory": "GET POST",
        "/api/v1/regions": "GET",
        "/api/v1/regions/{code}/summary": "GET",
    }.items()
    for method in methods.split()
]

TRIED = [(*operation, known) for operation in OPERATIONS for known in (False, True)
         if not known or "{" in operation[1]]  # fmt: skip
"""With any ids, and with those of `KNOWN` where there are any in the path."""


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    folder = tmp_path_factory.mktemp("directory")
    scene = Scene()
    for machine in ("mc-1", "odd one\u202e;|=1+1"):
        scene.add(machine)
    store = Store.open(f"sqlite:///{folder}/coordination.sqlite")
    historian = open_historian(folder, scene.index, memory_mib=64, raw_days=30, rollup_days=400)
    yield create_app(
        new_context(
            live=scene.live,
            registry=scene.registry,
            historian=historian,
            store=store,
            now_ms=scene.clock,
        )
    )
    historian.close()
    store.close()


@pytest.fixture(scope="module")
def schema(app):
    generation = {"mode": "all", "deterministic": True, "database": "none"}
    config = SchemathesisConfig.from_dict({"generation": generation})
    return schemathesis.openapi.from_asgi("/api/v1/openapi.json", app, config=config)


def test_no_operation_of_the_directory_escapes(schema):
    found = {
        (operation.ok().method.upper(), operation.ok().path)
        for operation in schema.get_all_operations()
        if {"directory", "regions"} & set(operation.ok().tags or ())
    }
    assert found == set(OPERATIONS)


@pytest.mark.parametrize(("method", "path", "known"), TRIED)
def test_every_answer_is_one_that_the_document_knows(schema, method, path, known):
    @seed(20_261_122)
    @settings(
        max_examples=12,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=schema[path][method].as_strategy())
    def attack(case):
        if known:
            case.path_parameters = {name: KNOWN[name] for name in case.path_parameters}
        case.call_and_validate(checks=PROMISES)

    attack()


@pytest.mark.parametrize(
    "tag", ["", "*, *", '"', 'W/"x"', '"x"' * 60, "\u00e9".encode(), '"\\"', "v1", '""']
)
async def test_any_tag_is_compared_or_refused(app, tag):
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
        for path in ("/api/v1/sites/ota", "/api/v1/machines/ota/mc-1/entry"):
            answer = await client.put(path, json={}, headers={"If-Match": tag})
            assert answer.status_code in {200, 404, 412, 422}, answer.text
            assert answer.status_code != 200 or "*" in str(tag)
